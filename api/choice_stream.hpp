// From token events to what a reader sees: text that is certain, log-probabilities, the reason of
// the end. ChoiceStream follows one choice, CallCollector gathers all choices of a call for a reply
// in one piece.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/generate.hpp"
#include "core/request.hpp"
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
  std::string text;
  std::vector<LogprobEntry> logprobs;  ///< of text that may still be held back, too
  std::optional<FinishReason> finish;  ///< the choice has ended; nothing more comes
  std::optional<Error> error;          ///< with finish == failed
};

class ChoiceStream {
 public:
  ChoiceStream(const GenerateCall& call, model::TokenizerPtr tokenizer);

  /// Events after the end are ignored.
  Delta push(const TokenEvent& event);
  [[nodiscard]] bool ended() const { return ended_; }
  /// A stop string ended the choice before the engine did: its request is to be cancelled.
  [[nodiscard]] bool wants_cancel() const { return wants_cancel_; }
  [[nodiscard]] Tokens completion_tokens() const { return completion_tokens_; }
  [[nodiscard]] Tokens cached_tokens() const { return cached_tokens_; }

 private:
  void add_token(const TokenEvent& event, Delta& delta);

  model::TokenizerPtr tokenizer_;
  std::optional<model::TextStream> text_;  ///< unset without a tokenizer
  bool wants_logprobs_ = false;
  bool include_stop_ = false;
  bool ended_ = false;
  bool wants_cancel_ = false;
  std::size_t text_offset_ = 0;  ///< characters begun by the tokens so far
  Tokens completion_tokens_{0};
  Tokens cached_tokens_{0};
};

/// A finished choice.
struct ChoiceResult {
  std::string text;
  std::vector<LogprobEntry> logprobs;
  FinishReason finish = FinishReason::stop;
};

class CallCollector {
 public:
  CallCollector(GenerateCall call, std::vector<AcceptedChoice> choices,
                model::TokenizerPtr tokenizer);

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
  model::TokenizerPtr tokenizer_;
  std::vector<ChoiceStream> streams_;
  std::vector<ChoiceResult> results_;
  std::unordered_map<RequestId, std::size_t> index_;
  std::size_t left_ = 0;
  std::optional<Error> error_;
  bool cancelled_ = false;
};

/// Prompt tokens count once per prompt, not once per choice.
Tokens count_prompt_tokens(const std::vector<AcceptedChoice>& choices,
                           std::uint32_t choices_per_prompt);

}  // namespace tandem::api
