// The reader of tokenizer.json: one method per part of the file, one object per load. Internal to
// model/: tokenizer_json.cpp holds the vocabulary's half, tokenizer_steps.cpp what happens to text
// before it, tokenizer_output.cpp what happens to tokens after it.
#pragma once

#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/bpe.hpp"
#include "model/json_file.hpp"
#include "model/pipeline_tokenizer.hpp"
#include "model/token_steps.hpp"

namespace tandem::model {

/// Reads one file; the first failure is kept in `fields_`.
class TokenizerReader {
 public:
  TokenizerReader(const boost::json::object& root, std::string where)
      : fields_(root, where), where_(std::move(where)) {}

  void read_all() {
    read_pretokenizer(fields_.object("pre_tokenizer"));
    read_normalizer(fields_.object("normalizer"));
    read_model();
    read_added_tokens();
    read_post_processor(fields_.object("post_processor"));
    read_decoder(fields_.object("decoder"));
  }

  /// tokenizer_config.json may overrule which tokens are put around a text, and names added tokens.
  void read_tokenizer_config(const boost::json::object& config, const std::string& where);

  [[nodiscard]] const std::optional<Error>& error() const { return fields_.error(); }
  /// Everything read, put together. Only without an error.
  [[nodiscard]] TokenizerParts take();

 private:
  void fail(std::string_view key, const std::string& problem, Errc code = Errc::invalid_value) {
    fields_.fail(key, problem, code);
  }
  [[nodiscard]] bool failed() const { return fields_.error().has_value(); }
  void adopt(const JsonFields& inner) {
    if (inner.error()) fields_.adopt(*inner.error());
  }
  [[nodiscard]] bool is_used(std::int64_t id) const {
    return static_cast<std::size_t>(id) < used_.size() && used_[static_cast<std::size_t>(id)];
  }
  void set_token(std::int64_t id, std::string_view content, bool special);
  [[nodiscard]] std::optional<TokenId> id_of(std::string_view content) const;

  void read_model();
  void read_bpe(JsonFields& model);
  void read_vocab(const boost::json::object& vocab, Bpe& bpe, bool whole_words);
  void read_merges(const boost::json::array& merges, Bpe& bpe);
  void read_merge(const boost::json::value& merge, std::uint32_t rank, Bpe& bpe);
  [[nodiscard]] std::array<std::optional<TokenId>, 3> merge_ids(std::string_view left,
                                                                std::string_view right) const;
  void read_unknown(JsonFields& model, Bpe& bpe);
  void require_every_byte(const Bpe& bpe);
  std::optional<std::array<TokenId, 256>> fallback_bytes(JsonFields& model);
  void read_unigram(JsonFields& model);
  void read_added_tokens();
  void add_added_token(const boost::json::object& object, std::string_view where,
                       std::optional<std::int64_t> known_id);

  void read_normalizer(const boost::json::object* normalizer);
  void add_normalizer(JsonFields& step, const std::string& type);
  void read_pretokenizer(const boost::json::object* pretokenizer);
  void read_pretokenizer_step(const boost::json::object& object);
  void read_byte_level(JsonFields& step);
  void read_split(JsonFields& step);
  void read_metaspace(JsonFields& step);
  Pretokenizer::Behavior behavior_of(JsonFields& step, std::optional<std::string> fallback);
  void add_split(Result<Regex> regex, Pretokenizer::Behavior behavior, bool invert = false);
  /// {"String": …} or {"Regex": …}; the string is kept in `literal`.
  std::optional<Regex> read_pattern(JsonFields& step, std::string& literal);

  void read_post_processor(const boost::json::object* processor);
  void read_template(JsonFields& processor);
  void set_max_bytes_per_token();
  std::vector<TokenId> special_token_ids(JsonFields& processor, std::string_view name);
  void read_decoder(const boost::json::object* decoder);
  void add_decoder(JsonFields& step, const std::string& type);
  void read_strip_decoder(JsonFields& step);
  void read_edge_token(JsonFields& config, const char* flag, const char* name,
                       std::vector<TokenId>& edge, bool in_front);

  /// The objects of a Sequence's list.
  std::vector<const boost::json::object*> steps_of(const boost::json::object& sequence,
                                                   std::string_view list_key, std::string_view key);

  JsonFields fields_;
  std::string where_;
  TokenizerParts parts_;
  TokenSteps token_steps_;
  std::vector<bool> used_;  ///< by id
  std::vector<AddedToken> added_;
  bool byte_level_ = false;
  bool has_decoder_ = false;
  bool joined_ = false;  ///< the decoder has come to a step that makes one text of all tokens
  std::size_t num_steps_ = 0;
};

/// The prefix-space setting of tokenizer_config.json, put into tokenizer.json's pre_tokenizer.
void overrule_prefix_space(boost::json::object& root, const boost::json::object& config);

}  // namespace tandem::model
