// See plan_builder.hpp.
#include "policy/plan_builder.hpp"

#include <algorithm>
#include <memory>
#include <span>
#include <utility>

#include "core/check.hpp"

namespace tandem::policy {
namespace {

Blocks size_of(const std::vector<BlockId>& table) {
  return Blocks(static_cast<std::int64_t>(table.size()));
}

/// Blocks that `table` lacks for `tokens` positions after `planned`.
Blocks missing_blocks(const std::vector<BlockId>& table, Tokens planned, Tokens tokens) {
  const Blocks needed = blocks_for(planned + tokens);
  return needed > size_of(table) ? needed - size_of(table) : Blocks(0);
}

/// What the device must know of a sequence's slice: its tokens, or where the one comes from.
void write_tokens(Plan& plan, Slice& slice, const Sequence& sequence,
                  const std::deque<PlanInFlight>& in_flight) {
  const Tokens last = sequence.planned + Tokens(slice.num_tokens);
  if (last <= sequence.known()) {
    const auto first = sequence.tokens.begin() + sequence.planned.value();
    slice.tokens = {static_cast<std::uint32_t>(plan.token_ids.size()), slice.num_tokens};
    plan.token_ids.insert(plan.token_ids.end(), first, first + slice.num_tokens);
    return;
  }
  TANDEM_CHECK(slice.num_tokens == 1 && sequence.planned == sequence.known(),
               "only a decode runs a token that is still being sampled");
  TANDEM_CHECK(!in_flight.empty() && in_flight.back().plan->id == sequence.last_plan,
               "a token still to be sampled comes from the plan before");
  slice.source_slice = sequence.last_slice;
}

Slice write_slice(Plan& plan, Sequence& sequence, Tokens tokens,
                  const std::deque<PlanInFlight>& in_flight) {
  Slice slice;
  slice.id = sequence.id;
  slice.slot = sequence.slot;
  slice.request_class = sequence.request_class;
  slice.context = static_cast<std::uint32_t>(sequence.planned.value());
  slice.num_tokens = static_cast<std::uint32_t>(tokens.value());
  const Tokens end = sequence.planned + tokens;
  slice.samples = end == sequence.known() + Tokens(sequence.samples_in_flight);
  slice.decode = slice.samples && tokens == Tokens(1) && sequence.planned >= sequence.prompt_length;
  write_tokens(plan, slice, sequence, in_flight);
  if (sequence.table == nullptr || sequence.table->size() != sequence.blocks.size())
    sequence.table = std::make_shared<const BlockTable>(sequence.blocks);
  slice.blocks = sequence.table;
  return slice;
}

SlotBinding bind(Sequence& sequence) {
  sequence.needs_binding = false;
  const auto output = sequence.tokens.begin() + sequence.prompt_length.value();
  return {sequence.slot, sequence.request, {output, sequence.tokens.end()}};
}

/// The sequence is now planned as if the slice had run.
void book_slice(Sequence& sequence, const Slice& slice, IterationId plan, std::size_t index) {
  sequence.planned += Tokens(slice.num_tokens);
  if (slice.samples) ++sequence.samples_in_flight;
  ++sequence.plans_in_flight;
  sequence.last_plan = plan;
  sequence.last_slice = static_cast<std::uint32_t>(index);
}

}  // namespace

PlanBuilder::PlanBuilder(PlannerPtr planner) : planner_(std::move(planner)) {
  TANDEM_CHECK(planner_ != nullptr, "the scheduler core is given a planner");
}

PlanPtr PlanBuilder::build(SchedulerBooks& books, TimePoint now, const LatencySnapshot* model,
                           const BudgetSnapshot* budget) {
  // A selection that only preempts changes what there is to choose from: the planner is asked
  // again. It ends, since each time fewer sequences run.
  again_at_.reset();
  while (gather(books)) {
    PlanningView view = planning_view(books);
    view.now = now;
    view.model = model;
    view.budget = budget;
    const Selection selection = planner_->select(view);
    check_and_resolve(view, selection);
    carry_out(books, selection);
    if (!chosen_.empty()) return write_plan(books);
    again_at_ = selection.again_at;
    if (selection.preempt.empty()) return nullptr;
  }
  return nullptr;
}

/// Fills the views; false if no sequence has anything to run.
bool PlanBuilder::gather(SchedulerBooks& books) {
  views_.clear();
  sequences_.clear();
  missing_.clear();
  const auto add_class = [&](RequestClass request_class, std::size_t& running,
                             std::size_t& waiting) {
    const std::size_t first = views_.size();
    for (Sequence* sequence : books.table.running(request_class))
      add_running_view(books, *sequence);
    running = views_.size() - first;
    std::size_t looked_at = 0;
    for (const auto& [order, sequence] : books.table.waiting(request_class)) {
      if (looked_at++ == waiting_window) break;
      add_waiting_view(books, *sequence);
    }
    waiting = views_.size() - first - running;
  };
  add_class(RequestClass::online, online_running_, online_waiting_);
  add_class(RequestClass::offline, offline_running_, offline_waiting_);
  return std::any_of(views_.begin(), views_.end(),
                     [](const SequenceView& view) { return !view.pending.is_zero(); });
}

void PlanBuilder::add_running_view(const SchedulerBooks& books, Sequence& sequence) {
  SequenceView& view = views_.emplace_back();
  sequences_.push_back(&sequence);
  view.id = sequence.id;
  view.request_class = sequence.request_class;
  view.context = sequence.planned;
  view.pending = sequence.pending();
  view.decode = view.pending == Tokens(1) && sequence.planned >= sequence.prompt_length;
  view.running = true;
  view.held = size_of(sequence.blocks);
  view.preemptible = sequence.plans_in_flight == 0;
  if (view.preemptible) view.releasable = releasable_blocks(books.ledger, sequence);
  view.arrival = sequence.arrival;
}

/// None for an offline sequence whose next block a running one is about to publish, or an offline
/// one before it in this view would compute: it waits until it can share that.
void PlanBuilder::add_waiting_view(const SchedulerBooks& books, Sequence& sequence) {
  const PrefixMatch prefix = find_prefix(books, sequence);
  if (const BlockHash* missing = first_missing(sequence, prefix)) {
    const bool offline = sequence.request_class == RequestClass::offline;
    const bool somebody_computes_it =
        books.ledger.is_announced(*missing) ||
        std::find(missing_.begin(), missing_.end(), *missing) != missing_.end();
    if (offline && somebody_computes_it) return;
    // Nobody waits for a waiting online sequence: offline_only would never start it.
    if (offline) missing_.push_back(*missing);
  }
  SequenceView& view = views_.emplace_back();
  sequences_.push_back(&sequence);
  view.id = sequence.id;
  view.request_class = sequence.request_class;
  view.context = Tokens(prefix.cached.value() * kv_block_tokens);
  view.pending = sequence.known() - view.context;
  view.held = prefix.cached;
  view.unheld = prefix.unheld;
  view.arrival = sequence.arrival;
}

PlanningView PlanBuilder::planning_view(const SchedulerBooks& books) const {
  std::span<const SequenceView> rest(views_);
  const auto next = [&rest](std::size_t count) {
    const auto part = rest.first(count);
    rest = rest.subspan(count);
    return part;
  };
  PlanningView view;
  view.online_running = next(online_running_);
  view.online_waiting = next(online_waiting_);
  view.offline_running = next(offline_running_);
  view.offline_waiting = next(offline_waiting_);
  view.free_blocks = books.ledger.available();
  view.free_slots = books.table.free_slots();
  view.token_budget = books.options.max_iteration_tokens;
  view.row_quantum = books.options.row_quantum;
  view.offline_alone_in_flight =
      !books.in_flight.empty() &&
      std::all_of(books.in_flight.begin(), books.in_flight.end(),
                  [](const PlanInFlight& flight) { return flight.offline_alone(); });
  return view;
}

/// The view of that id, views_.size() if there is none.
std::size_t PlanBuilder::resolve(RequestId id) {
  const std::size_t count = views_.size();
  for (std::size_t step = 0; step < count; ++step) {
    const std::size_t i = cursor_ + step < count ? cursor_ + step : cursor_ + step - count;
    if (views_[i].id != id) continue;
    cursor_ = i + 1 < count ? i + 1 : 0;
    return i;
  }
  return count;
}

void PlanBuilder::check_and_resolve(const PlanningView& view, const Selection& selection) {
  marks_.assign(views_.size(), Mark::none);
  chosen_.clear();
  cursor_ = 0;
  Blocks free = view.free_blocks;
  std::uint64_t slots = view.free_slots + selection.preempt.size();
  for (const RequestId id : selection.preempt) {
    const std::size_t i = resolve(id);
    TANDEM_CHECK(i < views_.size(), "a planner preempts sequences of its view");
    TANDEM_CHECK(views_[i].preemptible, "a planner preempts only what is preemptible");
    TANDEM_CHECK(marks_[i] == Mark::none, "a planner preempts a sequence once");
    marks_[i] = Mark::preempted;
    free += views_[i].releasable;
  }
  Tokens total{0};
  cursor_ = 0;
  for (const Choice& choice : selection.choices) {
    const std::size_t i = resolve(choice.id);
    TANDEM_CHECK(i < views_.size(), "a planner chooses sequences of its view");
    TANDEM_CHECK(marks_[i] != Mark::preempted, "a planner does not choose what it preempts");
    TANDEM_CHECK(marks_[i] == Mark::none, "a planner chooses a sequence once");
    TANDEM_CHECK(choice.tokens > Tokens(0), "a planner chooses at least one token");
    TANDEM_CHECK(choice.tokens <= views_[i].pending, "a planner chooses no more than is pending");
    marks_[i] = Mark::chosen;
    if (!views_[i].running) {
      TANDEM_CHECK(slots > 0, "a planner starts no more sequences than there are free slots");
      --slots;
    }
    total += choice.tokens;
    free -= views_[i].blocks_needed(choice.tokens);
    chosen_.push_back({sequences_[i], choice.tokens, i, {}, false});
  }
  TANDEM_CHECK(total <= view.token_budget, "a planner keeps to the token budget");
  TANDEM_CHECK(free >= Blocks(0), "a planner chooses no more than free blocks allow");
}

void PlanBuilder::carry_out(SchedulerBooks& books, const Selection& selection) {
  for (std::size_t i = 0; i < views_.size() && !selection.preempt.empty(); ++i)
    if (marks_[i] == Mark::preempted) preempt(books, *sequences_[i]);
  share_prefixes(books);
  for (Chosen& choice : chosen_) {
    Sequence& sequence = *choice.sequence;
    if (!views_[choice.view].running) start(books, sequence, std::move(choice.shared));
    books.ledger.take(missing_blocks(sequence.blocks, sequence.planned, choice.tokens),
                      sequence.blocks);
  }
}

/// Waiting sequences take hold of their cached blocks before any block is taken anew, since taking
/// evicts. If blocks that a preempted sequence held are shared at once, fewer are free than the
/// planner counted: then the last to start are left for the next plan.
void PlanBuilder::share_prefixes(SchedulerBooks& books) {
  Blocks needed{0};
  for (Chosen& choice : chosen_) {
    const SequenceView& view = views_[choice.view];
    const Sequence& sequence = *choice.sequence;
    if (!view.running) {
      choice.shared = books.ledger.share(sequence.hashes, sequence.tokens, view.held);
      TANDEM_CHECK(size_of(choice.shared) == view.held,
                   "a cached prefix stays until blocks are taken");
    }
    needed +=
        missing_blocks(view.running ? sequence.blocks : choice.shared, view.context, choice.tokens);
  }
  for (std::size_t i = chosen_.size(); i > 0 && needed > books.ledger.available(); --i) {
    Chosen& choice = chosen_[i - 1];
    const SequenceView& view = views_[choice.view];
    if (view.running) continue;
    needed -= missing_blocks(choice.shared, view.context, choice.tokens);
    books.ledger.release(choice.shared);
    choice.left_out = true;
  }
  std::erase_if(chosen_, [](const Chosen& choice) { return choice.left_out; });
}

PlanPtr PlanBuilder::write_plan(SchedulerBooks& books) {
  auto plan = std::make_shared<Plan>();
  plan->id = IterationId{books.next_iteration++};
  std::size_t rows = 0;
  for (const Chosen& choice : chosen_) rows += static_cast<std::size_t>(choice.tokens.value());
  plan->slices.reserve(chosen_.size());
  plan->token_ids.reserve(rows);
  PlanInFlight flight;
  flight.sequences.reserve(chosen_.size());
  for (const Chosen& choice : chosen_) {
    Sequence& sequence = *choice.sequence;
    if (sequence.needs_binding) plan->bindings.push_back(bind(sequence));
    plan->slices.push_back(write_slice(*plan, sequence, choice.tokens, books.in_flight));
    book_slice(sequence, plan->slices.back(), plan->id, plan->slices.size() - 1);
    flight.sequences.push_back(&sequence);
  }
  flight.plan = plan;
  books.in_flight.push_back(std::move(flight));
  return plan;
}

}  // namespace tandem::policy
