// Any bytes as text, through one tokenizer of each kind: the first byte chooses it and the flags.
// Ids lie in the vocabulary, decoding gives well-formed text, streaming gives the same, and where
// nothing rewrites text, it comes back exactly.
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "model/text_stream.hpp"
#include "model/tokenizer.hpp"
#include "model/utf8.hpp"

namespace {

using tandem::model::TokenizerPtr;

struct Subject {
  const char* name;
  bool lossless;  ///< no step changes the text, special tokens apart
};
constexpr std::array<Subject, 8> subjects{{{"llama3-like", true},
                                           {"llama2-like", true},
                                           {"qwen2-like", false},
                                           {"gpt2-like", false},
                                           {"metaspace-like", false},
                                           {"words-like", false},
                                           {"unigram-like", false},
                                           {"unigram-bytes-like", false}}};

const std::array<TokenizerPtr, subjects.size()>& tokenizers() {
  static const auto loaded = [] {
    std::array<TokenizerPtr, subjects.size()> all;
    for (std::size_t i = 0; i < all.size(); ++i) {
      auto one = tandem::model::load_tokenizer(std::string(TANDEM_SOURCE_DIR) +
                                               "/tests/golden/tokenizers/" + subjects[i].name);
      if (!one) {
        std::fprintf(stderr, "%s\n", one.error().message.c_str());
        std::abort();
      }
      all[i] = *one;
    }
    return all;
  }();
  return loaded;
}

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t choice = data[0] % subjects.size();
  const bool parse_special = (data[0] & 0x40U) != 0;
  const bool add_special = (data[0] & 0x80U) != 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const TokenizerPtr& tokenizer = tokenizers()[choice];
  const auto ids = tokenizer->encode(text, add_special, parse_special);
  for (const auto id : ids) {
    require(id >= 0 && static_cast<std::size_t>(id) < tokenizer->vocab_size());
  }
  if (const auto longest = tokenizer->max_bytes_per_token()) {
    require(ids.size() * *longest >= text.size());
  }
  const std::string decoded = tokenizer->decode(ids);
  require(tandem::model::is_well_formed(decoded));
  // A metaspace in the text comes back as the space that it stands for.
  const bool has_metaspace = text.find("\u2581") != std::string_view::npos;
  if (subjects[choice].lossless && !parse_special && !has_metaspace) {
    require(decoded == tandem::model::well_formed(text));
  }
  tandem::model::TextStream stream(tokenizer, {}, false);
  std::string streamed;
  for (const auto id : ids) {
    const std::string delta = stream.push(id);
    require(tandem::model::is_well_formed(delta));
    streamed += delta;
  }
  streamed += stream.finish();
  require(streamed == decoded);
  return 0;
}
