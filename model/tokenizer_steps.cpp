// How tokenizer.json treats text before the vocabulary: normalizer and pre_tokenizer. Steps that
// are not offered are refused by name.
#include "model/tokenizer_reader.hpp"

namespace tandem::model {
namespace {

namespace json = boost::json;
using Behavior = Pretokenizer::Behavior;

constexpr std::size_t max_steps = 32;
// A step may make text longer; so much per character of it that a prompt stays bounded.
constexpr std::size_t max_inserted = 64;

constexpr std::string_view gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view punctuation = R"([\p{P}!-\/:-@\[-`{-~])";
// This one is written for an engine whose \w has the joiners as well.
constexpr std::string_view words_or_symbols = R"([\w\p{Join_Control}]+|[^\w\p{Join_Control}\s]+)";

void refuse_type(JsonFields& step, const std::string& type, std::string_view allowed) {
  step.fail("type",
            "is " + in_quotes(type) + ", which is not supported; it must be one of " +
                std::string(allowed),
            Errc::unsupported);
}

std::string inserted_text(JsonFields& step, std::string_view key) {
  std::string text = step.string(key);
  if (text.size() > max_inserted) {
    step.fail(key, "has " + std::to_string(text.size()) + " bytes; at most " +
                       std::to_string(max_inserted) + " are allowed");
  }
  return text;
}

}  // namespace

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

std::optional<Regex> TokenizerReader::read_pattern(JsonFields& step, std::string& literal) {
  const auto* pattern = step.object("pattern");
  if (pattern == nullptr) step.fail("pattern", "is missing; it must be an object");
  if (step.error()) return std::nullopt;
  JsonFields what(*pattern, step.where() + ": pattern");
  const bool is_regex = what.has("Regex");
  const std::string text = what.string(is_regex ? "Regex" : "String");
  if (!what.error() && text.empty()) what.fail("String", "is empty");
  adopt(what);
  if (failed()) return std::nullopt;
  auto regex = is_regex ? Regex::compile(text, what.where()) : Regex::literal(text, what.where());
  if (!regex) {
    fields_.adopt(regex.error());
    return std::nullopt;
  }
  if (!is_regex) literal = text;
  return std::move(*regex);
}

// ---- normalizer --------------------------------------------------------------------------------

void TokenizerReader::read_normalizer(const json::object* normalizer) {
  if (normalizer == nullptr || failed()) return;
  JsonFields step(*normalizer, where_ + ": normalizer");
  const std::string type = step.string("type");
  if (type == "Sequence") {
    for (const auto* one : steps_of(*normalizer, "normalizers", "normalizer")) read_normalizer(one);
  } else {
    add_normalizer(step, type);
  }
  adopt(step);
}

void TokenizerReader::add_normalizer(JsonFields& step, const std::string& type) {
  auto& chain = parts_.normalizer;
  if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
    const bool compatible = type.size() == 4;
    const bool composed = type.back() == 'C';
    const auto form = compatible ? (composed ? NormalForm::nfkc : NormalForm::nfkd)
                                 : (composed ? NormalForm::nfc : NormalForm::nfd);
    chain.add(Normalizer::Form{form});
  } else if (type == "Lowercase") {
    chain.add(Normalizer::Lowercase{});
  } else if (type == "Prepend") {
    chain.add(Normalizer::Prepend{inserted_text(step, "prepend")});
  } else if (type == "Strip") {
    chain.add(
        Normalizer::Strip{step.boolean("strip_left", true), step.boolean("strip_right", true)});
  } else if (type == "Replace") {
    std::string literal;
    auto pattern = read_pattern(step, literal);
    std::string content = inserted_text(step, "content");
    if (!literal.empty()) {
      chain.add(Normalizer::Replace{std::move(literal), std::move(content)});
    } else if (pattern) {
      chain.add(Normalizer::ReplaceMatches{std::move(*pattern), std::move(content)});
    }
  } else {
    refuse_type(step, type,
                "\"NFC\", \"NFD\", \"NFKC\", \"NFKD\", \"Lowercase\", \"Prepend\", \"Replace\", "
                "\"Strip\" and \"Sequence\"");
  }
}

// ---- pre-tokenizer -----------------------------------------------------------------------------

void TokenizerReader::read_pretokenizer(const json::object* pretokenizer) {
  if (pretokenizer == nullptr || failed()) return;
  const auto* type = pretokenizer->if_contains("type");
  if (type == nullptr || *type != "Sequence") return read_pretokenizer_step(*pretokenizer);
  for (const auto* step : steps_of(*pretokenizer, "pretokenizers", "pre_tokenizer")) {
    read_pretokenizer_step(*step);
  }
}

void TokenizerReader::read_pretokenizer_step(const json::object& object) {
  if (failed()) return;
  JsonFields step(object, where_ + ": pre_tokenizer");
  const std::string type = step.string("type");
  if (byte_level_) {
    step.fail("type", "is " + in_quotes(type) + " after ByteLevel, which must be the last step",
              Errc::unsupported);
  } else if (type == "ByteLevel") {
    read_byte_level(step);
  } else if (type == "Split") {
    read_split(step);
  } else if (type == "Metaspace") {
    read_metaspace(step);
  } else if (type == "Digits") {
    const bool each = step.boolean("individual_digits", false);
    add_split(Regex::compile("\\p{N}", step.where()),
              each ? Behavior::isolated : Behavior::contiguous);
  } else if (type == "Punctuation") {
    add_split(Regex::compile(punctuation, step.where()), behavior_of(step, "Isolated"));
  } else if (type == "Whitespace") {
    add_split(Regex::compile(words_or_symbols, step.where()), Behavior::removed, true);
  } else if (type == "WhitespaceSplit") {
    add_split(Regex::compile("\\s", step.where()), Behavior::removed);
  } else {
    refuse_type(step, type,
                "\"ByteLevel\", \"Split\", \"Digits\", \"Punctuation\", \"Whitespace\", "
                "\"WhitespaceSplit\", \"Metaspace\" and \"Sequence\"");
  }
  adopt(step);
}

void TokenizerReader::add_split(Result<Regex> regex, Behavior behavior, bool invert) {
  if (!regex) {
    fields_.adopt(regex.error());
    return;
  }
  parts_.pretokenizer.add(Pretokenizer::Split{std::move(*regex), behavior, invert});
}

void TokenizerReader::read_byte_level(JsonFields& step) {
  byte_level_ = true;
  if (step.boolean("add_prefix_space", true)) parts_.pretokenizer.add(Pretokenizer::PrefixSpace{});
  if (!step.boolean("use_regex", true)) return;
  add_split(Regex::compile(gpt2_pattern, step.where()), Behavior::isolated);
}

Behavior TokenizerReader::behavior_of(JsonFields& step, std::optional<std::string> fallback) {
  const std::string name = step.string("behavior", std::move(fallback));
  if (name == "Removed") return Behavior::removed;
  if (name == "MergedWithPrevious") return Behavior::merged_with_previous;
  if (name == "MergedWithNext") return Behavior::merged_with_next;
  if (name == "Contiguous") return Behavior::contiguous;
  if (name != "Isolated") {
    step.fail("behavior", "is " + in_quotes(name) +
                              "; allowed are \"Removed\", \"Isolated\", \"MergedWithPrevious\", "
                              "\"MergedWithNext\" and \"Contiguous\"");
  }
  return Behavior::isolated;
}

void TokenizerReader::read_split(JsonFields& step) {
  const bool invert = step.boolean("invert", false);
  const auto behavior = behavior_of(step, std::nullopt);
  std::string literal;
  auto pattern = read_pattern(step, literal);
  if (pattern) add_split(std::move(*pattern), behavior, invert);
}

void TokenizerReader::read_metaspace(JsonFields& step) {
  using Metaspace = Pretokenizer::Metaspace;
  Metaspace result{step.string("replacement", "\u2581"), Metaspace::Prepend::always,
                   step.boolean("split", true)};
  const std::string scheme =
      step.string("prepend_scheme", step.boolean("add_prefix_space", true) ? "always" : "never");
  if (scheme == "first") {
    result.prepend = Metaspace::Prepend::first;
  } else if (scheme == "never") {
    result.prepend = Metaspace::Prepend::never;
  } else if (scheme != "always") {
    step.fail("prepend_scheme",
              "is " + in_quotes(scheme) + "; allowed are \"always\", \"first\" and \"never\"");
  }
  if (result.replacement.empty() || result.replacement.size() > 4) {
    step.fail("replacement", "is " + in_quotes(result.replacement) + "; it must be one character");
  }
  if (!step.error()) parts_.pretokenizer.add(std::move(result));
}

void overrule_prefix_space(json::object& root, const json::object& config) {
  const auto* wanted = config.if_contains("add_prefix_space");
  auto* step = root.if_contains("pre_tokenizer");
  if (wanted == nullptr || !wanted->is_bool() || step == nullptr || !step->is_object()) return;
  auto& object = step->get_object();
  const auto* type = object.if_contains("type");
  // A Sequence keeps what it says, as in the reference.
  if (type != nullptr && *type == "ByteLevel") object["add_prefix_space"] = *wanted;
}

}  // namespace tandem::model
