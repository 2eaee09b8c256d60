// The invariants of the scheduler's books, checked by walking all of them. For tests:
// O(everything).
#include "core/check.hpp"
#include "policy/scheduler_books.hpp"

namespace tandem::policy {
namespace {

void check_sequence(const Sequence& sequence, const SchedulerBooks& books) {
  std::uint32_t named = 0;
  for (const PlanInFlight& flight : books.in_flight)
    for (const Sequence* other : flight.sequences) named += other == &sequence ? 1U : 0U;
  TANDEM_CHECK(named == sequence.plans_in_flight, "plans in flight are counted per sequence");
  if (sequence.stage == Stage::waiting) {
    TANDEM_CHECK(sequence.blocks.empty() && !sequence.has_slot && named == 0,
                 "a waiting sequence holds nothing");
    TANDEM_CHECK(sequence.published == 0 && sequence.planned.is_zero(),
                 "a waiting sequence has computed nothing");
    return;
  }
  TANDEM_CHECK(sequence.stage == Stage::running || named > 0,
               "an ended sequence stays only while a plan in flight names it");
  if (sequence.stage == Stage::ended) return;
  TANDEM_CHECK(sequence.has_slot, "a running sequence has a slot");
  TANDEM_CHECK(sequence.computed <= sequence.planned &&
                   sequence.planned <= sequence.known() + Tokens(sequence.samples_in_flight),
               "nothing is planned beyond the tokens that there will be");
  TANDEM_CHECK(sequence.computed < sequence.known(),
               "the last known token is still to be computed");
  TANDEM_CHECK(
      sequence.output() + Tokens(sequence.samples_in_flight) <= sequence.request->stop.max_tokens,
      "no token beyond max_tokens is sampled");
  const Blocks held(static_cast<std::int64_t>(sequence.blocks.size()));
  TANDEM_CHECK(held >= blocks_for(sequence.planned), "the planned positions have blocks");
  TANDEM_CHECK(sequence.published <= static_cast<std::size_t>(sequence.computed.value()) /
                                         static_cast<std::size_t>(kv_block_tokens),
               "only computed blocks are published");
}

void check_references(const SchedulerBooks& books) {
  std::vector<std::uint32_t> holders(static_cast<std::size_t>(books.ledger.total().value()), 0);
  for (const auto& sequence : books.table.all())
    for (const BlockId block : sequence->blocks) ++holders[raw(block)];
  for (std::uint32_t i = 0; i < holders.size(); ++i)
    TANDEM_CHECK(books.ledger.references(BlockId{i}) == holders[i],
                 "a block has as many references as sequences that hold it");
}

/// What waiting offline sequences expect and running ones announce is what the ledger counts, and
/// nobody else's: nothing is kept from eviction for one that is gone.
void check_demand(const SchedulerBooks& books) {
  KvLedger::Demand demand;
  for (const auto& sequence : books.table.all()) {
    const bool waits = sequence->stage == Stage::waiting;
    TANDEM_CHECK(sequence->expected == 0 || waits, "only a waiting sequence expects blocks");
    TANDEM_CHECK(sequence->announced == 0 || sequence->stage == Stage::running,
                 "only a running sequence announces blocks");
    demand.expected += sequence->expected;
    if (sequence->announced > sequence->published)
      demand.announced += sequence->announced - sequence->published;
  }
  const KvLedger::Demand counted = books.ledger.demand();
  const bool used = books.options.prefix_cache;
  TANDEM_CHECK(counted.expected == (used ? demand.expected : 0), "expected blocks are counted");
  TANDEM_CHECK(counted.announced == (used ? demand.announced : 0), "announced blocks are counted");
}

/// What a device may touch is nobody else's: blocks and slot of a slice still belong to its
/// sequence.
void check_in_flight(const PlanInFlight& flight) {
  TANDEM_CHECK(flight.sequences.size() == flight.plan->slices.size(),
               "each slice has its sequence");
  for (std::size_t i = 0; i < flight.sequences.size(); ++i) {
    const Slice& slice = flight.plan->slices[i];
    const Sequence& sequence = *flight.sequences[i];
    TANDEM_CHECK(sequence.id == slice.id && sequence.slot == slice.slot,
                 "a slice in flight belongs to its sequence");
    const BlockTable& blocks = *slice.blocks;
    TANDEM_CHECK(blocks.size() <= sequence.blocks.size(), "blocks in flight are not given back");
    for (std::size_t b = 0; b < blocks.size(); ++b)
      TANDEM_CHECK(blocks[b] == sequence.blocks[b], "blocks in flight are not exchanged");
  }
}

}  // namespace

void SchedulerBooks::check() const {
  ledger.check();
  table.check();
  TANDEM_CHECK(in_flight.size() <= options.plans_in_flight, "plans in flight are bounded");
  for (std::size_t i = 0; i < in_flight.size(); ++i) {
    TANDEM_CHECK(raw(in_flight[i].plan->id) + in_flight.size() - i == next_iteration,
                 "plans in flight have consecutive ids");
    check_in_flight(in_flight[i]);
  }
  for (const auto& sequence : table.all()) check_sequence(*sequence, *this);
  check_references(*this);
  check_demand(*this);
}

}  // namespace tandem::policy
