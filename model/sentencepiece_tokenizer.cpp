#include "model/sentencepiece_tokenizer.hpp"

#include <algorithm>
#include <boost/unordered/unordered_flat_map.hpp>
#include <limits>
#include <sentencepiece_processor.h>

#include "model/added_tokens.hpp"
#include "model/json_file.hpp"
#include "model/token_steps.hpp"
#include "model/utf8.hpp"

namespace tandem::model {
namespace {

constexpr std::string_view metaspace = "\u2581";

class SentencePieceTokenizer final : public Tokenizer {
 public:
  std::optional<std::string> load(std::string_view bytes);
  /// What tokenizer_config.json says about the tokens around a text.
  void set_edges(bool begin, bool end) {
    if (begin && pieces_.bos_id() >= 0) prefix_.push_back(pieces_.bos_id());
    if (end && pieces_.eos_id() >= 0) suffix_.push_back(pieces_.eos_id());
  }

  [[nodiscard]] std::vector<TokenId> encode(std::string_view text, bool add_special,
                                            bool parse_special) const override;
  [[nodiscard]] std::vector<TokenId> encode_prompt(
      std::string_view text, std::span<const TextRange> literal) const override;
  [[nodiscard]] std::string_view token_bytes(TokenId id) const override {
    return is_special(id) ? std::string_view() : token_text(id);
  }
  [[nodiscard]] bool is_special(TokenId id) const override {
    return is_token(id) && special_[static_cast<std::size_t>(id)];
  }
  [[nodiscard]] std::optional<TokenId> find(std::string_view content) const override {
    const auto found = ids_.find(std::string(content));
    if (found == ids_.end()) return std::nullopt;
    return found->second;
  }
  [[nodiscard]] std::size_t vocab_size() const override { return texts_.size(); }
  [[nodiscard]] std::string_view token_text(TokenId id) const override {
    return is_token(id) ? std::string_view(texts_[static_cast<std::size_t>(id)])
                        : std::string_view();
  }
  [[nodiscard]] std::string_view token_content(TokenId id) const override {
    return is_token(id) ? std::string_view(contents_[static_cast<std::size_t>(id)])
                        : std::string_view();
  }
  [[nodiscard]] const DecodeRules& decode_rules() const override { return rules_; }

 private:
  [[nodiscard]] bool is_token(TokenId id) const {
    return id >= 0 && static_cast<std::size_t>(id) < texts_.size();
  }
  void add_token(int id, TokenSteps& steps);
  [[nodiscard]] std::uint32_t num_stripped() const;
  void encode_between(std::string_view text, std::span<const TextRange> literal,
                      std::vector<TokenId>& out) const;

  sentencepiece::SentencePieceProcessor pieces_;
  AddedTokenSet controls_;
  std::vector<std::string> contents_;
  std::vector<std::string> texts_;
  std::vector<bool> special_;
  boost::unordered_flat_map<std::string, TokenId> ids_;
  DecodeRules rules_;
  std::vector<TokenId> prefix_;
  std::vector<TokenId> suffix_;
};

std::optional<std::string> SentencePieceTokenizer::load(std::string_view bytes) {
  const auto status = pieces_.LoadFromSerializedProto({bytes.data(), bytes.size()});
  if (!status.ok()) return status.ToString();
  const int size = pieces_.GetPieceSize();
  if (size <= 0) return std::string("it has no pieces");
  TokenSteps steps;
  steps.add(TokenSteps::Replace{std::string(metaspace), " "});
  steps.add(TokenSteps::ByteFallback{});
  for (int id = 0; id < size; ++id) add_token(id, steps);
  rules_.bytes = DecodeRules::Bytes::fallback;
  rules_.stripped.assign(1, ' ');
  rules_.max_stripped = num_stripped();
  return std::nullopt;
}

/// How many spaces the library takes from the beginning of a text: one where the model puts one in
/// front of texts, all where it removes extra white space, none else. Its interface does not say,
/// so it is asked to decode some.
std::uint32_t SentencePieceTokenizer::num_stripped() const {
  const auto space = ids_.find(std::string(metaspace));
  if (space == ids_.end()) return 1;
  constexpr std::uint32_t tried = 3;
  std::string text;
  if (!pieces_.Decode(std::vector<int>(tried, space->second), &text).ok()) return 1;
  const auto left = static_cast<std::uint32_t>(text.size());
  return left == 0 ? std::numeric_limits<std::uint32_t>::max() : tried - std::min(left, tried);
}

void SentencePieceTokenizer::add_token(int id, TokenSteps& steps) {
  const std::string& content = pieces_.IdToPiece(id);
  const bool special = pieces_.IsControl(id) || pieces_.IsUnknown(id);
  auto [text, is_byte] = steps.spell(content, false);
  contents_.push_back(content);
  texts_.push_back(std::move(text));
  special_.push_back(special);
  rules_.byte_tokens.push_back(is_byte && pieces_.IsByte(id));
  ids_.emplace(content, id);
  if (special && !content.empty())
    controls_.add({.id = id, .content = content, .special = true}, content);
}

void SentencePieceTokenizer::encode_between(std::string_view text,
                                            std::span<const TextRange> literal,
                                            std::vector<TokenId>& out) const {
  std::vector<int> ids;
  controls_.split(
      text, literal,
      [&](std::string_view piece) {
        // Cannot fail once a model is loaded, but for text that breaks an invariant of the library.
        if (!pieces_.Encode({piece.data(), piece.size()}, &ids).ok()) return;
        out.insert(out.end(), ids.begin(), ids.end());
      },
      [&](TokenId id) { out.push_back(id); });
}

std::vector<TokenId> SentencePieceTokenizer::encode(std::string_view text, bool add_special,
                                                    bool parse_special) const {
  std::vector<TokenId> ids;
  if (add_special) ids = prefix_;
  const std::string clean = well_formed(text);
  const TextRange whole{0, clean.size()};
  encode_between(clean, std::span(&whole, parse_special ? 0 : 1), ids);
  if (add_special) ids.insert(ids.end(), suffix_.begin(), suffix_.end());
  return ids;
}

std::vector<TokenId> SentencePieceTokenizer::encode_prompt(
    std::string_view text, std::span<const TextRange> literal) const {
  if (!is_well_formed(text)) return Tokenizer::encode_prompt(text, literal);
  std::vector<TokenId> ids;
  encode_between(text, literal, ids);
  return ids;
}

}  // namespace

Result<TokenizerPtr> load_sentencepiece(std::string_view bytes, const std::string& where,
                                        const boost::json::object& config,
                                        const std::string& config_where) {
  JsonFields fields(config, config_where);
  const bool begin = fields.boolean("add_bos_token", true);
  const bool end = fields.boolean("add_eos_token", false);
  if (fields.error()) return *fields.error();
  auto tokenizer = std::make_shared<SentencePieceTokenizer>();
  if (const auto problem = tokenizer->load(bytes)) {
    return error(Errc::invalid_value,
                 where + ": is neither a rank file nor a SentencePiece model: " + *problem, where);
  }
  tokenizer->set_edges(begin, end);
  return TokenizerPtr(std::move(tokenizer));
}

}  // namespace tandem::model
