// See url.hpp.
#include "cli/client/url.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>

namespace tandem::client {
namespace {

bool is_port(std::string_view text) {
  unsigned value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failure == std::errc{} && end == text.data() + text.size() && value >= 1 && value <= 65535;
}

/// No space, control or delimiter that would end the host in a request.
bool is_host(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) > 0x20 && c != 0x7F && c != '@' && c != '/' && c != '?' &&
           c != '#' && c != '[' && c != ']';
  });
}

Error wrong(std::string_view text, const std::string& why) {
  return error(Errc::invalid_value,
               "'" + std::string(text.substr(0, 200)) + "' is not a usable URL: " + why +
                   "; expected something like http://127.0.0.1:8000",
               "url");
}

}  // namespace

std::string Url::authority() const {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + port;
}

Result<std::string> read_api_key(const std::filesystem::path& file) {
  if (file.empty()) return std::string();
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (!line.empty() && line.front() != '#') return line;
  }
  return error(Errc::invalid_value, file.string() + ": no API key can be read there",
               "api_key_file");
}

Result<Url> parse_url(std::string_view text) {
  auto rest = text;
  if (rest.starts_with("https://") || rest.starts_with("wss://"))
    return wrong(text, "TLS is not spoken here; use a proxy or the plain port");
  if (rest.starts_with("http://"))
    rest.remove_prefix(7);
  else if (rest.starts_with("ws://"))
    rest.remove_prefix(5);
  else
    return wrong(text, "it does not begin with http://");
  const auto path_at = std::min(rest.find('/'), rest.size());
  auto path = rest.substr(path_at);
  auto where = rest.substr(0, path_at);
  Url url;
  if (where.starts_with('[')) {
    const auto end = where.find(']');
    if (end == std::string_view::npos) return wrong(text, "']' is missing");
    url.host = where.substr(1, end - 1);
    where.remove_prefix(end + 1);
  } else {
    const auto colon = std::min(where.find(':'), where.size());
    url.host = where.substr(0, colon);
    where.remove_prefix(colon);
  }
  if (!is_host(url.host)) return wrong(text, "the host is missing or malformed");
  if (!where.empty() && (where.front() != ':' || !is_port(where.substr(1))))
    return wrong(text, "the port must be a number in 1 .. 65535");
  url.port = where.empty() ? "80" : std::string(where.substr(1));
  while (path.ends_with('/')) path.remove_suffix(1);
  if (path.ends_with("/v1")) path.remove_suffix(3);
  while (path.ends_with('/')) path.remove_suffix(1);
  if (path.find_first_of(" ?#\r\n\t") != std::string_view::npos)
    return wrong(text, "the path must be plain");
  url.prefix = path;
  return url;
}

}  // namespace tandem::client
