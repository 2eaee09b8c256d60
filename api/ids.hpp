// Opaque ids for objects and requests: random, never derived from anything.
#pragma once

#include <string>
#include <string_view>

namespace tandem::api {

/// `prefix` and 24 random characters of [0-9a-z], e.g. random_id("chatcmpl-").
std::string random_id(std::string_view prefix);
/// `digits` random hexadecimal digits, not all of them 0.
std::string random_hex(std::size_t digits);
/// Random characters that fill an event of `bytes` bytes up to the next of a few sizes, so that its
/// size says little of what it holds (OpenAI's `obfuscation`).
std::string random_padding(std::size_t bytes);
/// At most 128 characters of [A-Za-z0-9._-], not empty.
bool is_valid_request_id(std::string_view text);
/// OpenAI's pattern of a WebSocket lane: 1 to 256 characters of [A-Za-z0-9_.-].
bool is_valid_stream_id(std::string_view text);

}  // namespace tandem::api
