// See sequence_table.hpp.
#include "policy/sequence_table.hpp"

#include <algorithm>
#include <utility>

#include "core/check.hpp"

namespace tandem::policy {
namespace {

Tokens length(const std::vector<TokenId>& tokens) {
  return Tokens(static_cast<std::int64_t>(tokens.size()));
}

std::size_t index_of(RequestClass request_class) {
  return request_class == RequestClass::online ? 0 : 1;
}

bool earlier(const Sequence* a, const Sequence* b) { return a->order < b->order; }

}  // namespace

Sequence::Sequence(RequestPtr admitted)
    : id(admitted->id),
      request_class(admitted->request_class),
      arrival(admitted->arrival),
      prompt_length(length(admitted->prompt)),
      max_tokens(admitted->stop.max_tokens),
      tokens(admitted->prompt),
      request(std::move(admitted)) {}

Tokens Sequence::known() const { return length(tokens); }
Tokens Sequence::output() const { return known() - prompt_length; }

Tokens Sequence::pending() const {
  const Tokens sampling(samples_in_flight);
  if (output() + sampling >= max_tokens) return Tokens(0);
  return known() + sampling - planned;
}

SequenceTable::SequenceTable(std::uint32_t max_running) : max_running_(max_running) {
  free_slots_.reserve(max_running);
  for (std::uint32_t slot = max_running; slot > 0; --slot) free_slots_.push_back(SlotId{slot - 1});
}

Sequence& SequenceTable::add(RequestPtr request) {
  auto sequence = std::make_unique<Sequence>(std::move(request));
  sequence->order = next_order_++;
  Sequence& added = *sequence;
  const bool fresh = by_id_.emplace(added.id, &added).second;
  TANDEM_CHECK(fresh, "a request id is given out once");
  added.place = sequences_.size();
  waiting_[index_of(added.request_class)].emplace(added.order, &added);
  sequences_.push_back(std::move(sequence));
  return added;
}

Sequence* SequenceTable::find(RequestId id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

void SequenceTable::start(Sequence& sequence) {
  TANDEM_CHECK(sequence.stage == Stage::waiting, "only a waiting sequence starts");
  TANDEM_CHECK(!free_slots_.empty(), "a sequence starts only if a slot is free");
  waiting_[index_of(sequence.request_class)].erase(sequence.order);
  Running& running = running_[index_of(sequence.request_class)];
  running.insert(std::upper_bound(running.begin(), running.end(), &sequence, earlier), &sequence);
  sequence.stage = Stage::running;
  sequence.slot = free_slots_.back();
  sequence.has_slot = true;
  sequence.needs_binding = true;
  free_slots_.pop_back();
}

void SequenceTable::requeue(Sequence& sequence) {
  TANDEM_CHECK(sequence.stage == Stage::running, "only a running sequence is put back");
  leave_running(sequence);
  release_slot(sequence);
  waiting_[index_of(sequence.request_class)].emplace(sequence.order, &sequence);
  sequence.stage = Stage::waiting;
}

void SequenceTable::end(Sequence& sequence) {
  TANDEM_CHECK(sequence.stage != Stage::ended, "a sequence ends once");
  by_id_.erase(sequence.id);
  if (sequence.stage == Stage::waiting)
    waiting_[index_of(sequence.request_class)].erase(sequence.order);
  else
    leave_running(sequence);
  sequence.stage = Stage::ended;
}

void SequenceTable::erase(Sequence& sequence) {
  TANDEM_CHECK(sequence.stage == Stage::ended, "only an ended sequence is erased");
  TANDEM_CHECK(sequence.plans_in_flight == 0, "no plan in flight names an erased sequence");
  if (sequence.has_slot) release_slot(sequence);
  const std::size_t place = sequence.place;
  sequences_.back()->place = place;
  std::swap(sequences_[place], sequences_.back());
  sequences_.pop_back();
}

void SequenceTable::leave_running(Sequence& sequence) {
  Running& running = running_[index_of(sequence.request_class)];
  const auto found = std::lower_bound(running.begin(), running.end(), &sequence, earlier);
  TANDEM_CHECK(found != running.end() && *found == &sequence, "a running sequence is listed");
  running.erase(found);
}

void SequenceTable::release_slot(Sequence& sequence) {
  free_slots_.push_back(sequence.slot);
  sequence.has_slot = false;
}

const SequenceTable::Running& SequenceTable::running(RequestClass request_class) const {
  return running_[index_of(request_class)];
}

const SequenceTable::Waiting& SequenceTable::waiting(RequestClass request_class) const {
  return waiting_[index_of(request_class)];
}

std::uint32_t SequenceTable::free_slots() const {
  return static_cast<std::uint32_t>(free_slots_.size());
}

void SequenceTable::check() const {
  std::vector<int> holders(max_running_, 0);
  for (const SlotId slot : free_slots_) ++holders[raw(slot)];
  std::size_t waiting = 0, running = 0;
  for (const auto& sequence : sequences_) {
    waiting += sequence->stage == Stage::waiting ? 1U : 0U;
    running += sequence->stage == Stage::running ? 1U : 0U;
    if (sequence->has_slot) ++holders[raw(sequence->slot)];
  }
  for (const int holder : holders)
    TANDEM_CHECK(holder == 1, "a slot is free or belongs to one sequence");
  TANDEM_CHECK(waiting == waiting_[0].size() + waiting_[1].size(), "the queues hold the waiting");
  TANDEM_CHECK(running == running_[0].size() + running_[1].size(), "the lists hold the running");
  TANDEM_CHECK(waiting + running == by_id_.size(), "ids are known of what has not ended");
  for (const auto& list : running_)
    TANDEM_CHECK(std::is_sorted(list.begin(), list.end(), earlier), "running is in arrival order");
}

}  // namespace tandem::policy
