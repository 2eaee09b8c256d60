// See scheduler_books.hpp.
#include "policy/scheduler_books.hpp"

#include <algorithm>
#include <span>
#include <utility>

#include "core/check.hpp"
#include "core/plan.hpp"

namespace tandem::policy {
namespace {

SchedulerOptions checked(SchedulerOptions options) {
  TANDEM_CHECK(options.max_iteration_tokens > Tokens(0), "an iteration has room for a token");
  TANDEM_CHECK(options.row_quantum > 0, "rows are computed at least one at a time");
  TANDEM_CHECK(options.max_sequences > 0, "there is a slot");
  TANDEM_CHECK(options.plans_in_flight == 1 || options.plans_in_flight == 2,
               "one or two plans are in flight: a slice can name the plan before it alone");
  const std::int64_t rows = options.max_iteration_tokens.value();
  if (rows < static_cast<std::int64_t>(options.max_sequences))
    options.max_sequences = static_cast<std::uint32_t>(rows);
  return options;
}

LedgerOptions ledger_options(const SchedulerOptions& options) {
  return {.num_blocks = options.kv_blocks,
          .prefix_cache = options.prefix_cache,
          .hash_key = options.hash_key};
}

/// Full blocks at its start that the sequence could share.
std::size_t reusable_blocks(const Sequence& sequence) {
  const std::size_t blocks = (sequence.tokens.size() - 1) / kv_block_tokens;
  return std::min(blocks, sequence.hashes.size());
}

void expect_prefix(SchedulerBooks& books, Sequence& sequence) {
  if (sequence.request_class != RequestClass::offline) return;
  sequence.expected = reusable_blocks(sequence);
  books.ledger.expect(std::span(sequence.hashes).first(sequence.expected));
}

void forget_prefix(SchedulerBooks& books, Sequence& sequence) {
  books.ledger.forget(std::span(sequence.hashes).first(sequence.expected));
  sequence.expected = 0;
}

/// Of its known tokens, what it will compute.
void announce_blocks(SchedulerBooks& books, Sequence& sequence) {
  sequence.announced = sequence.hashes.size();
  books.ledger.announce(std::span(sequence.hashes).subspan(sequence.published));
}

void withdraw_blocks(SchedulerBooks& books, Sequence& sequence) {
  if (sequence.announced > sequence.published)
    books.ledger.withdraw(
        std::span(sequence.hashes)
            .subspan(sequence.published, sequence.announced - sequence.published));
  sequence.announced = 0;
}

}  // namespace

bool PlanInFlight::offline_alone() const {
  return std::none_of(sequences.begin(), sequences.end(), [](const Sequence* sequence) {
    return sequence->request->request_class == RequestClass::online;
  });
}

SchedulerBooks::SchedulerBooks(const SchedulerOptions& given)
    : options(checked(given)), ledger(ledger_options(options)), table(options.max_sequences) {}

bool SchedulerBooks::may_plan() const {
  if (in_flight.size() >= options.plans_in_flight) return false;
  return std::none_of(in_flight.begin(), in_flight.end(),
                      [](const PlanInFlight& plan) { return plan.is_void; });
}

void enter(SchedulerBooks& books, const RequestPtr& request) {
  TANDEM_CHECK(request != nullptr && !request->prompt.empty(), "a request has a prompt");
  TANDEM_CHECK(request->stop.max_tokens > Tokens(0), "a request asks for a token");
  const Tokens prompt(static_cast<std::int64_t>(request->prompt.size()));
  // The last token is emitted but never computed.
  const Tokens longest = prompt + request->stop.max_tokens - Tokens(1);
  TANDEM_CHECK(blocks_for(longest) <= books.ledger.total(),
               "intake admits only what fits the KV cache when it is alone");
  Sequence& sequence = books.table.add(request);
  books.ledger.extend_hashes(request->cache_namespace, sequence.tokens, sequence.hashes);
  expect_prefix(books, sequence);
}

PrefixMatch find_prefix(const SchedulerBooks& books, const Sequence& sequence) {
  return books.ledger.cached_prefix(std::span(sequence.hashes).first(reusable_blocks(sequence)),
                                    sequence.tokens);
}

const BlockHash* first_missing(const Sequence& sequence, const PrefixMatch& prefix) {
  const auto cached = static_cast<std::size_t>(prefix.cached.value());
  return cached < reusable_blocks(sequence) ? &sequence.hashes[cached] : nullptr;
}

void start(SchedulerBooks& books, Sequence& sequence, std::vector<BlockId> shared) {
  books.table.start(sequence);
  // One growth here instead of several while it decodes; untouched memory costs nothing.
  const Tokens coming =
      std::min(sequence.request->stop.max_tokens - sequence.output(), Tokens(4096));
  sequence.tokens.reserve(sequence.tokens.size() + static_cast<std::size_t>(coming.value()));
  forget_prefix(books, sequence);
  sequence.published = shared.size();
  announce_blocks(books, sequence);
  sequence.blocks = std::move(shared);
  sequence.table = nullptr;
  sequence.releasable_at = ~std::uint64_t{0};
  sequence.computed = Tokens(static_cast<std::int64_t>(sequence.published) * kv_block_tokens);
  sequence.planned = sequence.computed;
  if (!sequence.started) {
    sequence.started = true;
    sequence.cached_tokens = sequence.computed;
    books.prefix_queries += static_cast<std::uint64_t>(sequence.prompt_length.value());
    books.prefix_hits += static_cast<std::uint64_t>(sequence.computed.value());
  }
  if (sequence.lost > sequence.computed)
    books.recomputed_tokens +=
        static_cast<std::uint64_t>((sequence.lost - sequence.computed).value());
  sequence.lost = Tokens(0);
}

void preempt(SchedulerBooks& books, Sequence& sequence) {
  TANDEM_CHECK(sequence.plans_in_flight == 0, "no plan in flight names what is preempted");
  publish_filled_blocks(books, sequence);
  books.table.requeue(sequence);
  withdraw_blocks(books, sequence);
  expect_prefix(books, sequence);
  books.ledger.release(sequence.blocks);
  sequence.blocks.clear();
  sequence.table = nullptr;
  sequence.published = 0;
  sequence.lost = sequence.computed;
  sequence.computed = sequence.planned = Tokens(0);
  ++books.preemptions;
}

void discard_if_unused(SchedulerBooks& books, Sequence& sequence) {
  if (sequence.stage != Stage::ended || sequence.plans_in_flight > 0) return;
  books.ledger.release(sequence.blocks);
  books.table.erase(sequence);
}

void stop(SchedulerBooks& books, Sequence& sequence) {
  books.table.end(sequence);
  forget_prefix(books, sequence);
  withdraw_blocks(books, sequence);
}

void end(SchedulerBooks& books, Sequence& sequence) {
  stop(books, sequence);
  discard_if_unused(books, sequence);
}

void publish_filled_blocks(SchedulerBooks& books, Sequence& sequence) {
  const auto filled = static_cast<std::size_t>(sequence.computed.value() / kv_block_tokens);
  if (sequence.published >= filled || !books.options.prefix_cache) return;
  books.ledger.extend_hashes(sequence.request->cache_namespace, sequence.tokens, sequence.hashes);
  const std::span<const TokenId> tokens(sequence.tokens);
  for (std::size_t& i = sequence.published; i < filled; ++i) {
    const BlockHash parent = i == 0 ? BlockHash{} : sequence.hashes[i - 1];
    books.ledger.publish(sequence.blocks[i], parent, sequence.hashes[i],
                         tokens.subspan(i * kv_block_tokens, kv_block_tokens));
    if (i < sequence.announced) books.ledger.withdraw(std::span(sequence.hashes).subspan(i, 1));
  }
}

Blocks releasable_blocks(const KvLedger& ledger, Sequence& sequence) {
  const bool is_current = sequence.releasable_at == ledger.sharing_version();
  if (!is_current) {
    sequence.releasable = Blocks(0);
    sequence.releasable_of = 0;
    sequence.releasable_at = ledger.sharing_version();
  }
  for (; sequence.releasable_of < sequence.blocks.size(); ++sequence.releasable_of)
    if (ledger.references(sequence.blocks[sequence.releasable_of]) == 1)
      sequence.releasable += Blocks(1);
  return sequence.releasable;
}

}  // namespace tandem::policy
