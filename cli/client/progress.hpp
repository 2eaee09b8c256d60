// A progress bar on standard error: redrawn in place on a terminal, else a line at every tenth.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace tandem::client {

class Progress {
 public:
  /// `total` 0: unknown yet, nothing is drawn.
  explicit Progress(std::string label);
  /// Takes the bar away, so that what comes next stands on lines of its own.
  ~Progress();

  /// `note` stands behind the bar: "12 running, 0 failed".
  void update(std::int64_t done, std::int64_t total, const std::string& note);
  /// Runs `write` (which prints whole lines) with the bar out of the way.
  void around(const std::function<void()>& write);

 private:
  void draw() const;
  void erase() const;

  std::string label_, line_;
  bool terminal_ = false;
  int last_tenth_ = -1;
};

/// Text from a service made safe for a terminal: no control characters but line breaks and tabs.
std::string printable(std::string_view text);

}  // namespace tandem::client
