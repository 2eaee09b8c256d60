// The printable characters that stand for bytes in byte-level vocabularies: most printable Latin-1
// characters for themselves, U+0100 onwards for the other bytes, in order. Internal to model/.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "model/utf8.hpp"

namespace tandem::model {

class ByteAlphabet {
 public:
  ByteAlphabet() {
    bytes_.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool itself = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      const char32_t code = itself ? static_cast<char32_t>(byte) : next++;
      bytes_[code] = byte;
      append_utf8(characters_[static_cast<std::size_t>(byte)], code);
    }
  }

  /// What a vocabulary entry spells; nothing if a character is not of the alphabet.
  [[nodiscard]] std::optional<std::string> bytes_of(std::string_view entry) const {
    std::string bytes;
    for (std::size_t at = 0; at < entry.size();) {
      const Utf8Step step = utf8_step(entry, at);
      if (step.kind != Utf8Step::Kind::character || step.code >= bytes_.size()) return std::nullopt;
      if (bytes_[step.code] < 0) return std::nullopt;
      bytes.push_back(static_cast<char>(bytes_[step.code]));
      at += step.length;
    }
    return bytes;
  }

  /// The entry that spells `bytes`.
  [[nodiscard]] std::string entry_of(std::string_view bytes) const {
    std::string entry;
    for (const char byte : bytes) entry += characters_[static_cast<unsigned char>(byte)];
    return entry;
  }

 private:
  std::array<int, 0x144> bytes_{};
  std::array<std::string, 256> characters_;
};

}  // namespace tandem::model
