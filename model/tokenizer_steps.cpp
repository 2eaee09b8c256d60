// How tokenizer.json treats text before and after the vocabulary: normalizer, pre_tokenizer,
// post_processor, decoder. Steps that are not offered are refused by name.
#include "model/tokenizer_reader.hpp"

namespace tandem::model {
namespace {

namespace json = boost::json;

constexpr std::size_t max_steps = 32;

constexpr std::string_view gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace

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
  const bool regex = what.has("Regex");
  const std::string text = what.string(regex ? "Regex" : "String");
  adopt(what);
  if (failed()) return;
  add_step(kept, regex ? Regex::compile(text, what.where()) : Regex::literal(text, what.where()));
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

}  // namespace tandem::model
