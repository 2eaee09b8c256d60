// Token events into what a reader sees.
#include "api/choice_stream.hpp"

#include "tests/api/support.hpp"

using namespace tandem;
using namespace tandem::api;
using namespace tandem::api::testing;

namespace {

GenerateCall call_with(std::vector<std::string> stop = {}, bool logprobs = false) {
  GenerateCall call;
  call.prompts = {std::string("Once")};
  call.stop = std::move(stop);
  if (logprobs) call.sampling.logprobs = 2;
  return call;
}

TokenEvent end_event(std::uint64_t id, FinishReason reason) {
  TokenEvent event;
  event.id = RequestId(id);
  event.finish = reason;
  return event;
}

}  // namespace

TEST_CASE("deltas are the text of the tokens; the token that ended it is counted, not shown") {
  ChoiceStream stream(call_with(), {words()});
  CHECK(content_of(stream.push(token_event(1, hello)).parts) == "Hello");
  CHECK(content_of(stream.push(token_event(1, space)).parts) == " ");
  CHECK(content_of(stream.push(token_event(1, world)).parts) == "world");
  CHECK_FALSE(stream.ended());
  const auto last = stream.push(token_event(1, end_of_text, FinishReason::stop));
  CHECK(last.parts.empty());
  CHECK(last.finish == FinishReason::stop);
  CHECK(stream.ended());
  CHECK_FALSE(stream.wants_cancel());
  CHECK(stream.completion_tokens() == Tokens(4));
}

TEST_CASE("of a call that generates nothing what the engine sampled is not shown, nor counted") {
  auto call = call_with({}, true);
  call.prefill_only = true;
  ChoiceStream stream(call, {words()});
  const auto last = stream.push(token_event(1, hello, FinishReason::length));
  CHECK(last.parts.empty());
  CHECK(last.logprobs.empty());
  CHECK(last.finish == FinishReason::stop);
  CHECK(stream.completion_tokens() == Tokens(0));
  ChoiceStream failed(call, {words()});
  CHECK(failed.push(end_event(1, FinishReason::failed)).finish == FinishReason::failed);
}

TEST_CASE("an answer keeps the space in front of its first word, behind which the prompt stands") {
  const auto tokenizer = model::load_tokenizer("tests/golden/tokenizers/llama2-like");
  REQUIRE(tokenizer.has_value());
  const auto ids = (*tokenizer)->encode("the end", false, false);
  REQUIRE((*tokenizer)->token_text(ids.front()).starts_with(' '));
  ChoiceStream stream(call_with({}, true), {*tokenizer});
  std::string text, tokens;
  for (const auto id : ids) {
    const auto delta = stream.push(token_event(1, id));
    text += content_of(delta.parts);
    tokens += delta.logprobs.at(0).chosen.token;
  }
  CHECK(text == " the end");
  CHECK(tokens == " the end");
  // Behind nothing it is a whole text.
  auto empty = call_with();
  empty.prompts = {std::string()};
  ChoiceStream whole(empty, {*tokenizer});
  text.clear();
  for (const auto id : ids) text += content_of(whole.push(token_event(1, id)).parts);
  CHECK(text == "the end");
}

TEST_CASE("a stop token with text is shown only if the caller asked to see what stopped it") {
  auto call = call_with();
  ChoiceStream hidden(call, {words()});
  CHECK(hidden.push(token_event(1, world, FinishReason::stop)).parts.empty());
  call.include_stop_text = true;
  ChoiceStream shown(call, {words()});
  CHECK(content_of(shown.push(token_event(1, world, FinishReason::stop)).parts) == "world");
}

TEST_CASE("the last token within the limit is part of the text") {
  ChoiceStream stream(call_with(), {words()});
  const auto last = stream.push(token_event(1, hello, FinishReason::length));
  CHECK(content_of(last.parts) == "Hello");
  CHECK(last.finish == FinishReason::length);
}

TEST_CASE("a stop string ends the choice before the engine does") {
  ChoiceStream stream(call_with({"##"}), {words()});
  CHECK(content_of(stream.push(token_event(1, hello)).parts) == "Hello");
  CHECK(stream.push(token_event(1, stop_begin)).parts.empty());
  CHECK_FALSE(stream.ended());
  const auto last = stream.push(token_event(1, stop_end));
  CHECK(last.parts.empty());
  CHECK(last.finish == FinishReason::stop);
  CHECK(stream.wants_cancel());
  CHECK(stream.completion_tokens() == Tokens(3));
  // What the engine still says is ignored, its end as cancelled too.
  CHECK(stream.push(token_event(1, world)).parts.empty());
  CHECK_FALSE(stream.push(end_event(1, FinishReason::cancelled)).finish.has_value());
  CHECK(stream.completion_tokens() == Tokens(3));
}

TEST_CASE("a stop string in the very last token needs no cancel") {
  ChoiceStream stream(call_with({"wor"}), {words()});
  const auto last = stream.push(token_event(1, world, FinishReason::length));
  CHECK(last.finish == FinishReason::stop);
  CHECK(last.parts.empty());
  CHECK_FALSE(stream.wants_cancel());
}

TEST_CASE("text held back for a stop string that did not come is given at the end") {
  for (const auto reason : {FinishReason::length, FinishReason::cancelled}) {
    ChoiceStream stream(call_with({"##"}), {words()});
    CHECK(stream.push(token_event(1, stop_begin)).parts.empty());
    const auto last = stream.push(end_event(1, reason));
    CHECK(content_of(last.parts) == "#");
    CHECK(last.finish == reason);
  }
}

TEST_CASE("half a character waits for its other half, and becomes U+FFFD without it") {
  ChoiceStream whole(call_with(), {words()});
  CHECK(whole.push(token_event(1, euro_begin)).parts.empty());
  CHECK(content_of(whole.push(token_event(1, euro_end)).parts) == "\xe2\x82\xac");
  ChoiceStream half(call_with(), {words()});
  CHECK(content_of(half.push(token_event(1, euro_begin, FinishReason::length)).parts) ==
        "\xef\xbf\xbd");
}

TEST_CASE("a failure carries its error, and one of ours if the engine gave none") {
  ChoiceStream stream(call_with(), {words()});
  auto failed = end_event(1, FinishReason::failed);
  failed.error = error(Errc::device_failed, "lost");
  CHECK(stream.push(failed).error == failed.error);
  ChoiceStream other(call_with(), {words()});
  const auto delta = other.push(end_event(1, FinishReason::failed));
  REQUIRE(delta.error.has_value());
  CHECK(delta.error->code == Errc::internal);
}

TEST_CASE("log-probabilities have text, bytes, alternatives and a place in the text") {
  ChoiceStream stream(call_with({}, true), {words()});
  auto event = token_event(1, euro_begin);
  event.logprob = -0.5F;
  event.top_logprobs = {{hello, -0.25F}, {end_of_text, -4.0F}};
  auto delta = stream.push(event);
  REQUIRE(delta.logprobs.size() == 1);
  const auto& first = delta.logprobs[0];
  CHECK(first.chosen.bytes == "\xe2\x82");
  CHECK(first.chosen.token == "\xef\xbf\xbd");
  CHECK(first.chosen.logprob == -0.5F);
  REQUIRE(first.top.size() == 2);
  CHECK(first.top[0].token == "Hello");
  CHECK(first.top[1].token == "token_id:3");
  CHECK(first.top[1].bytes.empty());
  CHECK(stream.push(token_event(1, euro_end)).logprobs.at(0).text_offset == 1);
  CHECK(stream.push(token_event(1, hello)).logprobs.at(0).text_offset == 1);
  CHECK(stream.push(token_event(1, world)).logprobs.at(0).text_offset == 6);
  CHECK(stream.push(token_event(1, end_of_text, FinishReason::stop)).logprobs.empty());
  ChoiceStream without(call_with(), {words()});
  CHECK(without.push(event).logprobs.empty());
}

TEST_CASE("without a tokenizer tokens are counted and named by id") {
  ChoiceStream stream(call_with({"x"}, true), {nullptr});
  auto event = token_event(1, 42);
  event.cached_tokens = Tokens(16);
  const auto delta = stream.push(event);
  CHECK(delta.parts.empty());
  CHECK(delta.logprobs.at(0).chosen.token == "token_id:42");
  CHECK(stream.push(token_event(1, 43, FinishReason::length)).finish == FinishReason::length);
  CHECK(stream.completion_tokens() == Tokens(2));
  CHECK(stream.cached_tokens() == Tokens(16));
}

TEST_CASE("a collector gathers choices in whatever order their events come") {
  auto call = call_with({"##"});
  call.n = 2;
  call.prompts = {std::string("a"), std::string("b")};
  CallCollector collector(call,
                          {{RequestId(5), Tokens(3)},
                           {RequestId(6), Tokens(3)},
                           {RequestId(7), Tokens(4)},
                           {RequestId(8), Tokens(4)}},
                          {words()});
  auto cached = token_event(5, hello);
  cached.cached_tokens = Tokens(2);
  CHECK_FALSE(collector.push(token_event(8, world)));
  CHECK_FALSE(collector.push(cached));
  CHECK_FALSE(collector.push(token_event(99, world)));  // not of this call
  CHECK_FALSE(collector.push(token_event(7, stop_begin)));
  CHECK(collector.push(token_event(7, stop_end)));  // the engine is to be told
  CHECK_FALSE(collector.push(end_event(7, FinishReason::cancelled)));
  CHECK_FALSE(collector.push(end_event(8, FinishReason::length)));
  CHECK_FALSE(collector.push(token_event(5, end_of_text, FinishReason::stop)));
  CHECK_FALSE(collector.done());
  CHECK_FALSE(collector.push(token_event(6, space, FinishReason::length)));
  REQUIRE(collector.done());
  CHECK_FALSE(collector.error().has_value());
  CHECK_FALSE(collector.cancelled());
  const auto& results = collector.results();
  CHECK(content_of(results[0].parts) == "Hello");
  CHECK(content_of(results[1].parts) == " ");
  CHECK(results[2].parts.empty());
  CHECK(results[2].finish == FinishReason::stop);
  CHECK(content_of(results[3].parts) == "world");
  const auto usage = collector.usage();
  CHECK(usage.prompt == Tokens(7));  // per prompt, not per choice
  CHECK(usage.completion == Tokens(6));
  CHECK(usage.cached == Tokens(2));
}

TEST_CASE("a collector keeps the first failure, and tells of a cancel") {
  auto call = call_with();
  call.n = 3;
  CallCollector collector(
      call, {{RequestId(1), Tokens(1)}, {RequestId(2), Tokens(1)}, {RequestId(3), Tokens(1)}},
      {words()});
  auto failed = end_event(2, FinishReason::failed);
  failed.error = error(Errc::device_failed, "first");
  collector.push(failed);
  failed = end_event(1, FinishReason::failed);
  failed.error = error(Errc::internal, "second");
  collector.push(failed);
  CHECK_FALSE(collector.cancelled());
  collector.push(end_event(3, FinishReason::cancelled));
  REQUIRE(collector.done());
  CHECK(collector.error()->message == "first");
  CHECK(collector.cancelled());
}

TEST_CASE("an echoed prompt is the text that was sent, or the text of its ids") {
  auto call = call_with();
  call.prompts = {std::string("Once"), std::vector<TokenId>{hello, space, world}};
  call.n = 2;
  const std::vector<AcceptedChoice> choices{{RequestId(1), Tokens(1)},
                                            {RequestId(2), Tokens(1)},
                                            {RequestId(3), Tokens(3)},
                                            {RequestId(4), Tokens(3)}};
  CHECK(CallCollector(call, choices, {words()}).echoed(0).empty());
  call.echo = true;
  const CallCollector collector(call, choices, {words()});
  CHECK(collector.echoed(1) == "Once");
  CHECK(collector.echoed(2) == "Hello world");
  CHECK(collector.echoed(3) == "Hello world");
  CHECK(CallCollector(call, choices, {nullptr}).echoed(2).empty());
}
