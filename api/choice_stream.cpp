// See choice_stream.hpp.
#include "api/choice_stream.hpp"

#include <algorithm>

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

}  // namespace

ChoiceStream::ChoiceStream(const GenerateCall& call, model::TokenizerPtr tokenizer)
    : tokenizer_(std::move(tokenizer)),
      wants_logprobs_(call.sampling.logprobs.has_value()),
      include_stop_(call.include_stop_text) {
  if (tokenizer_)
    text_.emplace(tokenizer_, call.stop, call.include_stop_text, std::vector<TokenId>(),
                  place_of_answer(call));
}

void ChoiceStream::add_token(const TokenEvent& event, Delta& delta) {
  completion_tokens_ += Tokens(1);
  // The token that ended the generation (an end-of-text or stop token id) is counted, and is not
  // part of the text unless the caller wants to see what stopped it.
  if (event.finish == FinishReason::stop && !include_stop_) return;
  if (wants_logprobs_) {
    auto entry = logprob_entry(tokenizer_.get(), event);
    entry.text_offset = text_offset_;
    text_offset_ += count_characters(entry.chosen.bytes);
    delta.logprobs.push_back(std::move(entry));
  }
  if (text_) delta.text += text_->push(*event.token);
}

Delta ChoiceStream::push(const TokenEvent& event) {
  Delta delta;
  if (ended_) return delta;
  cached_tokens_ = std::max(cached_tokens_, event.cached_tokens);
  if (event.token) add_token(event, delta);
  const bool stopped_early = text_ && text_->stopped() && !event.finish;
  if (text_ && event.finish) delta.text += text_->finish();
  if (!event.finish && !stopped_early) return delta;
  ended_ = true;
  wants_cancel_ = stopped_early;
  delta.finish = event.finish;
  // A stop string in what was there before the end is how the choice ended, whatever came then.
  if (text_ && text_->stopped()) delta.finish = FinishReason::stop;
  if (delta.finish != FinishReason::failed) return delta;
  delta.error = event.error.value_or(
      error(Errc::internal, "the engine failed while it worked on this request"));
  return delta;
}

CallCollector::CallCollector(GenerateCall call, std::vector<AcceptedChoice> choices,
                             model::TokenizerPtr tokenizer)
    : call_(std::move(call)),
      accepted_(std::move(choices)),
      tokenizer_(std::move(tokenizer)),
      results_(accepted_.size()),
      left_(accepted_.size()) {
  streams_.reserve(accepted_.size());
  for (std::size_t i = 0; i < accepted_.size(); ++i) {
    streams_.emplace_back(call_, tokenizer_);
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
  result.text += delta.text;
  result.logprobs.insert(result.logprobs.end(), std::make_move_iterator(delta.logprobs.begin()),
                         std::make_move_iterator(delta.logprobs.end()));
  if (!delta.finish) return false;
  result.finish = *delta.finish;
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
  return ids && tokenizer_ ? tokenizer_->decode(*ids) : std::string();
}

Tokens count_prompt_tokens(const std::vector<AcceptedChoice>& choices,
                           std::uint32_t choices_per_prompt) {
  TANDEM_CHECK(choices_per_prompt > 0, "a call has at least one choice");
  Tokens total{0};
  for (std::size_t i = 0; i < choices.size(); i += choices_per_prompt)
    total += choices[i].prompt_tokens;
  return total;
}

Usage CallCollector::usage() const {
  Usage usage{.prompt = count_prompt_tokens(accepted_, call_.n)};
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    usage.completion += streams_[i].completion_tokens();
    if (i % call_.n == 0) usage.cached += streams_[i].cached_tokens();
  }
  return usage;
}

}  // namespace tandem::api
