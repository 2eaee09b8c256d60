// The reader of tokenizer.json: one method per part of the file, one object per load. Internal to
// model/: tokenizer_json.cpp holds the vocabulary's half, tokenizer_steps.cpp the text steps' half.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/byte_level_tokenizer.hpp"
#include "model/json_file.hpp"

namespace tandem::model {

/// Reads one file; the first failure is kept in `fields_` or `error_`.
class TokenizerReader {
 public:
  TokenizerReader(const boost::json::object& root, std::string where)
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
  void read_tokenizer_config(const boost::json::object& config, const std::string& where);

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
  void read_vocab(const boost::json::object& vocab);
  void read_merges(const boost::json::array& merges, const boost::json::object& vocab);
  void read_merge(const boost::json::value& merge, const boost::json::object& vocab,
                  std::uint32_t rank);
  void require_every_byte();
  void read_added_tokens();
  void add_added_token(const boost::json::object& object);
  void set_token(std::int64_t id, std::string bytes, bool special);
  void read_normalizer(const boost::json::object* normalizer);
  void read_pretokenizer(const boost::json::object* pretokenizer);
  void read_byte_level(JsonFields& step);
  void read_split(JsonFields& step);
  void read_digits(JsonFields& step);
  void add_step(Pretokenizer::Step step, Result<Regex> regex);
  void read_post_processor(const boost::json::object* processor);
  void read_template(JsonFields& processor);
  std::vector<TokenId> special_token_ids(JsonFields& processor, std::string_view name);
  void read_decoder(const boost::json::object* decoder);
  /// The objects of a Sequence's list.
  std::vector<const boost::json::object*> steps_of(const boost::json::object& sequence,
                                                   std::string_view list_key, std::string_view key);

  JsonFields fields_;
  std::string where_;
  TokenizerParts parts_;
  std::vector<bool> used_;  ///< by id
  bool byte_level_ = false;
  std::size_t num_steps_ = 0;
};

}  // namespace tandem::model
