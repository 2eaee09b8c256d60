// What the decoder of tokenizer.json does to each token alone, before tokens are put together.
// Internal to model/.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "model/regex.hpp"

namespace tandem::model {

class TokenSteps {
 public:
  struct ByteLevel {};     ///< the byte alphabet to bytes
  struct ByteFallback {};  ///< "<0x0A>" to the byte
  struct Replace {
    std::string from;
    std::string to;
  };
  struct ReplaceMatches {
    Regex pattern;
    std::string to;
  };
  struct Strip {  ///< `character`, so often at most
    std::string character;
    std::uint32_t left;
    std::uint32_t right;
  };
  struct Metaspace {
    std::string replacement;  ///< becomes a space, but nothing in the first token
    bool drop_in_first;
  };
  using Step = std::variant<ByteLevel, ByteFallback, Replace, ReplaceMatches, Strip, Metaspace>;

  template <class OneStep>
  void add(OneStep step) {
    steps_.emplace_back(std::in_place_type<OneStep>, std::move(step));
  }

  struct Spelled {
    std::string text;
    bool is_byte = false;  ///< ByteFallback made it
  };
  [[nodiscard]] Spelled spell(std::string_view content, bool first) const;
  [[nodiscard]] bool first_differs() const;

 private:
  std::vector<Step> steps_;
};

/// The byte that "<0x0A>" stands for.
std::optional<unsigned char> fallback_byte(std::string_view content);

}  // namespace tandem::model
