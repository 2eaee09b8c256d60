// See invariants.hpp.
#include "sim/invariants.hpp"

#include <algorithm>

namespace tandem::sim {

InvariantChecker::InvariantChecker(const Workload& workload, std::int64_t vocab_size, bool deep)
    : workload_(&workload), vocab_size_(vocab_size), deep_(deep) {}

void InvariantChecker::expect(bool holds, RequestId id, const char* promise) {
  if (holds || !violation_.empty()) return;
  violation_ = "request " + std::to_string(raw(id)) + ": " + promise;
}

void InvariantChecker::expect(bool holds, const char* promise) {
  if (!holds && violation_.empty()) violation_ = promise;
}

void InvariantChecker::arrived(const Request& request, std::size_t index, TimePoint /*now*/) {
  expect(known_.insert(request.id).second, request.id, "an id is given once");
  // An endless set comes again from its first item on.
  repetitions_ += ended_.erase(index);
  const auto prompt = static_cast<std::int64_t>(request.prompt.size());
  const std::int64_t asked = request.stop.max_tokens.value();
  live_[request.id] = {index, prompt, asked, 0, 0};
  expect(Tokens(prompt) == workload_->requests[index].prompt_tokens, request.id,
         "its prompt is as long as the workload says");
}

void InvariantChecker::launched(const Plan& plan, TimePoint /*now*/) {
  expect(!plan.slices.empty(), "a plan has slices");
}

void InvariantChecker::reported(const Plan& plan, const IterationReport& report,
                                TimePoint /*now*/) {
  if (report.outcome != Outcome::done) return;
  for (const Slice& slice : plan.slices) {
    const auto found = live_.find(slice.id);
    if (found == live_.end()) continue;  // it ended while this plan was in flight
    std::int64_t& committed = found->second.committed;
    const std::int64_t first = slice.context, end = first + slice.num_tokens;
    if (first > committed)
      expect(committed == 0 && first % kv_block_tokens == 0, slice.id,
             "its progress is without gap, but for whole blocks found in the prefix cache");
    if (first < committed)
      fell_back_ += static_cast<std::uint64_t>(std::min(committed, end) - first);
    committed = std::max(committed, end);
  }
}

void InvariantChecker::emitted(const std::vector<TokenEvent>& events, TimePoint /*now*/) {
  for (const TokenEvent& event : events) take_event(event);
}

void InvariantChecker::take_event(const TokenEvent& event) {
  const auto found = live_.find(event.id);
  expect(found != live_.end(), event.id,
         known_.contains(event.id) ? "nothing is said after its end" : "it was asked for");
  if (found == live_.end()) return;
  Live& live = found->second;
  if (event.token) {
    const auto context = static_cast<std::uint64_t>(live.prompt + live.said);
    expect(*event.token == simulated_token(event.id, context, vocab_size_), event.id,
           "its tokens come in order and without gap");
    ++live.said;
    expect(live.said <= live.asked, event.id, "it gets no more tokens than it asked for");
  }
  if (!event.finish) return;
  if (*event.finish == FinishReason::length)
    expect(live.said == live.asked, event.id, "it ends by length with the last token asked for");
  expect(*event.finish != FinishReason::stop, event.id, "nothing here stops before its length");
  ended_.insert(live.index);
  live_.erase(found);
}

void InvariantChecker::given_back(RequestId id, TimePoint /*now*/) {
  expect(live_.erase(id) == 1, id, "only what lives is given back");
}

void InvariantChecker::given_up(std::size_t index, TimePoint /*now*/) {
  const bool first = ended_.insert(index).second;
  if (!first && violation_.empty())
    violation_ = "item " + std::to_string(index) + ": only what has not ended is given up";
}

void InvariantChecker::died(TimePoint /*now*/) {
  expect(live_.empty(), "what a dead process held has ended or gone back");
  fell_back_ = 0;
}

void InvariantChecker::settled(const policy::SchedulerCore& core, TimePoint /*now*/) {
  ++events_;
  if (deep_) core.check();
  const policy::SchedulerStats stats = core.stats();
  idle_ = core.idle();
  kv_held_ = stats.kv_held;
  expect(stats.kv_available + stats.kv_held == stats.kv_total, "KV blocks are conserved");
  expect(fell_back_ <= stats.recomputed_tokens,
         "progress falls back by no more than is recomputed after preemptions");
  expect(
      stats.online_running + stats.online_waiting + stats.offline_running + stats.offline_waiting ==
          live_.size(),
      "the scheduler holds the requests that have not ended");
}

void InvariantChecker::finished(bool drained, TimePoint /*now*/) {
  if (!drained) return;
  expect(idle_, "drained means that nothing runs, waits or is in flight");
  expect(kv_held_.is_zero(), "drained means that no KV block is held");
  expect(live_.empty(), "drained means that every request has ended");
  expect(ended_.size() == workload_->requests.size(), "each request of the workload has ended");
  expect(repetitions_ == 0, "no request of the workload ended twice");
}

}  // namespace tandem::sim
