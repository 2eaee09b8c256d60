// From token events to what a reader sees: text that is certain, taken apart into reasoning,
// content and calls of tools; log-probabilities; the reason of the end. ChoiceStream follows one
// choice, CallCollector gathers all choices of a call for a reply in one piece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/generate.hpp"
#include "core/request.hpp"
#include "model/answer/answer_parser.hpp"
#include "model/text_stream.hpp"
#include "model/tokenizer.hpp"

namespace tandem::api {

/// One token with its log-probability, as text and as bytes.
struct TokenText {
  std::string token;  ///< UTF-8; bytes that are no character become U+FFFD; "token_id:7" if none
  std::string bytes;  ///< empty for tokens without text: special ones, or without a tokenizer
  float logprob = 0;
};
struct LogprobEntry {
  TokenText chosen;
  std::vector<TokenText> top;
  std::size_t text_offset = 0;  ///< characters of the choice's text in front of the token
};

/// What one event added.
struct Delta {
  model::AnswerParts parts;
  std::vector<LogprobEntry> logprobs;  ///< of text that may still be held back, too
  std::optional<FinishReason> finish;  ///< the choice has ended; nothing more comes
  bool called_tools = false;           ///< with finish: there were calls among the parts
  std::optional<Error> error;          ///< with finish == failed

  [[nodiscard]] bool says_nothing() const { return parts.empty() && logprobs.empty() && !finish; }
};
/// What came after `delta` joins it.
void join(Delta& delta, Delta next);

/// What a choice is put together from.
struct AnswerSource {
  model::TokenizerPtr tokenizer;  ///< null: no text comes out
  model::AnswerFormat format{};   ///< of chats
};

/// Answers of `call` may hold reasoning or calls; else they are content alone.
bool is_taken_apart(const GenerateCall& call, const AnswerSource& source);

/// Counts tokens that are part of the reasoning, or of its markers. A token is judged once it is
/// certain what its text is, and by all of its text: whatever was held back meanwhile.
class ReasoningTokens {
 public:
  /// The text was `begin` bytes long before the token, and is `end` bytes long with it.
  void add(std::size_t begin, std::size_t end) { waiting_.emplace_back(begin, end); }
  /// Judges those that can be judged; at the end, all.
  void judge(const model::ReasoningParser& parser, bool at_end);
  [[nodiscard]] Tokens count() const { return count_; }

 private:
  std::deque<std::pair<std::size_t, std::size_t>> waiting_;
  Tokens count_{0};
};

class ChoiceStream {
 public:
  ChoiceStream(const GenerateCall& call, const AnswerSource& source,
               PromptEnd prompt_end = PromptEnd::plain);

  /// Events after the end are ignored.
  Delta push(const TokenEvent& event);
  [[nodiscard]] bool ended() const { return ended_; }
  /// A stop string, or a call that is to be the only one, ended the choice before the engine did:
  /// its request is to be cancelled.
  [[nodiscard]] bool wants_cancel() const { return wants_cancel_; }
  [[nodiscard]] Tokens completion_tokens() const { return completion_tokens_; }
  [[nodiscard]] Tokens cached_tokens() const { return cached_tokens_; }
  [[nodiscard]] Tokens reasoning_tokens() const { return reasoning_tokens_.count(); }

 private:
  std::string add_token(const TokenEvent& event, Delta& delta);
  void take_apart(std::string text, bool at_end, Delta& delta);

  model::TokenizerPtr tokenizer_;
  std::optional<model::TextStream> text_;      ///< unset without a tokenizer
  std::optional<model::AnswerParser> parser_;  ///< unset: all text is content
  bool wants_logprobs_ = false;
  bool include_stop_ = false;
  bool prefill_only_ = false;
  bool ended_ = false;
  bool wants_cancel_ = false;
  std::size_t text_offset_ = 0;  ///< characters begun by the tokens so far
  Tokens completion_tokens_{0};
  Tokens cached_tokens_{0};
  ReasoningTokens reasoning_tokens_;
  bool called_tools_ = false;
};

/// A finished choice.
struct ChoiceResult {
  model::AnswerParts parts;
  std::vector<LogprobEntry> logprobs;
  FinishReason finish = FinishReason::stop;
  bool called_tools = false;
};

class CallCollector {
 public:
  CallCollector(GenerateCall call, std::vector<AcceptedChoice> choices, AnswerSource source);

  /// True if the event's request is to be cancelled (a stop string was met).
  bool push(const TokenEvent& event);
  /// Every choice has ended.
  [[nodiscard]] bool done() const { return left_ == 0; }
  /// The first failure among the choices.
  [[nodiscard]] const std::optional<Error>& error() const { return error_; }
  [[nodiscard]] bool cancelled() const { return cancelled_; }
  [[nodiscard]] Usage usage() const;
  [[nodiscard]] const GenerateCall& call() const { return call_; }
  [[nodiscard]] const std::vector<AcceptedChoice>& accepted() const { return accepted_; }
  /// With `echo`: the text of choice `index`'s prompt, which stands in front of the completion.
  [[nodiscard]] std::string echoed(std::size_t index) const;
  /// In order of index.
  [[nodiscard]] const std::vector<ChoiceResult>& results() const { return results_; }

 private:
  GenerateCall call_;
  std::vector<AcceptedChoice> accepted_;
  AnswerSource source_;
  std::vector<ChoiceStream> streams_;
  std::vector<ChoiceResult> results_;
  std::unordered_map<RequestId, std::size_t> index_;
  std::size_t left_ = 0;
  std::optional<Error> error_;
  bool cancelled_ = false;
};

/// Prompt tokens count once per prompt, not once per choice.
Usage usage_of(const std::vector<AcceptedChoice>& choices, const std::vector<ChoiceStream>& streams,
               std::uint32_t choices_per_prompt);

}  // namespace tandem::api
