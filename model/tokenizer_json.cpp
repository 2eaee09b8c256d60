// tokenizer.json (and the two keys of tokenizer_config.json that matter) into a ByteLevelTokenizer.
// What is not byte-level BPE, or changes the text in a way not offered here, is refused by name.
#include <algorithm>
#include <array>

#include "model/tokenizer_reader.hpp"
#include "model/utf8.hpp"

namespace tandem::model {
namespace {

namespace json = boost::json;

constexpr std::uint64_t max_tokenizer_bytes = 256ULL << 20;
constexpr std::uint64_t max_tokenizer_config_bytes = 16ULL << 20;
constexpr std::int64_t max_token_id = (1LL << 24) - 1;
constexpr std::size_t max_added_content = 1024;

/// The printable characters that stand for bytes in tokenizer.json: most printable Latin-1
/// characters for themselves, U+0100 onwards for the other bytes, in order.
class ByteAlphabet {
 public:
  ByteAlphabet() {
    bytes_.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const bool itself = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      const char32_t code = itself ? static_cast<char32_t>(byte) : next++;
      bytes_[code] = byte;
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

 private:
  std::array<int, 0x144> bytes_{};
};

}  // namespace

// ---- model -------------------------------------------------------------------------------------

void TokenizerReader::set_token(std::int64_t id, std::string bytes, bool special) {
  const auto index = static_cast<std::size_t>(id);
  if (index >= parts_.bytes.size()) {
    parts_.bytes.resize(index + 1);
    parts_.special.resize(index + 1);
    used_.resize(index + 1);
  }
  parts_.bytes[index] = special ? std::string() : std::move(bytes);
  parts_.special[index] = special;
  used_[index] = true;
}

void TokenizerReader::read_model() {
  const auto* object = fields_.object("model");
  if (object == nullptr) {
    fail("model", "is missing; it must be an object");
    return;
  }
  JsonFields model(*object, where_ + ": model");
  const std::string type = model.string("type", "BPE");
  if (type != "BPE") {
    model.fail("type", "is " + in_quotes(type) + "; only \"BPE\" is supported", Errc::unsupported);
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const std::string value = model.string(key, "");
    if (value.empty()) continue;
    model.fail(key, "is " + in_quotes(value) + "; it must be empty for byte-level BPE",
               Errc::unsupported);
  }
  if (model.number("dropout", 0.0, 1.0, 0.0) != 0.0) {
    model.fail("dropout", "must be null or 0: tokenization is deterministic", Errc::unsupported);
  }
  const auto* vocab = model.object("vocab");
  const auto* merges = model.array("merges");
  if (vocab == nullptr) model.fail("vocab", "is missing; it must be an object");
  if (merges == nullptr) model.fail("merges", "is missing; it must be an array");
  if (model.boolean("ignore_merges", false)) parts_.bpe.ignore_merges_for_whole_words();
  adopt(model);
  if (failed()) return;
  read_vocab(*vocab);
  if (!failed()) read_merges(*merges, *vocab);
}

void TokenizerReader::read_vocab(const json::object& vocab) {
  const ByteAlphabet alphabet;
  for (const auto& [key, value] : vocab) {
    const std::string_view entry(key);
    if (!value.is_int64() || value.get_int64() < 0 || value.get_int64() > max_token_id) {
      fail("vocab", "gives " + in_quotes(entry) + " the id " + describe(value) +
                        "; ids are whole numbers from 0 to " + std::to_string(max_token_id));
      return;
    }
    const std::int64_t id = value.get_int64();
    if (static_cast<std::size_t>(id) < used_.size() && used_[static_cast<std::size_t>(id)]) {
      fail("vocab", "gives the id " + std::to_string(id) + " to " + in_quotes(entry) +
                        " and to another entry");
      return;
    }
    auto bytes = alphabet.bytes_of(entry);
    // An entry outside the alphabet cannot come from text; it is written out as it stands.
    set_token(id, bytes ? *bytes : std::string(entry), false);
    if (bytes && !bytes->empty()) {
      parts_.bpe.add_token(std::move(*bytes), static_cast<TokenId>(id));
    }
  }
  require_every_byte();
}

void TokenizerReader::require_every_byte() {
  for (int byte = 0; byte < 256; ++byte) {
    const bool in_utf8 = byte != 0xC0 && byte != 0xC1 && byte < 0xF5;
    if (!in_utf8 || parts_.bpe.find(std::string(1, static_cast<char>(byte)))) continue;
    fail("vocab",
         "has no token for the byte " + std::to_string(byte) +
             "; byte-level BPE needs one for every byte of UTF-8 (is this another kind of "
             "tokenizer?)",
         Errc::unsupported);
    return;
  }
}

void TokenizerReader::read_merges(const json::array& merges, const json::object& vocab) {
  if (merges.size() > static_cast<std::size_t>(max_token_id)) {
    fail("merges", "holds " + std::to_string(merges.size()) + " merges; at most " +
                       std::to_string(max_token_id) + " are allowed");
    return;
  }
  std::uint32_t rank = 0;
  for (const auto& merge : merges) {
    read_merge(merge, vocab, rank++);
    if (failed()) return;
  }
}

void TokenizerReader::read_merge(const json::value& merge, const json::object& vocab,
                                 std::uint32_t rank) {
  const std::string place = "holds, at " + std::to_string(rank) + ", ";
  std::string left;
  std::string right;
  if (merge.is_string()) {
    const std::string_view text(merge.get_string());
    const std::size_t space = text.find(' ');
    left = text.substr(0, space);
    if (space != std::string_view::npos) right = text.substr(space + 1);
  } else if (merge.is_array() && merge.get_array().size() == 2 &&
             merge.get_array()[0].is_string() && merge.get_array()[1].is_string()) {
    left = std::string_view(merge.get_array()[0].get_string());
    right = std::string_view(merge.get_array()[1].get_string());
  }
  if (left.empty() || right.empty()) {
    fail("merges", place + describe(merge) + "; a merge is \"a b\" or [\"a\", \"b\"]");
    return;
  }
  std::array<TokenId, 3> ids{};
  const std::array<std::string, 3> entries{left, right, left + right};
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto* id = vocab.if_contains(entries[i]);
    if (id == nullptr) {
      fail("merges", place + in_quotes(left + " " + right) + ", but " + in_quotes(entries[i]) +
                         " is not in the vocab");
      return;
    }
    ids[i] = static_cast<TokenId>(id->get_int64());  // Checked with the vocab.
  }
  parts_.bpe.add_merge(ids[0], ids[1], ids[2], rank);
}

// ---- added tokens ------------------------------------------------------------------------------

void TokenizerReader::read_added_tokens() {
  const auto* list = fields_.array("added_tokens");
  if (list == nullptr) return;
  for (const auto& entry : *list) {
    if (failed()) return;
    if (!entry.is_object()) {
      fail("added_tokens", "holds " + describe(entry) + "; it must hold objects");
      return;
    }
    add_added_token(entry.get_object());
  }
}

void TokenizerReader::add_added_token(const json::object& object) {
  JsonFields entry(object, where_ + ": added_tokens");
  AddedToken token;
  const std::int64_t id = entry.integer("id", 0, max_token_id);
  token.id = static_cast<TokenId>(id);
  token.content = entry.string("content");
  token.special = entry.boolean("special", false);
  token.normalized = entry.boolean("normalized", !token.special);
  token.single_word = entry.boolean("single_word", false);
  token.strip_left = entry.boolean("lstrip", false);
  token.strip_right = entry.boolean("rstrip", false);
  if (token.content.empty() || token.content.size() > max_added_content) {
    entry.fail("content", "of token " + std::to_string(id) + " must have 1 to " +
                              std::to_string(max_added_content) + " bytes");
  }
  const auto known = parts_.added.find(token.content);
  if (known != parts_.added.end() && known->second != token.id) {
    entry.fail("content", "is " + in_quotes(token.content) + " for two ids");
  }
  // The vocabulary may list an added token as well, under the same id.
  const bool same = parts_.bpe.find(token.content) == token.id;
  const auto index = static_cast<std::size_t>(id);
  if (index < used_.size() && used_[index] && !same && parts_.bytes[index] != token.content &&
      known == parts_.added.end()) {
    entry.fail("id", "is " + std::to_string(id) + " for " + in_quotes(token.content) +
                         ", but the vocab gives that id to another token");
  }
  adopt(entry);
  if (failed() || known != parts_.added.end()) return;
  set_token(id, token.content, token.special);
  parts_.added.emplace(token.content, token.id);
  auto& set = token.normalized ? parts_.normalized_tokens : parts_.raw_tokens;
  set.add(std::move(token));
}

Result<TokenizerPtr> load_tokenizer(const std::filesystem::path& folder) {
  const auto path = folder / "tokenizer.json";
  auto root = read_json_object(path, max_tokenizer_bytes);
  if (!root) return std::move(root).error();
  TokenizerReader reader(*root, path.string());
  reader.read_all();

  const auto config_path = folder / "tokenizer_config.json";
  std::error_code ignored;
  if (!reader.error() && std::filesystem::exists(config_path, ignored)) {
    auto config = read_json_object(config_path, max_tokenizer_config_bytes);
    if (!config) return std::move(config).error();
    reader.read_tokenizer_config(*config, config_path.string());
  }
  if (reader.error()) return *reader.error();
  return TokenizerPtr(std::make_shared<ByteLevelTokenizer>(reader.take()));
}

}  // namespace tandem::model
