// See report_commit.hpp.
#include "policy/report_commit.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/check.hpp"

namespace tandem::policy {
namespace {

/// Why the sequence ends with the token that it just got, if it does. A stop token is emitted with
/// its reason like any other token: whether its text is shown is decided in front of the engine.
std::optional<FinishReason> reason_to_finish(const Sequence& sequence, TokenId token) {
  const StopRule& stop = sequence.request->stop;
  const auto& ids = stop.stop_token_ids;
  if (std::find(ids.begin(), ids.end(), token) != ids.end()) return FinishReason::stop;
  if (sequence.output() >= stop.max_tokens) return FinishReason::length;
  return std::nullopt;
}

/// Back to what finished reports have confirmed. Blocks stay: the rerun writes them again.
void roll_back(Sequence& sequence) {
  sequence.planned = sequence.computed;
  sequence.samples_in_flight = 0;
}

/// The device may not have come to see the plan's bindings, so they are sent again.
void bind_again(const PlanInFlight& undone) {
  for (const SlotBinding& binding : undone.plan->bindings)
    for (Sequence* sequence : undone.sequences)
      if (sequence->slot == binding.slot) sequence->needs_binding = true;
}

void undo(SchedulerBooks& books, const PlanInFlight& undone) {
  for (Sequence* sequence : undone.sequences) {
    --sequence->plans_in_flight;
    roll_back(*sequence);
    discard_if_unused(books, *sequence);
  }
}

void void_all_in_flight(SchedulerBooks& books) {
  for (PlanInFlight& later : books.in_flight) {
    later.is_void = true;
    for (Sequence* sequence : later.sequences) roll_back(*sequence);
  }
}

}  // namespace

TokenEvent ending(const Sequence& sequence, FinishReason reason) {
  TokenEvent event;
  event.id = sequence.id;
  event.finish = reason;
  event.cached_tokens = sequence.cached_tokens;
  return event;
}

void ReportCommit::commit_slice(SchedulerBooks& books, Sequence& sequence, const Slice& slice,
                                const Sample* sample) {
  --sequence.plans_in_flight;
  if (sequence.stage == Stage::ended) {
    discard_if_unused(books, sequence);
    return;
  }
  TANDEM_CHECK(sequence.computed == Tokens(slice.context), "progress is committed in order");
  sequence.computed += Tokens(slice.num_tokens);
  if (sample == nullptr) {
    publish_filled_blocks(books, sequence);
    return;
  }
  --sequence.samples_in_flight;
  sequence.tokens.push_back(sample->token);
  const auto finish = reason_to_finish(sequence, sample->token);
  const bool goes_on_decoding = slice.decode && !finish;
  yields_.push_back({sequence.id, sample, goes_on_decoding ? &sequence : nullptr, finish,
                     sequence.cached_tokens});
  if (goes_on_decoding) return;
  publish_filled_blocks(books, sequence);
  if (finish) end(books, sequence);
}

void ReportCommit::commit_done(SchedulerBooks& books, const PlanInFlight& done,
                               const IterationReport& report) {
  auto sample = report.samples.begin();
  for (std::size_t i = 0; i < done.sequences.size(); ++i) {
    const Slice& slice = done.plan->slices[i];
    const Sample* yielded = nullptr;
    if (slice.samples) {
      TANDEM_CHECK(sample != report.samples.end() && sample->slice == i,
                   "a report has one sample for each slice that samples, in slice order");
      yielded = &*sample++;
    }
    commit_slice(books, *done.sequences[i], slice, yielded);
  }
  TANDEM_CHECK(sample == report.samples.end(), "a report has no sample but those of its slices");
}

void ReportCommit::fail(SchedulerBooks& books, const PlanInFlight& failed,
                        const IterationReport& report) {
  const Error why =
      report.error.value_or(error(Errc::device_failed, "the device failed and gave no reason"));
  for (Sequence* sequence : failed.sequences) {
    if (sequence->stage == Stage::ended) continue;
    failures_.push_back(ending(*sequence, FinishReason::failed));
    failures_.back().error = why;
    stop(books, *sequence);
  }
}

void ReportCommit::commit(SchedulerBooks& books, const IterationReport& report) {
  TANDEM_CHECK(!books.in_flight.empty() && books.in_flight.front().plan->id == report.id,
               "plans are reported in the order in which they were launched");
  const PlanInFlight reported = std::move(books.in_flight.front());
  books.in_flight.pop_front();
  yields_.clear();
  failures_.clear();
  if (report.outcome == Outcome::done && !reported.is_void) {
    commit_done(books, reported, report);
    return;
  }
  if (report.outcome == Outcome::failed) fail(books, reported, report);
  bind_again(reported);
  // A void plan that ran to its end has moved the samplers of its slots: all are set up anew.
  if (report.outcome == Outcome::done)
    for (Sequence* sequence : reported.sequences) sequence->needs_binding = true;
  undo(books, reported);
  void_all_in_flight(books);
}

void ReportCommit::tell(SchedulerBooks& books, std::vector<TokenEvent>& events) {
  events.reserve(events.size() + yields_.size() + failures_.size());
  for (const Yield& yield : yields_) {
    if (yield.decode != nullptr) publish_filled_blocks(books, *yield.decode);
    TokenEvent& event = events.emplace_back();
    event.id = yield.id;
    event.token = yield.sample->token;
    event.logprob = yield.sample->logprob;
    event.top_logprobs = yield.sample->top_logprobs;
    event.finish = yield.finish;
    event.cached_tokens = yield.cached_tokens;
  }
  std::move(failures_.begin(), failures_.end(), std::back_inserter(events));
  yields_.clear();
  failures_.clear();
}

}  // namespace tandem::policy
