// Any bytes as tokenizer.json, with a tokenizer_config.json behind a zero byte: loading ends with a
// value or an error, and what was loaded encodes and decodes within the vocabulary. The first byte
// says what stands before the rest: nothing, or an object that has one of three small vocabularies
// and is still open, so that short inputs reach every other part of the file.
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "model/byte_alphabet.hpp"
#include "model/tokenizer.hpp"
#include "model/utf8.hpp"

namespace {

std::string json_string(std::string_view text) {
  const bool escaped = text == "\"" || text == "\\";
  return std::string(escaped ? "\"\\" : "\"").append(text).append("\"");
}

/// BPE over bytes; ids 0 to 255 are the bytes.
std::string byte_level_vocabulary() {
  const tandem::model::ByteAlphabet alphabet;
  std::string vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    const char one = static_cast<char>(byte);
    vocabulary += json_string(alphabet.entry_of({&one, 1})) + ":" + std::to_string(byte) + ",";
  }
  return R"({"model":{"vocab":{)" + vocabulary +
         R"("th":256,"the":257,"Ġ1":258},"merges":["t h","th e",["Ġ","1"]]})";
}

/// BPE over characters with some of the byte tokens.
std::string character_vocabulary() {
  return R"({"model":{"byte_fallback":true,"unk_token":"<unk>","vocab":{"<unk>":0,"<0xC3>":1,)"
         R"("<0xAF>":2,"t":3,"h":4,"th":5,"▁":6,"▁t":7,"e":8,"1":9,"2":10,"12":11,"\r":12},)"
         R"("merges":["t h","▁ t","1 2"]})";
}

std::string unigram_vocabulary() {
  return R"({"model":{"type":"Unigram","unk_id":0,"byte_fallback":true,"vocab":[["<unk>",0],)"
         R"(["▁",-2],["th",-3.5],["▁the",-1],["e",-4],["<0x0D>",-9],["1",-5],["na",-2]]})";
}

const std::array<std::string, 4>& beginnings() {
  static const std::array<std::string, 4> made{"", byte_level_vocabulary(), character_vocabulary(),
                                               unigram_vocabulary()};
  return made;
}

void use(const tandem::model::Tokenizer& tokenizer) {
  const std::string_view text =
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

/// The beginnings must be accepted, or the fuzzer would look at their errors only.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  constexpr const char* byte_level_end = R"(,"pre_tokenizer":{"type":"ByteLevel"}})";
  for (std::size_t i = 1; i < beginnings().size(); ++i) {
    const auto whole = beginnings()[i] + (i == 1 ? byte_level_end : "}");
    const auto tokenizer = tandem::model::parse_tokenizer(whole, "");
    if (tokenizer) continue;
    std::fprintf(stderr, "%s\n%s\n", whole.c_str(), tokenizer.error().message.c_str());
    std::abort();
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t end = input.find('\0');
  const auto config = end == std::string_view::npos ? std::string_view() : input.substr(end + 1);
  static std::string text;  // kept for its memory
  text = beginnings()[data[0] % beginnings().size()];
  text += input.substr(0, end);
  const auto tokenizer = tandem::model::parse_tokenizer(text, config);
  if (tokenizer)
    use(**tokenizer);
  else if (tokenizer.error().message.empty())
    std::abort();
  return 0;
}
