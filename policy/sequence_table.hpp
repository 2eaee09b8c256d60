// The sequences that the scheduler core knows: where each stands, what it holds, and the queues
// that they wait or run in. Keeps books only; what to do is decided elsewhere.
//
// A sequence is waiting (holds nothing), running (has a slot and blocks) or ended (its last event
// was emitted; it keeps slot and blocks until no plan in flight names it, then it is erased).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "core/request.hpp"
#include "core/units.hpp"
#include "policy/kv_ledger.hpp"

namespace tandem::policy {

enum class Stage : std::uint8_t { waiting, running, ended };

/// What every iteration reads of a running sequence stands first, copied from the request where it
/// came with it: between iterations it falls out of the cache, and each line is waited for.
struct Sequence {
  explicit Sequence(RequestPtr admitted);

  RequestId id{};
  RequestClass request_class = RequestClass::online;
  Stage stage = Stage::waiting;
  bool has_slot = false;
  bool needs_binding =
      false;             ///< the next plan that names it tells the device what the slot is for
  bool started = false;  ///< ran before: `cached_tokens` is known
  SlotId slot{};
  TimePoint arrival{};
  Tokens prompt_length{0};
  Tokens max_tokens{0};

  std::vector<TokenId> tokens;  ///< prompt and committed output
  Tokens computed{0};           ///< positions whose KV a finished report confirmed
  Tokens planned{0};            ///< positions that will be computed once plans in flight are done
  std::uint32_t samples_in_flight = 0;  ///< tokens beyond `tokens` that plans in flight will yield
  std::uint32_t plans_in_flight = 0;    ///< plans that name it and were not reported yet
  IterationId last_plan{};              ///< the latest of those, and the index of its slice there
  std::uint32_t last_slice = 0;
  std::size_t published = 0;  ///< leading blocks that were shared or offered to the cache

  std::vector<BlockId> blocks;
  BlockTablePtr table;  ///< a copy of `blocks` that plans share; stale when its size differs
  RequestPtr request;
  std::vector<BlockHash> hashes;  ///< of full blocks of `tokens`
  std::uint64_t order = 0;        ///< by arrival, over both classes; kept through preemptions
  std::size_t expected = 0;       ///< waiting: leading hashes that the ledger knows it would share
  std::size_t announced = 0;      ///< running: the ledger expects the hashes up to it published
  Blocks releasable{0};           ///< see releasable_blocks()
  std::size_t releasable_of = 0;  ///< size of `blocks` when it was counted
  std::uint64_t releasable_at = ~std::uint64_t{0};  ///< the ledger's sharing_version() then

  Tokens cached_tokens{0};  ///< of the prompt, found in the prefix cache at the first start
  Tokens lost{0};           ///< computed positions given up by the last preemption
  std::size_t place = 0;    ///< the table's own

  [[nodiscard]] Tokens known() const;   ///< length of `tokens`
  [[nodiscard]] Tokens output() const;  ///< generated and committed
  /// What could be computed next: known tokens and those being sampled, less the planned; 0 if
  /// plans in flight bring it to max_tokens.
  [[nodiscard]] Tokens pending() const;
};

class SequenceTable {
 public:
  explicit SequenceTable(std::uint32_t max_running);

  /// A new waiting sequence, at the end of its class's queue.
  Sequence& add(RequestPtr request);
  /// nullptr if there is none of that id that has not ended.
  [[nodiscard]] Sequence* find(RequestId id) const;

  /// waiting -> running, with a slot. One must be free.
  void start(Sequence& sequence);
  /// running -> waiting, by order: at the head of its queue, since those behind started later.
  void requeue(Sequence& sequence);
  /// waiting or running -> ended; its id may be forgotten by all but plans in flight.
  void end(Sequence& sequence);
  /// Removes an ended one, and frees its slot if it has one.
  void erase(Sequence& sequence);

  using Running = std::vector<Sequence*>;              ///< by order
  using Waiting = std::map<std::uint64_t, Sequence*>;  ///< by order
  [[nodiscard]] const Running& running(RequestClass request_class) const;
  [[nodiscard]] const Waiting& waiting(RequestClass request_class) const;
  [[nodiscard]] std::uint32_t free_slots() const;
  [[nodiscard]] std::size_t size() const { return sequences_.size(); }  ///< ended ones too
  [[nodiscard]] const std::vector<std::unique_ptr<Sequence>>& all() const { return sequences_; }

  /// Aborts if stages, queues and slots disagree; for tests.
  void check() const;

 private:
  void leave_running(Sequence& sequence);
  void release_slot(Sequence& sequence);

  std::vector<std::unique_ptr<Sequence>> sequences_;
  std::unordered_map<RequestId, Sequence*> by_id_;  ///< not the ended
  std::array<Running, 2> running_;
  std::array<Waiting, 2> waiting_;
  std::vector<SlotId> free_slots_;
  std::uint32_t max_running_;
  std::uint64_t next_order_ = 0;
};

}  // namespace tandem::policy
