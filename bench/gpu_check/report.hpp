// What gpu_check found: checks that pass or fail, and figures. Printed as a table with a closing
// line, and as JSON.
#pragma once

#include <string>
#include <vector>

namespace tandem::gpu_check {

class Report {
 public:
  void check(const std::string& name, bool passed, const std::string& detail);
  void figure(const std::string& name, double value, const std::string& unit);
  void note(const std::string& name, const std::string& text);

  [[nodiscard]] int passed() const { return passed_; }
  [[nodiscard]] int failed() const { return failed_; }
  /// The table, and last the line `N passed, N failed`.
  [[nodiscard]] std::string table() const;
  [[nodiscard]] std::string json() const;
  /// Writes json() to `file`, of which a reader never sees half; nothing if it has no name. False
  /// if it cannot be written.
  [[nodiscard]] bool write_json(const std::string& file) const;

 private:
  struct Line {
    std::string name, kind, text;
    double value = 0;
    bool passed = true;
  };
  std::vector<Line> lines_;
  int passed_ = 0, failed_ = 0;
};

}  // namespace tandem::gpu_check
