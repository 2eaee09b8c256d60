// What the scheduler core keeps between events, and the steps of a sequence's life that touch more
// than one book (table, ledger, plans in flight). Plans are built from it by plan_builder, reports
// are booked into it by report_commit.
#pragma once

#include <deque>
#include <vector>

#include "core/plan.hpp"
#include "core/request.hpp"
#include "policy/kv_ledger.hpp"
#include "policy/scheduler_core.hpp"
#include "policy/sequence_table.hpp"

namespace tandem::policy {

struct PlanInFlight {
  PlanPtr plan;
  std::vector<Sequence*> sequences;  ///< of plan->slices, one each
  bool is_void = false;              ///< a plan before it was not done: it will commit nothing

  /// No online request is in it.
  [[nodiscard]] bool offline_alone() const;
};

struct SchedulerBooks {
  explicit SchedulerBooks(const SchedulerOptions& options);

  SchedulerOptions options;  ///< max_sequences no more than rows, so that no decode is left out
  KvLedger ledger;
  SequenceTable table;
  std::deque<PlanInFlight> in_flight;  ///< oldest first; their ids are consecutive
  std::uint64_t next_iteration = 0;

  std::uint64_t preemptions = 0, prefix_queries = 0, prefix_hits = 0, recomputed_tokens = 0;

  /// A plan may be launched behind those in flight.
  [[nodiscard]] bool may_plan() const;
  /// Aborts if an invariant is broken; O(everything), for tests.
  void check() const;
};

/// A request enters: it waits, and its prompt's blocks have their hashes. The blocks that an
/// offline one would share are expected from now until it starts or ends: they are evicted last.
void enter(SchedulerBooks& books, const RequestPtr& request);

/// Full blocks at the start of its prompt that the sequence would share if it started now. At least
/// one token is always left to compute, since a sequence samples from what it computes.
PrefixMatch find_prefix(const SchedulerBooks& books, const Sequence& sequence);

/// The hash of the first full block behind `prefix` that the sequence could share if somebody else
/// computed it; nullptr if there is none.
const BlockHash* first_missing(const Sequence& sequence, const PrefixMatch& prefix);

/// A waiting sequence starts to run on `shared` blocks, which it has been given references on.
void start(SchedulerBooks& books, Sequence& sequence, std::vector<BlockId> shared);

/// A running sequence that no plan in flight names gives up blocks and slot and waits again; what
/// it computed is recomputed later, except what the prefix cache still has by then.
void preempt(SchedulerBooks& books, Sequence& sequence);

/// The sequence is over: it runs no more, and what plans in flight yield for it is ignored. Blocks
/// and slot are freed by discard_if_unused.
void discard_if_unused(SchedulerBooks& books, Sequence& sequence);
/// Without discarding: for those whose plan is being reported.
void stop(SchedulerBooks& books, Sequence& sequence);
void end(SchedulerBooks& books, Sequence& sequence);

/// Offers the blocks that reports have confirmed as full to the prefix cache.
void publish_filled_blocks(SchedulerBooks& books, Sequence& sequence);

/// Blocks that nobody but `sequence` holds. O(1) unless sharing changed anywhere.
Blocks releasable_blocks(const KvLedger& ledger, Sequence& sequence);

}  // namespace tandem::policy
