// Server-sent events out of a byte stream that may be cut anywhere.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace tandem::client {

/// Gathers the `data:` of each event; other fields and comments are skipped. Lines end with \n or
/// \r\n.
class SseParser {
 public:
  /// Calls `on_data` for each event that is complete with `bytes`. False once an event is longer
  /// than 16 MiB; nothing comes after that.
  bool push(std::string_view bytes, const std::function<void(std::string_view)>& on_data);

 private:
  void end_line(const std::function<void(std::string_view)>& on_data);

  std::string line_, data_;
  bool has_data_ = false;
  bool failed_ = false;
};

}  // namespace tandem::client
