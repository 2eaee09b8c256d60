// How tokenizer.json treats tokens after the vocabulary: post_processor and decoder; and the keys
// of tokenizer_config.json that matter. Steps that are not offered are refused by name.
#include <charconv>

#include "model/tokenizer_reader.hpp"

namespace tandem::model {
namespace {

namespace json = boost::json;

constexpr std::size_t max_added = 32;

void refuse_type(JsonFields& step, const std::string& type, std::string_view allowed) {
  step.fail("type",
            "is " + in_quotes(type) + ", which is not supported; it must be one of " +
                std::string(allowed),
            Errc::unsupported);
}

}  // namespace

// ---- decoder -----------------------------------------------------------------------------------

void TokenizerReader::read_decoder(const json::object* decoder) {
  if (decoder == nullptr || failed()) return;
  // What ByteLevel makes of tokens is bytes; everything else is text.
  if (!has_decoder_) parts_.decode.bytes = DecodeRules::Bytes::fallback;
  has_decoder_ = true;
  JsonFields step(*decoder, where_ + ": decoder");
  const std::string type = step.string("type");
  if (type == "Sequence") {
    for (const auto* one : steps_of(*decoder, "decoders", "decoder")) read_decoder(one);
  } else {
    add_decoder(step, type);
  }
  adopt(step);
}

void TokenizerReader::add_decoder(JsonFields& step, const std::string& type) {
  if (type == "Fuse") {
    joined_ = true;
  } else if (type == "Strip") {
    read_strip_decoder(step);
  } else if (joined_) {
    step.fail("type", "is " + in_quotes(type) + " behind a step that joins all tokens",
              Errc::unsupported);
  } else if (type == "ByteLevel") {
    token_steps_.add(TokenSteps::ByteLevel{});
    parts_.decode.bytes = DecodeRules::Bytes::joined;
    joined_ = true;
  } else if (type == "ByteFallback") {
    token_steps_.add(TokenSteps::ByteFallback{});
  } else if (type == "Metaspace") {
    const bool prefixed = step.boolean("add_prefix_space", true);
    const std::string scheme = step.string("prepend_scheme", prefixed ? "always" : "never");
    const std::string replacement = step.string("replacement", "\u2581");
    if (replacement.empty()) step.fail("replacement", "is empty");
    if (!step.error()) token_steps_.add(TokenSteps::Metaspace{replacement, scheme != "never"});
  } else if (type == "Replace") {
    std::string literal;
    auto pattern = read_pattern(step, literal);
    std::string content = step.string("content");
    if (!literal.empty()) {
      token_steps_.add(TokenSteps::Replace{std::move(literal), std::move(content)});
    } else if (pattern) {
      token_steps_.add(TokenSteps::ReplaceMatches{std::move(*pattern), std::move(content)});
    }
  } else {
    refuse_type(step, type,
                "\"ByteLevel\", \"Metaspace\", \"Replace\", \"ByteFallback\", \"Fuse\", \"Strip\" "
                "and \"Sequence\"");
  }
}

void TokenizerReader::read_strip_decoder(JsonFields& step) {
  constexpr std::int64_t most = 1024;
  const std::string character = step.string("content");
  const auto left = static_cast<std::uint32_t>(step.integer("start", 0, most, 0));
  const auto right = static_cast<std::uint32_t>(step.integer("stop", 0, most, 0));
  if (!step.error() && character.empty()) step.fail("content", "is empty; it must be a character");
  if (step.error()) return;
  if (!joined_) {
    token_steps_.add(TokenSteps::Strip{character, left, right});
    return;
  }
  if (right > 0 || parts_.decode.max_stripped > 0) {
    step.fail("stop", "strips the end of the whole text, or strips twice", Errc::unsupported);
  }
  parts_.decode.stripped = character;
  parts_.decode.max_stripped = left;
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
    refuse_type(step, type, "\"ByteLevel\", \"TemplateProcessing\" and \"Sequence\"");
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
  if (before.size() + behind.size() > max_added) {
    processor.fail("single", "adds more than " + std::to_string(max_added) + " tokens");
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
    const bool valid = id.is_int64() && id.get_int64() >= 0 && is_used(id.get_int64());
    if (!valid) {
      processor.fail("special_tokens", "gives " + in_quotes(name) + " the id " + describe(id) +
                                           ", which no token has");
      return ids;
    }
    ids.push_back(static_cast<TokenId>(id.get_int64()));
  }
  return ids;
}

// ---- tokenizer_config.json ---------------------------------------------------------------------

void TokenizerReader::read_tokenizer_config(const json::object& config, const std::string& where) {
  if (failed()) return;
  JsonFields fields(config, where);
  const auto* added = fields.object("added_tokens_decoder");
  if (added != nullptr) {
    for (const auto& [key, value] : *added) {
      std::int64_t id = -1;
      const auto end = std::from_chars(key.data(), key.data() + key.size(), id);
      if (end.ec != std::errc() || end.ptr != key.data() + key.size() || !value.is_object()) {
        fields.fail("added_tokens_decoder",
                    "has the entry " + in_quotes(key) + "; it must map ids to objects");
        break;
      }
      add_added_token(value.get_object(), where + ": added_tokens_decoder", id);
    }
  }
  read_edge_token(fields, "add_bos_token", "bos_token", parts_.prefix, true);
  read_edge_token(fields, "add_eos_token", "eos_token", parts_.suffix, false);
  adopt(fields);
}

/// Whether the beginning (end) token is the first (last) thing around a text.
void TokenizerReader::read_edge_token(JsonFields& config, const char* flag, const char* name,
                                      std::vector<TokenId>& edge, bool in_front) {
  if (failed() || !config.has(flag)) return;
  const bool wanted = config.boolean(flag, false);
  std::string content;
  const auto* entry = config.find(name);
  if (entry != nullptr && entry->is_object()) {
    JsonFields token(entry->get_object(), config.where() + ": " + name);
    content = token.string("content");
    adopt(token);
  } else if (entry != nullptr) {
    content = config.string(name);
  }
  if (failed() || config.error()) return;
  const auto token = content.empty() ? std::nullopt : id_of(content);
  const bool there = token && !edge.empty() && (in_front ? edge.front() : edge.back()) == *token;
  if (wanted && !token) {
    config.fail(name,
                "is " + in_quotes(content) + ", which is no token, though " + flag + " is true");
  } else if (wanted && !there) {
    edge.insert(in_front ? edge.begin() : edge.end(), *token);
  } else if (!wanted && there) {
    edge.erase(in_front ? edge.begin() : edge.end() - 1);
  }
}

}  // namespace tandem::model
