// See sse_parser.hpp.
#include "cli/client/sse_parser.hpp"

#include <algorithm>

namespace tandem::client {
namespace {
constexpr std::size_t longest_event = 16 << 20;
}

void SseParser::end_line(const std::function<void(std::string_view)>& on_data) {
  std::string_view line = line_;
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.empty()) {
    if (has_data_) on_data(data_);
    data_.clear();
    has_data_ = false;
  } else if (line.starts_with("data:")) {
    line.remove_prefix(5);
    if (line.starts_with(' ')) line.remove_prefix(1);
    if (has_data_) data_ += '\n';
    data_ += line;
    has_data_ = true;
  }
  line_.clear();
}

bool SseParser::push(std::string_view bytes, const std::function<void(std::string_view)>& on_data) {
  while (!bytes.empty() && !failed_) {
    const auto end = bytes.find('\n');
    line_ += bytes.substr(0, end);
    failed_ = line_.size() + data_.size() > longest_event;
    if (end == std::string_view::npos || failed_) break;
    bytes.remove_prefix(end + 1);
    end_line(on_data);
  }
  return !failed_;
}

}  // namespace tandem::client
