// The first reader of a request's header: a pure function over its raw bytes that lets only the
// unambiguous through. Beast's parser comes after it and is more lenient than is safe: two readers
// that disagree on where a body ends are request smuggling (RFC 9112 §11.2).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace tandem::net {

/// Why a request is refused; the connection is closed after saying so.
struct Rejection {
  int status = 400;
  std::string message;
};

struct HeaderLimits {
  std::size_t max_bytes = 16 << 10;  ///< request line, fields and the empty line
  std::size_t max_fields = 100;
};

/// `header`: from the request line to the empty line, both included. Refused are
///   400  anything but HTTP/1.0 or 1.1 with CRLF line ends and an origin-form target; folded lines,
///        malformed names, control characters; a number of Host fields other than one;
///        Transfer-Encoding other than one `chunked` on HTTP/1.1, or beside Content-Length;
///        Content-Length twice or not a plain number
///   415  Content-Encoding
///   417  Expect other than 100-continue
///   431  too many bytes or fields
///   505  another version of HTTP
std::optional<Rejection> guard_header(std::string_view header, const HeaderLimits& limits = {});

}  // namespace tandem::net
