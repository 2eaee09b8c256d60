// Reads a new batch's input file line by line, in portions, and says what is wrong with it. All or
// nothing: one bad line fails the batch, and the first `max_errors` are reported with their lines.
// No CAF: the offline queue calls `step` between its other messages.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "api/parse.hpp"
#include "core/result.hpp"
#include "store/store.hpp"

namespace tandem {

struct ValidationLimits {
  std::int64_t max_items = 50000;
  std::size_t max_line_bytes = 4U << 20;
  std::size_t max_errors = 100;
  std::size_t lines_per_step = 256;
};

class BatchValidation {
 public:
  BatchValidation(store::BatchInfo batch, const std::filesystem::path& input,
                  ValidationLimits limits, api::ParseLimits parse_limits);

  [[nodiscard]] const store::BatchInfo& batch() const { return batch_; }
  /// Reads the next portion and adds it to the store; true once the whole file was read.
  /// An error is the store's: the same portion is read again by the next call.
  Result<bool> step(store::Store& store);
  [[nodiscard]] const std::vector<store::BatchError>& errors() const { return errors_; }
  /// Fields of the lines so far that nobody knows; with strict_fields they are errors instead.
  [[nodiscard]] std::uint32_t num_ignored() const { return num_ignored_; }
  [[nodiscard]] const std::string& model() const { return model_; }

 private:
  enum class Read : std::uint8_t { line, end, too_long };
  Read read_line(std::string& line);
  void check_line(const std::string& line, std::int64_t offset, std::vector<store::NewItem>& items);
  void add_error(std::string code, std::string message, std::string param, std::int64_t line);

  store::BatchInfo batch_;
  ValidationLimits limits_;
  api::ParseLimits parse_limits_;
  std::ifstream input_;
  std::int64_t offset_ = 0;
  std::int64_t line_no_ = 0;
  std::int64_t num_items_ = 0;
  std::uint32_t num_ignored_ = 0;
  std::string model_;
  std::vector<store::BatchError> errors_;
};

/// The endpoint that a batch or a line names ("/v1/chat/completions"), if batches may use it.
std::optional<Endpoint> batch_endpoint(std::string_view url);

}  // namespace tandem
