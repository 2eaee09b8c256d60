#include "net/header_guard.hpp"

#include <algorithm>

namespace tandem::net {
namespace {

Rejection bad(std::string message) { return {400, std::move(message)}; }

/// tchar of RFC 9110 §5.6.2.
bool is_token_char(char c) {
  if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return true;
  return std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_token_char);
}

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\t') || byte == 0x7f;
  });
}

bool equals(std::string_view a, std::string_view lower) {
  return std::equal(a.begin(), a.end(), lower.begin(), lower.end(), [](char x, char y) {
    return (x >= 'A' && x <= 'Z' ? static_cast<char>(x - 'A' + 'a') : x) == y;
  });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::optional<Rejection> check_request_line(std::string_view line, bool& http_1_1) {
  const auto first = line.find(' ');
  const auto second = first == line.npos ? line.npos : line.find(' ', first + 1);
  if (second == line.npos || line.find(' ', second + 1) != line.npos)
    return bad("the request line must be: method, target and version, parted by single spaces");
  if (!is_token(line.substr(0, first)) || first > 32)
    return bad("the request's method is malformed");
  const auto target = line.substr(first + 1, second - first - 1);
  const auto version = line.substr(second + 1);
  if (target.empty() || target.front() != '/' ||
      std::any_of(target.begin(), target.end(),
                  [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c > 0x7e; }))
    return bad("the request's target must be a path that begins with '/', in printable ASCII");
  http_1_1 = version == "HTTP/1.1";
  if (http_1_1 || version == "HTTP/1.0") return std::nullopt;
  if (version.starts_with("HTTP/") && version.size() == 8)
    return Rejection{505, "only HTTP/1.1 and HTTP/1.0 are spoken here"};
  return bad("the request line ends in something that is not an HTTP version");
}

/// What the fields say about framing, gathered field by field.
struct Framing {
  std::size_t fields = 0, hosts = 0, lengths = 0, encodings = 0;

  std::optional<Rejection> add(std::string_view line, bool http_1_1);
  [[nodiscard]] std::optional<Rejection> conclude() const;
};

std::optional<Rejection> Framing::add(std::string_view line, bool http_1_1) {
  if (line.front() == ' ' || line.front() == '\t')
    return bad("a header field may not be folded over several lines");
  const auto colon = line.find(':');
  if (colon == line.npos || !is_token(line.substr(0, colon)))
    return bad("a header field's name is malformed");
  const auto name = line.substr(0, colon);
  const auto value = trimmed(line.substr(colon + 1));
  if (has_control(value)) return bad("a header field's value holds a control character");
  ++fields;
  if (equals(name, "host")) {
    ++hosts;
  } else if (equals(name, "content-length")) {
    ++lengths;
    const bool digits =
        std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (value.empty() || value.size() > 18 || !digits)
      return bad("Content-Length must be one plain decimal number");
  } else if (equals(name, "transfer-encoding")) {
    ++encodings;
    if (!http_1_1) return bad("Transfer-Encoding needs HTTP/1.1");
    if (!equals(value, "chunked")) return bad("the only Transfer-Encoding known is 'chunked'");
  } else if (equals(name, "content-encoding")) {
    if (!equals(value, "identity"))
      return Rejection{415, "compressed bodies are not accepted; send the body as it is"};
  } else if (equals(name, "expect")) {
    if (!equals(value, "100-continue"))
      return Rejection{417, "the only expectation known is '100-continue'"};
  }
  return std::nullopt;
}

std::optional<Rejection> Framing::conclude() const {
  if (hosts != 1)
    return bad("a request needs exactly one Host field; this one has " + std::to_string(hosts));
  if (lengths > 1) return bad("Content-Length is given more than once");
  if (encodings > 1) return bad("Transfer-Encoding is given more than once");
  if (lengths + encodings > 1)
    return bad("Transfer-Encoding and Content-Length exclude each other");
  return std::nullopt;
}

}  // namespace

std::optional<Rejection> guard_header(std::string_view header, const HeaderLimits& limits) {
  if (header.size() > limits.max_bytes)
    return Rejection{431,
                     "the header is larger than " + std::to_string(limits.max_bytes) + " bytes"};
  bool http_1_1 = false;
  Framing framing;
  for (bool first = true;; first = false) {
    const auto end = header.find("\r\n");
    if (end == header.npos) return bad("the header does not end in an empty line");
    const auto line = header.substr(0, end);
    header.remove_prefix(end + 2);
    if (line.find_first_of("\r\n") != line.npos)
      return bad("header lines must end in CR LF, and hold neither of them alone");
    if (line.empty() && !first) break;
    if (auto no = first ? check_request_line(line, http_1_1) : framing.add(line, http_1_1))
      return no;
    if (framing.fields > limits.max_fields)
      return Rejection{431,
                       "the header has more than " + std::to_string(limits.max_fields) + " fields"};
  }
  if (!header.empty()) return bad("bytes follow the header's empty line");
  return framing.conclude();
}

}  // namespace tandem::net
