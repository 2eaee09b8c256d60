// Any bytes as tokenizer.json, with a tokenizer_config.json behind a zero byte: loading ends with a
// value or an error, and what was loaded encodes and decodes within the vocabulary.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "model/tokenizer.hpp"
#include "model/utf8.hpp"

namespace {

void use(const tandem::model::Tokenizer& tokenizer) {
  const std::string text =
      "the <tool> 12 na\u00EFve e\u0301 <|end|>\u2581 \u4F60\U0001F44D\r\n\xFF";
  for (const bool special : {false, true}) {
    const auto ids = tokenizer.encode(text, special, special);
    for (const auto id : ids) {
      if (id < 0 || static_cast<std::size_t>(id) >= tokenizer.vocab_size()) std::abort();
    }
    if (!tandem::model::is_well_formed(tokenizer.decode(ids, special))) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = input.find('\0');
  const auto config = end == std::string_view::npos ? std::string_view() : input.substr(end + 1);
  const auto tokenizer = tandem::model::parse_tokenizer(input.substr(0, end), config);
  if (tokenizer) use(**tokenizer);
  return 0;
}
