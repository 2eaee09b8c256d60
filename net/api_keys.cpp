#include "net/api_keys.hpp"

#include <algorithm>
#include <fstream>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "core/check.hpp"

namespace tandem::net {
namespace {

constexpr std::uintmax_t max_file_bytes = 4 << 20;
constexpr std::string_view digest_prefix = "sha256:";

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<Digest> digest_from_hex(std::string_view text) {
  Digest digest{};
  if (text.size() != 2 * digest.size()) return std::nullopt;
  for (std::size_t i = 0; i < digest.size(); ++i) {
    const int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    digest[i] = static_cast<unsigned char>(high * 16 + low);
  }
  return digest;
}

std::optional<Digest> digest_of_line(std::string_view line) {
  if (line.starts_with(digest_prefix)) return digest_from_hex(line.substr(digest_prefix.size()));
  if (line.size() < ApiKeys::min_key_bytes || line.size() > ApiKeys::max_key_bytes) return {};
  if (!is_printable(line)) return std::nullopt;
  return sha256(line);
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && std::string_view(" \t\r").find(text.back()) != text.npos)
    text.remove_suffix(1);
  return text;
}

Error bad_file(const std::string& place, const std::string& what) {
  return error(Errc::invalid_value, place + ": " + what, "api_key_file");
}

}  // namespace

Digest sha256(std::string_view bytes) {
  Digest digest{};
  unsigned int size = 0;
  const int done =
      EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr);
  TANDEM_CHECK(done == 1 && size == digest.size(), "libcrypto has no SHA-256");
  return digest;
}

std::string hex(const Digest& digest) {
  static constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (const auto byte : digest) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

Result<ApiKeys> ApiKeys::load(const std::filesystem::path& file) {
  std::error_code failed;
  const auto bytes = std::filesystem::file_size(file, failed);
  if (failed) return bad_file(file.string(), "cannot be read: " + failed.message());
  if (bytes > max_file_bytes) return bad_file(file.string(), "is larger than 4 MiB");
  std::ifstream in(file);
  ApiKeys keys;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    const auto text = trimmed(line);
    if (text.empty() || text.front() == '#') continue;
    const auto digest = digest_of_line(text);
    if (!digest)
      return bad_file(file.string() + ':' + std::to_string(number),
                      "is no key; allowed are " + std::to_string(min_key_bytes) + " to " +
                          std::to_string(max_key_bytes) +
                          " printable characters without blanks, or sha256: and 64 hex digits");
    keys.digests_.push_back(*digest);
    if (keys.digests_.size() > max_keys)
      return bad_file(file.string(), "holds more than " + std::to_string(max_keys) + " keys");
  }
  if (in.bad() || !in.eof()) return bad_file(file.string(), "cannot be read");
  if (keys.empty()) return bad_file(file.string(), "holds no key; there is one per line");
  return keys;
}

std::optional<std::string> ApiKeys::tenant_of(std::string_view authorization) const {
  static constexpr std::string_view scheme = "bearer ";
  if (authorization.size() < scheme.size()) return std::nullopt;
  for (std::size_t i = 0; i < scheme.size(); ++i)
    if ((authorization[i] | 0x20) != scheme[i]) return std::nullopt;
  const auto digest = sha256(trimmed(authorization.substr(scheme.size())));
  unsigned found = 0;
  for (const auto& known : digests_)  // all of them, whichever is right
    found |= CRYPTO_memcmp(known.data(), digest.data(), digest.size()) == 0 ? 1U : 0U;
  if (found == 0) return std::nullopt;
  return "key-" + hex(digest).substr(0, 16);
}

}  // namespace tandem::net
