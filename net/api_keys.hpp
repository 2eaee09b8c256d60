// Who may call: the keys of one file, kept as SHA-256 digests. A presented key is hashed first and
// its digest is compared with all of them in constant time, so that neither time nor memory tells
// how much of a guess was right.
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"

namespace tandem::net {

using Digest = std::array<unsigned char, 32>;
/// SHA-256 (FIPS 180-4).
Digest sha256(std::string_view bytes);
std::string hex(const Digest& digest);

class ApiKeys {
 public:
  static constexpr std::size_t max_keys = 4096;
  static constexpr std::size_t min_key_bytes = 16, max_key_bytes = 512;

  /// No keys: nobody is asked for one.
  ApiKeys() = default;
  /// One key per line, of min_key_bytes to max_key_bytes printable characters without blanks, or
  /// "sha256:" and the 64 hex digits of a key's digest. Empty lines and those that begin with '#'
  /// do not count. Errors name file and line, never what stands there.
  static Result<ApiKeys> load(const std::filesystem::path& file);

  [[nodiscard]] bool empty() const { return digests_.empty(); }
  /// The tenant that an Authorization field ("Bearer KEY") stands for: a name made of the key's
  /// digest, the same in every process. Nothing if no such key is known.
  [[nodiscard]] std::optional<std::string> tenant_of(std::string_view authorization) const;

 private:
  std::vector<Digest> digests_;
};

}  // namespace tandem::net
