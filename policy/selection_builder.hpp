// A selection in the making: hands out the iteration's tokens, blocks and slots in the order in
// which it is asked, and makes room by taking back from those that come later.
//
// Running sequences have a rank: online before offline, within a class by arrival. Whoever lacks a
// block takes it from the sequence of the highest rank above its own:
//   - one that no plan in flight uses is preempted, which frees its blocks at once;
//   - one that a plan in flight uses cannot be; it is held back (left out of this plan), so that
//     the next selection can preempt it. Until then the selection is `starved`: free blocks are
//     kept for the one that lacked them, and sequences run on only inside blocks they hold.
// The sequence of rank 0 can thus always get all blocks, so some sequence always makes progress.
//
// Online prefill takes offline sequences' blocks for the whole of its chunk, other sequences take
// from those after them only when not one token fits.
//
// Admission: a waiting sequence starts only when there are blocks for all its tokens, after what
// the running ones still need for theirs plus one block each to grow into. Online may count the
// blocks of offline sequences as its own there, since it can take them.
//
// Time: between limit_time and the next call of it, sequences get tokens only as far as the model
// predicts that the iteration ends in time. Sizing is the model's closed form; nothing is searched.
//
// Rows: a prompt that time cuts ends where the iteration's rows are a multiple of what the device
// computes at once, if any of it is left then, and no other prompt is added. Cutting by the token
// budget is not our doing: one that is a multiple itself ends there anyway.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "policy/iteration_planner.hpp"

namespace tandem::policy {

class SelectionBuilder {
 public:
  /// Forgets the last selection and starts one for `view`, which must outlive it.
  void start(const PlanningView& view);

  /// From here on nothing is added that would make the iteration longer than `budget_ms` as `model`
  /// predicts it, with its margin; `model` must outlive the selection. The first prompt or,
  /// offline, the first sequence gets up to `at_least` tokens all the same, lest nothing ever runs.
  void limit_time(const LatencyModel& model, double budget_ms, Tokens at_least);
  void lift_time_limit();
  /// No more than so many tokens from here on.
  void limit_tokens(Tokens most) { tokens_ = std::min(tokens_, most); }

  /// Online decodes, online prefill, then waiting online requests, each in arrival order.
  void add_online();
  void add_online_decodes() { add_running(online(), true); }
  void add_online_prompts();
  /// Keeps one block at hand for each online sequence about to need one: offline sequences do not
  /// take those, and are held back where they have already, lest a decode wait for a preemption.
  void keep_headroom();
  /// The same as add_online for offline, in what is left.
  void add_offline();

  [[nodiscard]] Selection finish() const;

  /// What was added so far. Empty: nothing runs yet.
  [[nodiscard]] const IterationShape& shape() const { return shape_; }
  [[nodiscard]] Tokens tokens_left() const { return tokens_; }

 private:
  enum class Fate : std::uint8_t { undecided, chosen, held_back, preempted };
  struct Entry {
    const SequenceView* view = nullptr;
    Fate fate = Fate::undecided;
    Tokens given{0};
    Blocks taken{0};
  };
  struct Span {
    std::size_t first, last;  ///< ranks
  };

  void add_running(Span ranks, bool decodes);
  void give(std::size_t rank);
  /// Of what is pending, as much as the iteration has rows and time for.
  [[nodiscard]] Tokens fitting(const SequenceView& sequence);
  /// Of `wanted` tokens, as many as end in time.
  [[nodiscard]] Tokens in_time(const SequenceView& sequence, Tokens wanted) const;
  /// Of a prompt that time cuts, as much as ends the iteration's rows on the device's quantum.
  [[nodiscard]] Tokens on_quantum(Tokens tokens) const;
  /// Takes from ranks last-1 .. first until `needed` blocks are free; false: not in this selection.
  bool displace(Blocks needed, Span victims);
  /// The same for one that cannot run at all without: if it must wait, victims.first and all after
  /// it take no free blocks.
  bool make_room(Blocks needed, Span victims);
  bool make_slot();
  void give_way(Entry& entry);
  void add_waiting_online();
  void add_waiting_offline();
  void begin(const SequenceView& sequence, Tokens tokens, std::vector<Choice>& choices);
  [[nodiscard]] Blocks held_by(Span ranks) const;
  /// Blocks that running sequences will come to need for what they have pending, and to grow into.
  [[nodiscard]] Blocks promised_to(Span ranks) const;
  /// Blocks that the sequence of this rank may take without making room.
  [[nodiscard]] Blocks usable(std::size_t rank) const;
  static constexpr std::size_t nobody = std::numeric_limits<std::size_t>::max();
  [[nodiscard]] Span online() const { return {0, view_->online_running.size()}; }
  [[nodiscard]] Span offline() const { return {view_->online_running.size(), running_.size()}; }

  const PlanningView* view_ = nullptr;
  std::vector<Entry> running_;        ///< by rank
  std::vector<std::uint32_t> order_;  ///< ranks in the order in which they were given tokens
  std::vector<Choice> starting_online_, starting_offline_;
  std::vector<RequestId> preempted_;
  Tokens tokens_{0};
  Blocks free_{0}, headroom_{0};
  std::uint32_t slots_ = 0;
  IterationShape shape_;
  const LatencyModel* model_ = nullptr;  ///< null: time has no limit
  double budget_ms_ = 0;                 ///< without the margin
  Tokens at_least_{0};
  /// Running sequences of this rank and above take no free blocks, and nothing starts.
  std::size_t starved_from_ = nobody;
  bool rows_are_full_ = false;  ///< a prompt was cut on the row quantum: no other one fills it up
  bool online_is_blocked_ = false;  ///< a waiting online request lacks room: nothing offline starts
};

}  // namespace tandem::policy
