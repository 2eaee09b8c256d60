// One HTTP/1 request, read by Beast's parser after header_guard has passed the header: the header
// into a RequestHead, then the body piece by piece. Fields in trailers are dropped.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "net/header_guard.hpp"
#include "net/request_head.hpp"

namespace tandem::net {

class RequestParser {
 public:
  RequestParser();
  ~RequestParser();
  RequestParser(const RequestParser&) = delete;
  RequestParser& operator=(const RequestParser&) = delete;

  /// `header` from the request line to the empty line, both included, guarded before.
  std::optional<Rejection> parse_header(std::string_view header);
  [[nodiscard]] const RequestHead& head() const;

  /// To be called once, between the header and the body; 413 beyond.
  void limit_body(std::uint64_t bytes);
  /// Takes what it can of `bytes`, hands the body in it to `sink`; `consumed` of them are done
  /// with. What was not consumed must come again, with more behind it.
  std::optional<Rejection> feed(std::string_view bytes, std::size_t& consumed,
                                const std::function<void(std::string_view)>& sink);
  [[nodiscard]] bool done() const;

 private:
  class Parser;
  std::unique_ptr<Parser> parser_;
};

}  // namespace tandem::net
