// tokenizer.json (and the keys of tokenizer_config.json that matter) into a PipelineTokenizer.
// Here: the model, its vocabulary, the added tokens, and how the parts are put together.
#include <algorithm>
#include <array>

#include "model/byte_alphabet.hpp"
#include "model/tokenizer_reader.hpp"
#include "model/unigram.hpp"
#include "model/utf8.hpp"

namespace tandem::model {
namespace {

namespace json = boost::json;

constexpr std::int64_t max_token_id = (1LL << 24) - 1;
constexpr std::size_t max_added_content = 1024;
constexpr std::string_view metaspace = "\u2581";

/// `entry` has a metaspace behind something else than a metaspace.
bool has_inner_metaspace(std::string_view entry) {
  std::size_t at = 0;
  while (entry.substr(at).starts_with(metaspace)) at += metaspace.size();
  return entry.find(metaspace, at) != std::string_view::npos;
}

const ByteAlphabet& alphabet() {
  static const ByteAlphabet own;
  return own;
}

}  // namespace

// ---- model -------------------------------------------------------------------------------------

void TokenizerReader::set_token(std::int64_t id, std::string_view content, bool special) {
  const auto index = static_cast<std::size_t>(id);
  if (index >= used_.size()) {
    parts_.contents.resize(index + 1);
    parts_.special.resize(index + 1);
    used_.resize(index + 1);
  }
  parts_.contents[index] = content;
  parts_.special[index] = special;
  used_[index] = true;
  parts_.ids[std::string(content)] = static_cast<TokenId>(id);
}

std::optional<TokenId> TokenizerReader::id_of(std::string_view content) const {
  const auto found = parts_.ids.find(std::string(content));
  if (found == parts_.ids.end()) return std::nullopt;
  return found->second;
}

void TokenizerReader::read_model() {
  const auto* object = fields_.object("model");
  if (object == nullptr) {
    fail("model", "is missing; it must be an object");
    return;
  }
  JsonFields model(*object, where_ + ": model");
  const std::string type = model.string("type", "BPE");
  if (type == "BPE") {
    read_bpe(model);
  } else if (type == "Unigram") {
    read_unigram(model);
  } else {
    model.fail("type", "is " + in_quotes(type) + "; only \"BPE\" and \"Unigram\" are supported",
               Errc::unsupported);
  }
  adopt(model);
}

void TokenizerReader::read_bpe(JsonFields& model) {
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const std::string value = model.string(key, "");
    if (value.empty()) continue;
    model.fail(key, "is " + in_quotes(value) + "; it must be empty", Errc::unsupported);
  }
  if (model.number("dropout", 0.0, 1.0, 0.0) != 0.0) {
    model.fail("dropout", "must be null or 0: tokenization is deterministic", Errc::unsupported);
  }
  const auto* vocab = model.object("vocab");
  const auto* merges = model.array("merges");
  if (vocab == nullptr) model.fail("vocab", "is missing; it must be an object");
  if (merges == nullptr) model.fail("merges", "is missing; it must be an array");
  const bool whole_words = model.boolean("ignore_merges", false);
  if (model.error() || failed()) return;
  auto bpe = std::make_unique<Bpe>(byte_level_ ? Bpe::Symbols::bytes : Bpe::Symbols::characters);
  read_vocab(*vocab, *bpe, whole_words);
  if (!failed()) read_unknown(model, *bpe);
  if (!failed() && !model.error()) read_merges(*merges, *bpe);
  // A word may be cut where no merge reaches over, unless it is looked up as a whole first.
  const bool cuts = !byte_level_ && !whole_words && id_of(metaspace) &&
                    std::none_of(parts_.contents.begin(), parts_.contents.end(),
                                 [](const auto& entry) { return has_inner_metaspace(entry); });
  if (cuts) bpe->set_cut_before(metaspace);
  parts_.model = std::move(bpe);
}

void TokenizerReader::read_vocab(const json::object& vocab, Bpe& bpe, bool whole_words) {
  for (const auto& [key, value] : vocab) {
    const std::string_view entry(key);
    if (!value.is_int64() || value.get_int64() < 0 || value.get_int64() > max_token_id) {
      fail("vocab", "gives " + in_quotes(entry) + " the id " + describe(value) +
                        "; ids are whole numbers from 0 to " + std::to_string(max_token_id));
      return;
    }
    const std::int64_t id = value.get_int64();
    if (is_used(id)) {
      fail("vocab", "gives the id " + std::to_string(id) + " to " + in_quotes(entry) +
                        " and to another entry");
      return;
    }
    set_token(id, entry, false);
    // A byte-level entry outside the alphabet cannot come from text.
    const auto spelled = byte_level_ ? alphabet().bytes_of(entry) : std::string(entry);
    if (!spelled || spelled->empty()) continue;
    const std::size_t symbol = byte_level_ ? 1 : utf8_step(*spelled, 0).length;
    if (spelled->size() == symbol) bpe.add_symbol(*spelled, static_cast<TokenId>(id));
    if (whole_words) bpe.add_whole_word(*spelled, static_cast<TokenId>(id));
  }
  if (byte_level_) require_every_byte(bpe);
}

void TokenizerReader::require_every_byte(const Bpe& bpe) {
  for (int byte = 0; byte < 256; ++byte) {
    const bool in_utf8 = byte != 0xC0 && byte != 0xC1 && byte < 0xF5;
    if (!in_utf8 || bpe.has_symbol(static_cast<unsigned char>(byte))) continue;
    fail("vocab",
         "has no token for the byte " + std::to_string(byte) +
             "; byte-level BPE needs one for every byte of UTF-8 (is this another kind of "
             "tokenizer?)",
         Errc::unsupported);
    return;
  }
}

/// Text outside the vocabulary: by bytes, by the unknown token, or, without either, left out.
void TokenizerReader::read_unknown(JsonFields& model, Bpe& bpe) {
  UnknownRule rule;
  rule.fuse = model.boolean("fuse_unk", false);
  rule.bytes = fallback_bytes(model);
  const std::string unknown = model.string("unk_token", "");
  if (!unknown.empty()) rule.token = id_of(unknown);
  if (!unknown.empty() && !rule.token && !byte_level_) {
    model.fail("unk_token", "is " + in_quotes(unknown) + ", which is not in the vocab");
  }
  if (!byte_level_) bpe.set_unknown(rule);
}

std::optional<std::array<TokenId, 256>> TokenizerReader::fallback_bytes(JsonFields& model) {
  if (!model.boolean("byte_fallback", false)) return std::nullopt;
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::array<TokenId, 256> tokens{};
  for (std::size_t byte = 0; byte < tokens.size(); ++byte) {
    const std::string entry{'<', '0', 'x', digits[byte / 16], digits[byte % 16], '>'};
    tokens[byte] = id_of(entry).value_or(-1);
  }
  return tokens;
}

void TokenizerReader::read_merges(const json::array& merges, Bpe& bpe) {
  if (merges.size() > static_cast<std::size_t>(max_token_id)) {
    fail("merges", "holds " + std::to_string(merges.size()) + " merges; at most " +
                       std::to_string(max_token_id) + " are allowed");
    return;
  }
  std::uint32_t rank = 0;
  for (const auto& merge : merges) {
    read_merge(merge, rank++, bpe);
    if (failed()) return;
  }
}

/// The ids of a merge's parts and of what they become; nothing for what is not in the vocab.
std::array<std::optional<TokenId>, 3> TokenizerReader::merge_ids(std::string_view left,
                                                                 std::string_view right) const {
  return {id_of(left), id_of(right), id_of(std::string(left) + std::string(right))};
}

void TokenizerReader::read_merge(const json::value& merge, std::uint32_t rank, Bpe& bpe) {
  const std::string place = "holds, at " + std::to_string(rank) + ", ";
  std::string_view left;
  std::string_view right;
  if (merge.is_string()) {
    // Where the parts hold spaces themselves, the first cut into entries of the vocab counts.
    const std::string_view text(merge.get_string());
    for (std::size_t space = text.find(' '); space != std::string_view::npos;
         space = text.find(' ', space + 1)) {
      const auto ids = merge_ids(text.substr(0, space), text.substr(space + 1));
      const bool known = ids[0] && ids[1] && ids[2];
      if (!left.empty() && !known) continue;
      left = text.substr(0, space);
      right = text.substr(space + 1);
      if (known) break;
    }
  } else if (merge.is_array() && merge.get_array().size() == 2 &&
             merge.get_array()[0].is_string() && merge.get_array()[1].is_string()) {
    left = merge.get_array()[0].get_string();
    right = merge.get_array()[1].get_string();
  }
  if (left.empty() || right.empty()) {
    fail("merges", place + describe(merge) + "; a merge is \"a b\" or [\"a\", \"b\"]");
    return;
  }
  const auto ids = merge_ids(left, right);
  const std::array<std::string, 3> entries{std::string(left), std::string(right),
                                           std::string(left) + std::string(right)};
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i]) continue;
    fail("merges", place + in_quotes(entries[0] + " " + entries[1]) + ", but " +
                       in_quotes(entries[i]) + " is not in the vocab");
    return;
  }
  bpe.add_merge(*ids[0], *ids[1], *ids[2], rank);
}

void TokenizerReader::read_unigram(JsonFields& model) {
  if (byte_level_) {
    model.fail("type", "is \"Unigram\" behind a ByteLevel pre_tokenizer", Errc::unsupported);
    return;
  }
  const auto* vocab = model.array("vocab");
  if (vocab == nullptr) model.fail("vocab", "is missing; it must be an array");
  if (model.error()) return;
  const auto size = static_cast<std::int64_t>(vocab->size());
  if (size == 0 || size > max_token_id) {
    model.fail("vocab", "holds " + std::to_string(size) + " tokens; 1 to " +
                            std::to_string(max_token_id) + " are allowed");
    return;
  }
  // Without it, text outside the vocabulary could not be encoded.
  const auto unknown = static_cast<TokenId>(model.integer("unk_id", 0, size - 1));
  std::vector<double> scores;
  for (const auto& entry : *vocab) {
    const auto* pair = entry.if_array();
    const bool valid = pair != nullptr && pair->size() == 2 && (*pair)[0].is_string() &&
                       !(*pair)[0].get_string().empty() && (*pair)[1].is_number();
    if (!valid) {
      model.fail("vocab", "holds " + describe(entry) + "; it must hold [\"token\", score]");
      return;
    }
    set_token(static_cast<std::int64_t>(scores.size()), (*pair)[0].get_string(), false);
    scores.push_back((*pair)[1].to_number<double>());
  }
  auto unigram = std::make_unique<Unigram>(unknown, fallback_bytes(model));
  for (std::size_t id = 0; id < scores.size(); ++id) {
    unigram->add_token(parts_.contents[id], static_cast<TokenId>(id), scores[id]);
  }
  parts_.model = std::move(unigram);
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
    add_added_token(entry.get_object(), where_ + ": added_tokens", std::nullopt);
  }
}

/// `known_id`: the entry stands under its id. Such a token is added only if it is not there.
void TokenizerReader::add_added_token(const json::object& object, std::string_view where,
                                      std::optional<std::int64_t> known_id) {
  if (failed()) return;
  JsonFields entry(object, std::string(where));
  AddedToken token;
  std::int64_t id = known_id.value_or(0);
  if (!known_id) id = entry.integer("id", 0, max_token_id);
  if (id < 0 || id > max_token_id) entry.fail("id", "is " + std::to_string(id));
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
  const auto known = std::find_if(added_.begin(), added_.end(), [&](const AddedToken& one) {
    return one.content == token.content;
  });
  if (known != added_.end() && known->id != token.id && !known_id) {
    entry.fail("content", "is " + in_quotes(token.content) + " for two ids");
  }
  // The vocabulary may list an added token as well, under the same id.
  if (!entry.error() && is_used(id) && known == added_.end() &&
      parts_.contents[static_cast<std::size_t>(id)] != token.content) {
    entry.fail("id", "is " + std::to_string(id) + " for " + in_quotes(token.content) +
                         ", but the vocab gives that id to another token");
  }
  adopt(entry);
  if (failed() || known != added_.end()) return;
  set_token(id, token.content, token.special);
  added_.push_back(std::move(token));
}

// ---- everything together -----------------------------------------------------------------------

/// Before the added tokens are given away.
void TokenizerReader::set_max_bytes_per_token() {
  const bool strips = std::any_of(added_.begin(), added_.end(), [](const AddedToken& token) {
    return token.strip_left || token.strip_right;
  });
  if (strips || !parts_.normalizer.only_lengthens() || !parts_.pretokenizer.keeps_text() ||
      !parts_.model->keeps_unknown()) {
    return;
  }
  std::size_t longest = 4;  // a character that the vocabulary lacks
  for (const auto& content : parts_.contents) {
    const auto spelled = byte_level_ ? alphabet().bytes_of(content) : std::nullopt;
    longest = std::max(longest, spelled ? spelled->size() : content.size());
  }
  std::pair<std::string, std::string> buffers;
  for (const auto& token : added_) {
    const std::string_view content =
        token.normalized ? parts_.normalizer.apply(token.content, buffers) : token.content;
    longest = std::max({longest, token.content.size(), content.size()});
  }
  parts_.max_bytes_per_token = longest;
}

TokenizerParts TokenizerReader::take() {
  set_max_bytes_per_token();
  std::pair<std::string, std::string> buffers;
  for (AddedToken& token : added_) {
    std::string content = token.content;
    if (token.normalized) content = parts_.normalizer.apply(token.content, buffers);
    if (content.empty()) continue;
    auto& set = token.normalized ? parts_.normalized_tokens : parts_.raw_tokens;
    set.add(std::move(token), content);
  }
  auto& decode = parts_.decode;
  if (!has_decoder_ && byte_level_) {
    token_steps_.add(TokenSteps::ByteLevel{});
  } else if (!has_decoder_) {
    decode.bytes = DecodeRules::Bytes::fallback;
    decode.separator = " ";
  }
  const std::size_t count = parts_.contents.size();
  decode.first_token_differs = token_steps_.first_differs();
  decode.byte_tokens.resize(count);
  parts_.texts.resize(count);
  if (decode.first_token_differs) parts_.first_texts.resize(count);
  for (std::size_t id = 0; id < count; ++id) {
    auto [text, is_byte] = token_steps_.spell(parts_.contents[id], false);
    parts_.texts[id] = std::move(text);
    decode.byte_tokens[id] = is_byte;
    if (decode.first_token_differs) {
      parts_.first_texts[id] = token_steps_.spell(parts_.contents[id], true).text;
    }
  }
  return std::move(parts_);
}

}  // namespace tandem::model
