// The REST calls that the tools make, with their replies taken apart. All block.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cli/client/http_client.hpp"
#include "core/result.hpp"

namespace tandem::client {

struct ModelInfo {
  std::string id;
  std::int64_t max_context = 0;  ///< 0: not told
  std::int64_t vocab_size = 0;   ///< 0: not told
};
/// The first of /v1/models.
Result<ModelInfo> first_model(const Url& url);

/// Uploads `content` with purpose "batch"; returns the file's id.
Result<std::string> upload_batch_file(const Url& url, std::string_view content);

struct BatchState {
  std::string id, status;
  std::string output_file_id, error_file_id;  ///< empty: none
  std::string errors;                         ///< of validation, for people
  std::int64_t total = 0, completed = 0, failed = 0;
  std::int64_t input_tokens = 0, output_tokens = 0;

  /// completed, failed, expired or cancelled.
  [[nodiscard]] bool ended() const;
};
Result<BatchState> parse_batch(std::string_view json);
Result<BatchState> create_batch(const Url& url, const std::string& file_id,
                                const std::string& endpoint);
Result<BatchState> get_batch(const Url& url, const std::string& id);
Result<std::string> file_content(const Url& url, const std::string& id);

/// The message of an OpenAI error body, or its beginning if it is none.
std::string error_message(const HttpResponse& response);

}  // namespace tandem::client
