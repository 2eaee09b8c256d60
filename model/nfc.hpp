// Unicode normalization form C (UAX #15), which the tokenizers of the Qwen family apply to text
// before anything else.
#pragma once

#include <string>
#include <string_view>

namespace tandem::model {

/// `text`, which must be well-formed UTF-8, in NFC.
std::string to_nfc(std::string_view text);

}  // namespace tandem::model
