// See report_commit.hpp.
#include "policy/report_commit.hpp"

#include <algorithm>
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

TokenEvent token_event(const Sequence& sequence, const Sample& sample) {
  TokenEvent event;
  event.id = sequence.request->id;
  event.token = sample.token;
  event.logprob = sample.logprob;
  event.top_logprobs = sample.top_logprobs;
  event.cached_tokens = sequence.cached_tokens;
  event.finish = reason_to_finish(sequence, sample.token);
  return event;
}

void commit_slice(SchedulerBooks& books, Sequence& sequence, const Slice& slice,
                  const Sample* sample, std::vector<TokenEvent>& events) {
  --sequence.plans_in_flight;
  if (sequence.stage == Stage::ended) {
    discard_if_unused(books, sequence);
    return;
  }
  TANDEM_CHECK(sequence.computed == Tokens(slice.context), "progress is committed in order");
  sequence.computed += Tokens(slice.num_tokens);
  if (sample != nullptr) {
    --sequence.samples_in_flight;
    sequence.tokens.push_back(sample->token);
  }
  publish_filled_blocks(books, sequence);
  if (sample == nullptr) return;
  events.push_back(token_event(sequence, *sample));
  if (events.back().finish) end(books, sequence);
}

void commit_done(SchedulerBooks& books, const PlanInFlight& done, const IterationReport& report,
                 std::vector<TokenEvent>& events) {
  events.reserve(events.size() + report.samples.size());
  auto sample = report.samples.begin();
  for (std::size_t i = 0; i < done.sequences.size(); ++i) {
    const Slice& slice = done.plan->slices[i];
    const Sample* yielded = nullptr;
    if (slice.samples) {
      TANDEM_CHECK(sample != report.samples.end() && sample->slice == i,
                   "a report has one sample for each slice that samples, in slice order");
      yielded = &*sample++;
    }
    commit_slice(books, *done.sequences[i], slice, yielded, events);
  }
  TANDEM_CHECK(sample == report.samples.end(), "a report has no sample but those of its slices");
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

void fail(SchedulerBooks& books, const PlanInFlight& failed, const IterationReport& report,
          std::vector<TokenEvent>& events) {
  const Error why =
      report.error.value_or(error(Errc::device_failed, "the device failed and gave no reason"));
  for (Sequence* sequence : failed.sequences) {
    if (sequence->stage == Stage::ended) continue;
    events.push_back(ending(*sequence, FinishReason::failed));
    events.back().error = why;
    books.table.end(*sequence);
  }
}

}  // namespace

TokenEvent ending(const Sequence& sequence, FinishReason reason) {
  TokenEvent event;
  event.id = sequence.request->id;
  event.finish = reason;
  event.cached_tokens = sequence.cached_tokens;
  return event;
}

void commit_report(SchedulerBooks& books, const IterationReport& report,
                   std::vector<TokenEvent>& events) {
  TANDEM_CHECK(!books.in_flight.empty() && books.in_flight.front().plan->id == report.id,
               "plans are reported in the order in which they were launched");
  const PlanInFlight reported = std::move(books.in_flight.front());
  books.in_flight.pop_front();
  if (report.outcome == Outcome::done && !reported.is_void) {
    commit_done(books, reported, report, events);
    return;
  }
  if (report.outcome == Outcome::failed) fail(books, reported, report, events);
  bind_again(reported);
  // A void plan that ran to its end has moved the samplers of its slots: all are set up anew.
  if (report.outcome == Outcome::done)
    for (Sequence* sequence : reported.sequences) sequence->needs_binding = true;
  undo(books, reported);
  void_all_in_flight(books);
}

}  // namespace tandem::policy
