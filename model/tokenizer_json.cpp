// tokenizer.json (and the two keys of tokenizer_config.json that matter) into a ByteLevelTokenizer.
// What is not byte-level BPE, or changes the text in a way not offered here, is refused by name.
#include <algorithm>
#include <array>

#include "model/byte_level_tokenizer.hpp"
#include "model/json_file.hpp"
#include "model/utf8.hpp"

namespace tandem::model {
namespace {

namespace json = boost::json;

constexpr std::uint64_t max_tokenizer_bytes = 256ULL << 20;
constexpr std::uint64_t max_tokenizer_config_bytes = 16ULL << 20;
constexpr std::int64_t max_token_id = (1LL << 24) - 1;
constexpr std::size_t max_added_content = 1024;
constexpr std::size_t max_steps = 32;

constexpr std::string_view gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

std::string in_quotes(std::string_view text) {
  std::string quoted = "\"";
  quoted += text.substr(0, 80);
  return quoted + "\"";
}

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

/// Reads one file; the first failure is kept in `fields_` or `error_`.
class TokenizerReader {
 public:
  TokenizerReader(const json::object& root, std::string where)
      : fields_(root, where), where_(std::move(where)) {}

  void read_all() {
    read_model();
    read_added_tokens();
    read_normalizer(fields_.object("normalizer"));
    read_pretokenizer(fields_.object("pre_tokenizer"));
    read_post_processor(fields_.object("post_processor"));
    read_decoder(fields_.object("decoder"));
  }

  /// tokenizer_config.json may overrule whether the beginning-of-text token is put in front.
  void read_tokenizer_config(const json::object& config, const std::string& where);

  [[nodiscard]] const std::optional<Error>& error() const { return fields_.error(); }
  [[nodiscard]] TokenizerParts take() { return std::move(parts_); }

 private:
  void fail(std::string_view key, const std::string& problem, Errc code = Errc::invalid_value) {
    fields_.fail(key, problem, code);
  }
  [[nodiscard]] bool failed() const { return fields_.error().has_value(); }
  void adopt(const JsonFields& inner) {
    if (inner.error()) fields_.adopt(*inner.error());
  }

  void read_model();
  void read_vocab(const json::object& vocab);
  void read_merges(const json::array& merges, const json::object& vocab);
  void read_merge(const json::value& merge, const json::object& vocab, std::uint32_t rank);
  void require_every_byte();
  void read_added_tokens();
  void add_added_token(const json::object& object);
  void set_token(std::int64_t id, std::string bytes, bool special);
  void read_normalizer(const json::object* normalizer);
  void read_pretokenizer(const json::object* pretokenizer);
  void read_byte_level(JsonFields& step);
  void read_split(JsonFields& step);
  void read_digits(JsonFields& step);
  void add_step(Pretokenizer::Step step, Result<Regex> regex);
  void read_post_processor(const json::object* processor);
  void read_template(JsonFields& processor);
  std::vector<TokenId> special_token_ids(JsonFields& processor, std::string_view name);
  void read_decoder(const json::object* decoder);
  /// The objects of a Sequence's list.
  std::vector<const json::object*> steps_of(const json::object& sequence, std::string_view list_key,
                                            std::string_view key);

  JsonFields fields_;
  std::string where_;
  TokenizerParts parts_;
  std::vector<bool> used_;  ///< by id
  bool byte_level_ = false;
  std::size_t num_steps_ = 0;
};

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

// ---- normalizer, pre-tokenizer, decoder --------------------------------------------------------

std::vector<const json::object*> TokenizerReader::steps_of(const json::object& sequence,
                                                           std::string_view list_key,
                                                           std::string_view key) {
  std::vector<const json::object*> steps;
  JsonFields fields(sequence, where_ + ": " + std::string(key));
  const auto* list = fields.array(list_key);
  if (list == nullptr) fields.fail(list_key, "is missing; it must be an array");
  if (list != nullptr) {
    for (const auto& entry : *list) {
      if (entry.is_object()) steps.push_back(&entry.get_object());
    }
    if (steps.size() != list->size()) fields.fail(list_key, "must hold objects");
  }
  num_steps_ += steps.size();
  if (num_steps_ > max_steps) {
    fields.fail(list_key, "makes more than " + std::to_string(max_steps) + " steps in all");
  }
  adopt(fields);
  if (failed()) steps.clear();
  return steps;
}

void TokenizerReader::read_normalizer(const json::object* normalizer) {
  if (normalizer == nullptr || failed()) return;
  JsonFields step(*normalizer, where_ + ": normalizer");
  const std::string type = step.string("type");
  if (type == "Sequence") {
    for (const auto* one : steps_of(*normalizer, "normalizers", "normalizer")) read_normalizer(one);
  } else if (type == "NFC") {
    parts_.nfc = true;
  } else {
    step.fail("type", "is " + in_quotes(type) + ", which is not supported; it must be \"NFC\"",
              Errc::unsupported);
  }
  adopt(step);
}

void TokenizerReader::read_pretokenizer(const json::object* pretokenizer) {
  if (failed()) return;
  if (pretokenizer == nullptr) {
    fail("pre_tokenizer", "is missing; only byte-level BPE is supported, which has a ByteLevel one",
         Errc::unsupported);
    return;
  }
  const auto one = [this](const json::object& object) {
    JsonFields step(object, where_ + ": pre_tokenizer");
    const std::string type = step.string("type");
    if (byte_level_) {
      step.fail("type", "is " + in_quotes(type) + " after ByteLevel, which must be the last step",
                Errc::unsupported);
    } else if (type == "ByteLevel") {
      read_byte_level(step);
    } else if (type == "Split") {
      read_split(step);
    } else if (type == "Digits") {
      read_digits(step);
    } else {
      step.fail("type",
                "is " + in_quotes(type) +
                    ", which is not supported; it must be \"ByteLevel\", \"Split\", \"Digits\" or "
                    "a \"Sequence\" of them",
                Errc::unsupported);
    }
    adopt(step);
  };
  const auto* type = pretokenizer->if_contains("type");
  if (type != nullptr && *type == "Sequence") {
    for (const auto* step : steps_of(*pretokenizer, "pretokenizers", "pre_tokenizer")) one(*step);
  } else {
    one(*pretokenizer);
  }
  if (!byte_level_) {
    fail("pre_tokenizer", "has no ByteLevel step; only byte-level BPE is supported",
         Errc::unsupported);
  }
}

void TokenizerReader::add_step(Pretokenizer::Step step, Result<Regex> regex) {
  if (!regex) {
    fields_.adopt(regex.error());
    return;
  }
  parts_.pretokenizer.add_split(step, std::move(*regex));
}

void TokenizerReader::read_byte_level(JsonFields& step) {
  byte_level_ = true;
  if (step.boolean("add_prefix_space", true)) parts_.pretokenizer.add_prefix_space();
  if (!step.boolean("use_regex", true)) return;
  add_step(Pretokenizer::Step::isolate, Regex::compile(gpt2_pattern, step.where()));
}

void TokenizerReader::read_split(JsonFields& step) {
  const auto* pattern = step.object("pattern");
  const std::string behavior = step.string("behavior");
  const bool invert = step.boolean("invert", false);
  if (pattern == nullptr) step.fail("pattern", "is missing; it must be an object");
  if (behavior != "Isolated" && behavior != "Removed") {
    step.fail("behavior",
              "is " + in_quotes(behavior) +
                  ", which is not supported; it must be \"Isolated\" or \"Removed\"",
              Errc::unsupported);
  }
  if (step.error()) return;
  auto kept = Pretokenizer::Step::isolate;
  if (behavior == "Removed") {
    kept = invert ? Pretokenizer::Step::keep_matches : Pretokenizer::Step::keep_gaps;
  }
  JsonFields what(*pattern, step.where() + ": pattern");
  if (what.has("Regex")) {
    add_step(kept, Regex::compile(what.string("Regex"), what.where()));
  } else {
    add_step(kept, Regex::literal(what.string("String"), what.where()));
  }
  adopt(what);
}

void TokenizerReader::read_digits(JsonFields& step) {
  const bool each = step.boolean("individual_digits", false);
  add_step(Pretokenizer::Step::isolate, Regex::compile(each ? "\\p{N}" : "\\p{N}+", step.where()));
}

void TokenizerReader::read_decoder(const json::object* decoder) {
  if (decoder == nullptr || failed()) return;
  JsonFields step(*decoder, where_ + ": decoder");
  const std::string type = step.string("type");
  if (type == "Sequence") {
    for (const auto* one : steps_of(*decoder, "decoders", "decoder")) read_decoder(one);
  } else if (type != "ByteLevel" && type != "Fuse") {
    step.fail("type",
              "is " + in_quotes(type) + ", which is not supported; it must be \"ByteLevel\"",
              Errc::unsupported);
  }
  adopt(step);
}

// ---- post-processor: what is put around a text -------------------------------------------------

void TokenizerReader::read_post_processor(const json::object* processor) {
  if (processor == nullptr || failed()) return;
  JsonFields step(*processor, where_ + ": post_processor");
  const std::string type = step.string("type");
  if (type == "Sequence") {
    for (const auto* one : steps_of(*processor, "processors", "post_processor")) {
      read_post_processor(one);
    }
  } else if (type == "TemplateProcessing") {
    read_template(step);
  } else if (type != "ByteLevel") {
    step.fail("type",
              "is " + in_quotes(type) +
                  ", which is not supported; it must be \"ByteLevel\" or \"TemplateProcessing\"",
              Errc::unsupported);
  }
  adopt(step);
}

void TokenizerReader::read_template(JsonFields& processor) {
  const auto* single = processor.array("single");
  if (single == nullptr) {
    processor.fail("single", "is missing; it must be an array");
    return;
  }
  std::vector<TokenId> before;
  std::vector<TokenId> behind;
  int sequences = 0;
  for (const auto& entry : *single) {
    const auto* object = entry.if_object();
    const auto* special = object == nullptr ? nullptr : object->if_contains("SpecialToken");
    const auto* sequence = object == nullptr ? nullptr : object->if_contains("Sequence");
    if (sequence != nullptr) {
      ++sequences;
    } else if (special != nullptr && special->is_object()) {
      JsonFields token(special->get_object(), processor.where() + ": single");
      const auto ids = special_token_ids(processor, token.string("id"));
      auto& side = sequences == 0 ? before : behind;
      side.insert(side.end(), ids.begin(), ids.end());
      adopt(token);
    } else {
      processor.fail("single", "holds " + describe(entry) +
                                   "; it must hold {\"SpecialToken\": …} and {\"Sequence\": …}");
    }
  }
  if (sequences != 1) processor.fail("single", "must hold exactly one Sequence");
  if (before.size() + behind.size() > max_steps) {
    processor.fail("single", "adds more than " + std::to_string(max_steps) + " tokens");
  }
  parts_.prefix.insert(parts_.prefix.begin(), before.begin(), before.end());
  parts_.suffix.insert(parts_.suffix.end(), behind.begin(), behind.end());
}

std::vector<TokenId> TokenizerReader::special_token_ids(JsonFields& processor,
                                                        std::string_view name) {
  std::vector<TokenId> ids;
  const auto* known = processor.object("special_tokens");
  const auto* entry = known == nullptr ? nullptr : known->if_contains(name);
  const auto* list =
      entry == nullptr || !entry->is_object() ? nullptr : entry->get_object().if_contains("ids");
  if (list == nullptr || !list->is_array()) {
    processor.fail("special_tokens", "has no ids for " + in_quotes(name));
    return ids;
  }
  for (const auto& id : list->get_array()) {
    const bool valid = id.is_int64() && id.get_int64() >= 0 &&
                       id.get_int64() < static_cast<std::int64_t>(used_.size()) &&
                       used_[static_cast<std::size_t>(id.get_int64())];
    if (!valid) {
      processor.fail("special_tokens", "gives " + in_quotes(name) + " the id " + describe(id) +
                                           ", which no token has");
      return ids;
    }
    ids.push_back(static_cast<TokenId>(id.get_int64()));
  }
  return ids;
}

void TokenizerReader::read_tokenizer_config(const json::object& config, const std::string& where) {
  JsonFields fields(config, where);
  if (!failed() && fields.has("add_bos_token")) {
    const bool wanted = fields.boolean("add_bos_token", false);
    std::string content;
    if (const auto* bos = fields.find("bos_token")) {
      if (bos->is_object()) {
        JsonFields token(bos->get_object(), where + ": bos_token");
        content = token.string("content");
        adopt(token);
      } else {
        content = fields.string("bos_token");
      }
    }
    const auto token = parts_.added.find(content);
    const bool there = token != parts_.added.end() && !parts_.prefix.empty() &&
                       parts_.prefix.front() == token->second;
    if (wanted && token == parts_.added.end()) {
      fields.fail("bos_token", "is " + in_quotes(content) +
                                   ", which is no added token, though add_bos_token is true");
    } else if (wanted && !there) {
      parts_.prefix.insert(parts_.prefix.begin(), token->second);
    } else if (!wanted && there) {
      parts_.prefix.erase(parts_.prefix.begin());
    }
  }
  adopt(fields);
}

}  // namespace

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
