// See selection_builder.hpp.
#include "policy/selection_builder.hpp"

#include <algorithm>

namespace tandem::policy {

void SelectionBuilder::start(const PlanningView& view) {
  view_ = &view;
  running_.clear();
  for (const auto& sequence : view.online_running) running_.push_back({&sequence});
  for (const auto& sequence : view.offline_running) running_.push_back({&sequence});
  order_.clear();
  starting_online_.clear();
  starting_offline_.clear();
  preempted_.clear();
  tokens_ = view.token_budget;
  free_ = view.free_blocks;
  headroom_ = Blocks(0);
  slots_ = view.free_slots;
  starved_from_ = nobody;
  online_is_blocked_ = false;
  rows_are_full_ = false;
  shape_ = {};
  lift_time_limit();
}

void SelectionBuilder::limit_time(const LatencyModel& model, double budget_ms, Tokens at_least) {
  model_ = &model;
  budget_ms_ = budget_ms / (1 + model.error().margin);
  at_least_ = at_least;
}

void SelectionBuilder::lift_time_limit() { model_ = nullptr; }

Tokens SelectionBuilder::fitting(const SequenceView& sequence) {
  const Tokens wanted = std::min(sequence.pending, tokens_);
  const Tokens tokens = in_time(sequence, wanted);
  if (sequence.decode) return tokens;
  if (rows_are_full_) return Tokens(0);
  if (tokens == wanted) return tokens;
  const Tokens whole = std::max(on_quantum(tokens), std::min(at_least_, tokens));
  rows_are_full_ = whole < tokens;
  return whole;
}

Tokens SelectionBuilder::on_quantum(Tokens tokens) const {
  const auto before = shape_.rows(), after = before + tokens.value();
  const auto rounded = after - after % view_->row_quantum;
  return rounded > before ? Tokens(rounded - before) : tokens;
}

Tokens SelectionBuilder::in_time(const SequenceView& sequence, Tokens wanted) const {
  if (model_ == nullptr) return wanted;
  const Tokens promised = std::min(at_least_, wanted);
  if (!sequence.decode)
    return std::max(promised,
                    model_->tokens_that_fit(shape_, sequence.context, budget_ms_, wanted));
  IterationShape with = shape_;
  with.add(sequence.context, wanted, true);
  return model_->predict_ms(with) <= budget_ms_ ? wanted : promised;
}

void SelectionBuilder::add_online() {
  add_online_decodes();
  add_online_prompts();
}

void SelectionBuilder::add_online_prompts() {
  add_running(online(), false);
  add_waiting_online();
}

void SelectionBuilder::add_offline() {
  add_running(offline(), true);
  add_running(offline(), false);
  add_waiting_offline();
}

void SelectionBuilder::add_running(Span ranks, bool decodes) {
  for (std::size_t rank = ranks.first; rank < ranks.last; ++rank) {
    const SequenceView& view = *running_[rank].view;
    if (view.decode == decodes && !view.pending.is_zero()) give(rank);
  }
}

void SelectionBuilder::give(std::size_t rank) {
  Entry& entry = running_[rank];
  if (entry.fate != Fate::undecided || tokens_.is_zero()) return;
  const SequenceView& view = *entry.view;
  const Tokens wanted = fitting(view);
  if (wanted.is_zero()) return;
  Tokens given = view.tokens_that_fit(wanted, usable(rank));
  if (given < wanted && rank < offline().first) {
    displace(view.blocks_needed(wanted), offline());
    given = view.tokens_that_fit(wanted, usable(rank));
  }
  if (given.is_zero()) {
    if (rank >= starved_from_) return;
    const Blocks needed = view.blocks_needed(Tokens(1)) + headroom_;
    if (!make_room(needed, {rank + 1, running_.size()})) return;
    given = view.tokens_that_fit(wanted, usable(rank));
  }
  entry.fate = Fate::chosen;
  entry.given = given;
  entry.taken = view.blocks_needed(given);
  tokens_ -= entry.given;
  free_ -= entry.taken;
  shape_.add(view.context, entry.given, view.decode);
  at_least_ = Tokens(0);
  order_.push_back(static_cast<std::uint32_t>(rank));
}

bool SelectionBuilder::displace(Blocks needed, Span victims) {
  if (free_ >= needed) return true;
  if (free_ + held_by(victims) < needed) return false;  // nobody gives way in vain
  Blocks coming{0};
  for (std::size_t rank = victims.last; rank > victims.first; --rank) {
    if (free_ + coming >= needed) break;
    Entry& entry = running_[rank - 1];
    give_way(entry);
    if (entry.fate == Fate::held_back) coming += entry.view->held;
  }
  return free_ >= needed;
}

bool SelectionBuilder::make_room(Blocks needed, Span victims) {
  if (displace(needed, victims)) return true;
  starved_from_ = std::min(starved_from_, victims.first);
  return false;
}

/// `entry` loses what this selection gave it, and its blocks now or, held back, by the next one.
void SelectionBuilder::give_way(Entry& entry) {
  if (entry.fate == Fate::preempted) return;
  if (entry.fate == Fate::chosen) {
    tokens_ += entry.given;
    free_ += entry.taken;
    shape_.remove(entry.view->context, entry.given, entry.view->decode);
    entry.given = Tokens(0);
    entry.taken = Blocks(0);
  }
  if (!entry.view->preemptible) {
    entry.fate = Fate::held_back;
    return;
  }
  entry.fate = Fate::preempted;
  preempted_.push_back(entry.view->id);
  free_ += entry.view->releasable;
  ++slots_;
}

bool SelectionBuilder::make_slot() {
  for (std::size_t rank = offline().last; slots_ == 0 && rank > offline().first; --rank) {
    if (running_[rank - 1].fate == Fate::preempted) continue;
    give_way(running_[rank - 1]);
    break;
  }
  return slots_ > 0;
}

void SelectionBuilder::add_waiting_online() {
  if (view_->online_waiting.empty() || starved_from_ != nobody) return;
  Blocks promised = promised_to(online());
  for (const SequenceView& sequence : view_->online_waiting) {
    if (tokens_.is_zero()) return;
    const Tokens wanted = fitting(sequence);
    if (wanted.is_zero()) return;
    online_is_blocked_ = true;
    const Blocks whole = sequence.blocks_needed(sequence.pending);
    if (whole + promised > free_ + held_by(offline()) || !make_slot()) return;
    displace(sequence.blocks_needed(wanted), offline());
    if (!make_room(sequence.blocks_needed(Tokens(1)), offline())) return;
    const Tokens tokens = sequence.tokens_that_fit(wanted, free_);
    begin(sequence, tokens, starting_online_);
    promised += whole - sequence.blocks_needed(tokens) + Blocks(1);
    online_is_blocked_ = false;
  }
}

void SelectionBuilder::add_waiting_offline() {
  if (view_->offline_waiting.empty() || online_is_blocked_ || starved_from_ != nobody) return;
  Blocks promised = promised_to({0, running_.size()});
  for (const SequenceView& sequence : view_->offline_waiting) {
    if (tokens_.is_zero() || slots_ == 0) return;
    const Blocks whole = sequence.blocks_needed(sequence.pending);
    if (whole + promised > free_ - headroom_) return;
    const Tokens tokens = fitting(sequence);
    if (tokens.is_zero()) return;
    begin(sequence, tokens, starting_offline_);
    promised += whole - sequence.blocks_needed(tokens) + Blocks(1);
  }
}

void SelectionBuilder::begin(const SequenceView& sequence, Tokens tokens,
                             std::vector<Choice>& choices) {
  choices.push_back({sequence.id, tokens});
  tokens_ -= tokens;
  free_ -= sequence.blocks_needed(tokens);
  shape_.add(sequence.context, tokens, false);
  at_least_ = Tokens(0);
  --slots_;
}

void SelectionBuilder::keep_headroom() {
  if (running_.size() == view_->online_running.size()) return;
  for (std::size_t rank = 0; rank < view_->online_running.size(); ++rank) {
    const Entry& entry = running_[rank];
    const Tokens soon = entry.given + Tokens(1);
    if (!entry.view->pending.is_zero() && entry.view->blocks_needed(soon) > entry.taken)
      headroom_ += Blocks(1);
  }
  Blocks coming{0};
  for (std::size_t rank = running_.size(); rank > view_->online_running.size(); --rank) {
    if (free_ + coming >= headroom_) break;
    Entry& entry = running_[rank - 1];
    if (entry.fate == Fate::undecided) entry.fate = Fate::held_back;
    if (entry.fate == Fate::held_back) coming += entry.view->held;
  }
}

Blocks SelectionBuilder::held_by(Span ranks) const {
  Blocks sum{0};
  for (std::size_t rank = ranks.first; rank < ranks.last; ++rank)
    if (running_[rank].fate != Fate::preempted)
      sum += running_[rank].view->held + running_[rank].taken;
  return sum;
}

Blocks SelectionBuilder::promised_to(Span ranks) const {
  Blocks sum{0};
  for (std::size_t rank = ranks.first; rank < ranks.last; ++rank) {
    const Entry& entry = running_[rank];
    if (entry.fate == Fate::preempted) continue;
    sum += entry.view->blocks_needed(entry.view->pending) - entry.taken + Blocks(1);
  }
  return sum;
}

Blocks SelectionBuilder::usable(std::size_t rank) const {
  if (rank >= starved_from_) return Blocks(0);
  return std::max(free_ - headroom_, Blocks(0));
}

Selection SelectionBuilder::finish() const {
  Selection selection;
  selection.preempt = preempted_;
  selection.choices.reserve(order_.size() + starting_online_.size() + starting_offline_.size());
  const auto add_running = [&](Span ranks) {
    for (const std::uint32_t rank : order_) {
      const Entry& entry = running_[rank];
      if (rank >= ranks.first && rank < ranks.last && entry.fate == Fate::chosen)
        selection.choices.push_back({entry.view->id, entry.given});
    }
  };
  const auto add_starting = [&](const std::vector<Choice>& starting) {
    selection.choices.insert(selection.choices.end(), starting.begin(), starting.end());
  };
  add_running(online());
  add_starting(starting_online_);
  add_running(offline());
  add_starting(starting_offline_);
  return selection;
}

}  // namespace tandem::policy
