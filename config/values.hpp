// Values as people write them: numbers, sizes such as 256MiB, seconds; and the nearest known word
// to a misspelt one. Pure functions over text.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace tandem::config {

/// A whole decimal number, an optional minus sign, nothing around it.
std::optional<std::int64_t> parse_integer(std::string_view text);
/// A finite decimal number ("0.5", "30").
std::optional<double> parse_decimal(std::string_view text);
/// "4096", "64KiB", "256 MiB", "2GiB", "1TiB"; also kB, MB, GB, TB as powers of 1000. Not negative,
/// fits 63 bits.
std::optional<std::int64_t> parse_bytes(std::string_view text);

/// The shortest form that parse_bytes reads back exactly: 268435456 is "256MiB".
std::string bytes_text(std::int64_t bytes);
/// Milliseconds as seconds: 30000 is "30", 500 is "0.5".
std::string seconds_text(std::int64_t milliseconds);

/// The shortest decimal text that parse_decimal reads back exactly: "0.5", "1000".
std::string number_text(double value);

/// The element of `known` that `word` most probably stands for; empty if none is near. '-' and '_'
/// count as equal.
std::string_view nearest(std::string_view word, std::span<const std::string_view> known);

}  // namespace tandem::config
