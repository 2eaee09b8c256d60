// See choice_stream.hpp.
#include "api/choice_stream.hpp"

#include <algorithm>
#include <iterator>

#include "api/ids.hpp"
#include "api/json_fields.hpp"
#include "core/check.hpp"

namespace tandem::api {
namespace {

TokenText token_text(const model::Tokenizer* tokenizer, TokenId token, float logprob) {
  TokenText result{.logprob = logprob};
  if (tokenizer) result.bytes = std::string(tokenizer->token_bytes(token));
  result.token = result.bytes.empty()
                     ? "token_id:" + std::to_string(token)
                     : tokenizer->decode(std::span(&token, 1), true, model::TextPlace::behind_text);
  return result;
}

LogprobEntry logprob_entry(const model::Tokenizer* tokenizer, const TokenEvent& event) {
  LogprobEntry entry{.chosen = token_text(tokenizer, *event.token, event.logprob)};
  for (const auto& top : event.top_logprobs)
    entry.top.push_back(token_text(tokenizer, top.token, top.logprob));
  return entry;
}

/// An answer follows its prompt, unless that is empty.
model::TextPlace place_of_answer(const GenerateCall& call) {
  const auto is_empty = [](const Prompt& prompt) {
    const auto* text = std::get_if<std::string>(&prompt);
    return text != nullptr && text->empty();
  };
  return std::all_of(call.prompts.begin(), call.prompts.end(), is_empty)
             ? model::TextPlace::start
             : model::TextPlace::behind_text;
}

/// What is looked for in the answers of `call`. Completions are text, whatever they say.
model::AnswerFormat format_for(const GenerateCall& call, const model::AnswerFormat& format) {
  if (call.endpoint == Endpoint::completions) return {.tools = model::ToolFormat::none};
  return {.tools = offers_tools(call) ? format.tools : model::ToolFormat::none,
          .reasoning = format.reasoning};
}

std::optional<model::AnswerParser> answer_parser(const GenerateCall& call,
                                                 const model::AnswerFormat& format,
                                                 PromptEnd prompt_end) {
  const auto markers = model::markers_of(format);
  if (markers.empty()) return std::nullopt;
  model::ToolNames names;
  for (const auto& tool : call.tools) names.push_back(tool.name);
  return model::AnswerParser({.reasoning = format.reasoning,
                              .prompt_end = prompt_end,
                              .tools = format.tools,
                              .names = std::move(names),
                              .single_call = !call.parallel_tool_calls});
}

/// Special tokens that are markers.
std::vector<TokenId> shown_tokens(const model::Tokenizer& tokenizer,
                                  const model::AnswerFormat& format) {
  std::vector<TokenId> shown;
  for (const auto marker : model::markers_of(format))
    if (const auto token = tokenizer.find(marker); token && tokenizer.is_special(*token))
      shown.push_back(*token);
  return shown;
}

}  // namespace

bool is_taken_apart(const GenerateCall& call, const AnswerSource& source) {
  return source.tokenizer && !model::markers_of(format_for(call, source.format)).empty();
}

void join(Delta& delta, Delta next) {
  append(delta.parts, std::move(next.parts));
  std::move(next.logprobs.begin(), next.logprobs.end(), std::back_inserter(delta.logprobs));
  delta.finish = next.finish;
  delta.called_tools = next.called_tools;
  delta.error = std::move(next.error);
}

void ReasoningTokens::judge(const model::ReasoningParser& parser, bool at_end) {
  while (!waiting_.empty()) {
    const auto [begin, end] = waiting_.front();
    if (!at_end && end > parser.settled()) return;
    if (parser.is_reasoning(begin, end)) count_ += Tokens(1);
    waiting_.pop_front();
  }
}

ChoiceStream::ChoiceStream(const GenerateCall& call, const AnswerSource& source,
                           PromptEnd prompt_end)
    : tokenizer_(source.tokenizer),
      wants_logprobs_(call.sampling.logprobs.has_value()),
      include_stop_(call.include_stop_text),
      prefill_only_(call.prefill_only) {
  if (!tokenizer_) return;
  const auto format = format_for(call, source.format);
  text_.emplace(tokenizer_, call.stop, call.include_stop_text, shown_tokens(*tokenizer_, format),
                place_of_answer(call));
  parser_ = answer_parser(call, format, prompt_end);
}

/// The text that became certain.
std::string ChoiceStream::add_token(const TokenEvent& event, Delta& delta) {
  completion_tokens_ += Tokens(1);
  // The token that ended the generation (an end-of-text or stop token id) is counted, and is not
  // part of the text unless the caller wants to see what stopped it.
  if (event.finish == FinishReason::stop && !include_stop_) return {};
  if (wants_logprobs_) {
    auto entry = logprob_entry(tokenizer_.get(), event);
    entry.text_offset = text_offset_;
    text_offset_ += count_characters(entry.chosen.bytes);
    delta.logprobs.push_back(std::move(entry));
  }
  if (!text_) return {};
  const auto before = text_->decoded_bytes();
  auto text = text_->push(*event.token);
  if (parser_ && parser_->reasoning()) reasoning_tokens_.add(before, text_->decoded_bytes());
  return text;
}

void ChoiceStream::take_apart(std::string text, bool at_end, Delta& delta) {
  if (!parser_) return append_content(delta.parts, std::move(text));
  parser_->push(text, delta.parts);
  if (at_end || parser_->ended()) parser_->finish(delta.parts);
  if (const auto* reasoning = parser_->reasoning()) reasoning_tokens_.judge(*reasoning, at_end);
  for (auto& part : delta.parts) {
    if (part.name.empty()) continue;
    part.id = random_id("call_");
    called_tools_ = true;
  }
}

Delta ChoiceStream::push(const TokenEvent& event) {
  Delta delta;
  if (ended_) return delta;
  cached_tokens_ = std::max(cached_tokens_, event.cached_tokens);
  std::string text;
  // What the engine samples behind the prompt is nobody's.
  if (event.token && !prefill_only_) text = add_token(event, delta);
  if (text_ && event.finish) text += text_->finish();
  const bool stopped = text_ && text_->stopped();
  take_apart(std::move(text), event.finish || stopped, delta);
  // A stop string in what was there before the end, or a call that is to be the only one, is how
  // the choice ended, whatever came then.
  const bool cut = stopped || (parser_ && parser_->ended());
  if (!event.finish && !cut) return delta;
  ended_ = true;
  wants_cancel_ = cut && !event.finish;
  const bool complete = cut || (prefill_only_ && event.finish == FinishReason::length);
  delta.finish = complete ? FinishReason::stop : event.finish;
  delta.called_tools = called_tools_;
  if (delta.finish != FinishReason::failed) return delta;
  delta.error = event.error.value_or(
      error(Errc::internal, "the engine failed while it worked on this request"));
  return delta;
}

CallCollector::CallCollector(GenerateCall call, std::vector<AcceptedChoice> choices,
                             AnswerSource source)
    : call_(std::move(call)),
      accepted_(std::move(choices)),
      source_(std::move(source)),
      results_(accepted_.size()),
      left_(accepted_.size()) {
  streams_.reserve(accepted_.size());
  for (std::size_t i = 0; i < accepted_.size(); ++i) {
    streams_.emplace_back(call_, source_, accepted_[i].prompt_end);
    index_.emplace(accepted_[i].id, i);
  }
}

bool CallCollector::push(const TokenEvent& event) {
  const auto found = index_.find(event.id);
  if (found == index_.end()) return false;
  auto& stream = streams_[found->second];
  if (stream.ended()) return false;
  auto delta = stream.push(event);
  auto& result = results_[found->second];
  append(result.parts, std::move(delta.parts));
  result.logprobs.insert(result.logprobs.end(), std::make_move_iterator(delta.logprobs.begin()),
                         std::make_move_iterator(delta.logprobs.end()));
  if (!delta.finish) return false;
  result.finish = *delta.finish;
  result.called_tools = delta.called_tools;
  if (delta.error && !error_) error_ = delta.error;
  cancelled_ = cancelled_ || *delta.finish == FinishReason::cancelled;
  --left_;
  return stream.wants_cancel();
}

std::string CallCollector::echoed(std::size_t index) const {
  if (!call_.echo) return {};
  const auto& prompt = call_.prompts[index / call_.n];
  if (const auto* text = std::get_if<std::string>(&prompt)) return *text;
  const auto* ids = std::get_if<std::vector<TokenId>>(&prompt);
  return ids && source_.tokenizer ? source_.tokenizer->decode(*ids) : std::string();
}

Usage usage_of(const std::vector<AcceptedChoice>& choices, const std::vector<ChoiceStream>& streams,
               std::uint32_t choices_per_prompt) {
  TANDEM_CHECK(choices_per_prompt > 0, "a call has at least one choice");
  Usage usage;
  for (std::size_t i = 0; i < streams.size(); ++i) {
    usage.completion += streams[i].completion_tokens();
    usage.reasoning += streams[i].reasoning_tokens();
    if (i % choices_per_prompt != 0) continue;
    usage.prompt += choices[i].prompt_tokens;
    usage.cached += streams[i].cached_tokens();
  }
  return usage;
}

Usage CallCollector::usage() const { return usage_of(accepted_, streams_, call_.n); }

}  // namespace tandem::api
