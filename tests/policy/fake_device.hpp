// A device that computes nothing but remembers everything: what each position of each KV block was
// computed from, and what each slot's sampler has seen. It holds every slice against the tokens
// that its request really has, so that a block that was reused, shared or published wrongly shows
// at once.
//
// The KV entry of a position is a hash over all tokens up to it; the token sampled there is a
// function of that hash. A request's output thus depends on its prompt alone, whatever was
// preempted, recomputed, shared or run beside it, and can be told beforehand (expected_output).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/plan.hpp"
#include "core/request.hpp"

namespace tandem::test {

/// What the property tests throw; the message says which claim of a plan was false.
struct Violation {
  std::string what;
};
void require(bool condition, const std::string& what);

class FakeDevice {
 public:
  struct Options {
    std::size_t num_blocks = 0;
    std::size_t num_slots = 0;
    std::int64_t max_rows = 0;
    TokenId vocab = 1000;
    std::uint64_t seed = 0;  ///< of what aborted plans happen to leave behind
  };
  explicit FakeDevice(const Options& options);

  /// Tells the device's memory of what is true about a request that enters.
  void know(const RequestPtr& request);
  /// A plan was launched; checks what can be seen before it runs.
  void launched(const PlanPtr& plan);
  /// Ends the oldest plan in flight. Done plans are run and checked; aborted and failed ones, and
  /// those done behind one that was not, leave garbage where their slices may write.
  ReportPtr report(Outcome outcome);

  [[nodiscard]] std::size_t in_flight() const { return plans_.size(); }
  [[nodiscard]] const Plan& oldest() const { return *plans_.front(); }
  /// The oldest stands behind a plan that was aborted or failed.
  [[nodiscard]] bool oldest_is_void() const { return void_plans_ > 0; }
  /// The tokens that a request's prompt leads to, `count` of them.
  [[nodiscard]] std::vector<TokenId> expected_output(const Request& request,
                                                     std::size_t count) const;

 private:
  using Entry = std::uint64_t;
  struct Slot {
    RequestId id{};
    bool bound = false;
    std::vector<TokenId> output;  ///< what its sampler was told of or has sampled
  };
  struct Truth {
    RequestPtr request;
    std::vector<TokenId> tokens;  ///< prompt and what was sampled so far
    std::vector<Entry> entries;   ///< the KV entries that they have, position by position
  };

  void check_layout(const Plan& plan) const;
  void check_exclusive(const Plan& plan) const;
  void bind(const Plan& plan);
  void run(const Plan& plan, IterationReport& report);
  void run_slice(const Plan& plan, std::uint32_t index, IterationReport& report);
  TokenId input_token(const Plan& plan, const Slice& slice, std::uint32_t row) const;
  void leave_garbage(const Plan& plan, bool ran_to_the_end);
  Entry& entry(const Slice& slice, std::size_t position);
  void extend(Truth& truth) const;
  [[nodiscard]] TokenId token_of(Entry entry) const;

  Options options_;
  std::mt19937_64 random_;
  std::vector<Entry> kv_;
  std::vector<Slot> slots_;
  std::unordered_map<RequestId, Truth> truths_;
  std::deque<PlanPtr> plans_;
  std::size_t void_plans_ = 0;
  std::uint64_t next_id_ = 0;
  // Of the plan that was done last: id of the plan, and slice -> token.
  IterationId last_done_{};
  std::map<std::uint32_t, TokenId> last_samples_;
  std::vector<RequestId> last_ids_;
};

}  // namespace tandem::test
