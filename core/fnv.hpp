// FNV-1a: a hash of bytes that is the same in every process. Not against adversaries.
#pragma once

#include <cstdint>
#include <string_view>

namespace tandem {

inline constexpr std::uint64_t fnv_basis = 0xcbf29ce484222325ULL;

/// Goes on from `hash`: fnv1a(b, fnv1a(a)) is that of a and b in a row.
constexpr std::uint64_t fnv1a(std::string_view bytes, std::uint64_t hash = fnv_basis) {
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

}  // namespace tandem
