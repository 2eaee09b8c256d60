#include "net/live_call.hpp"

#include <algorithm>

namespace tandem::net {
namespace {

/// A merged delta stops growing here: it is written in one piece, against one write timeout.
constexpr std::size_t max_merged_bytes = 64 << 10;

std::size_t memory_of(const api::Delta& delta) {
  std::size_t bytes = text_bytes(delta.parts) + delta.parts.size() * sizeof(model::AnswerPart);
  for (const auto& entry : delta.logprobs)
    bytes += sizeof(entry) + entry.top.size() * sizeof(api::TokenText);
  return bytes;
}

api::AnswerSource answer_source(const Services& services) {
  return {services.model->tokenizer, services.model->answer_format};
}

}  // namespace

LiveCall::LiveCall(Services& services, GenerateCall call, Signal& wake)
    : services_(services),
      wake_(&wake),
      call_(std::make_shared<const GenerateCall>(std::move(call))) {}

void LiveCall::submit(std::string request_id, std::string tenant, std::uint32_t ignored) {
  msg::Submit submission{call_, std::move(tenant), std::move(request_id), ignored};
  subscription_ = services_.bridge.submit(std::move(submission), *this);
}

void LiveCall::cancel() {
  cancelled_ = true;
  std::vector<RequestId> ids;
  for (const auto& choice : choices_) ids.push_back(choice.id);
  if (!ids.empty()) subscription_->cancel(std::move(ids));
}

void LiveCall::on_accepted(const msg::Accepted& accepted_choices) {
  choices_ = accepted_choices.choices;
  accepted();
  if (cancelled_) cancel();
  wake_->raise();
}

void LiveCall::on_event(const TokenEvent& event) {
  begun_ = true;
  take(event);
}

void LiveCall::fail(const Error& reason) {
  if (!error_ && !done()) error_ = reason;
  wake_->raise();
}

void CollectedCall::accepted() { collector_.emplace(call(), choices(), answer_source(services_)); }

void CollectedCall::take(const TokenEvent& event) {
  if (collector_->push(event)) cancel_choice(event.id);
}

void StreamedCall::accepted() {
  left_ = choices().size();
  streams_.reserve(left_);
  for (const auto& choice : choices())
    streams_.emplace_back(call(), answer_source(services_), choice.prompt_end);
}

void StreamedCall::take(const TokenEvent& event) {
  const auto at = std::find_if(choices().begin(), choices().end(),
                               [&](const AcceptedChoice& choice) { return choice.id == event.id; });
  if (at == choices().end()) return;
  const auto index = static_cast<std::uint32_t>(at - choices().begin());
  auto& stream = streams_[index];
  if (stream.ended()) return;
  auto delta = stream.push(event);
  if (stream.wants_cancel()) cancel_choice(event.id);
  if (delta.finish) --left_;
  const auto added = memory_of(delta);
  pending_bytes_ += added;
  const bool merging = merging_ || pending_bytes_ > services_.options.merge_above_bytes;
  if (merging && !pending_.empty() && pending_.back().index == index &&
      text_bytes(pending_.back().delta.parts) < max_merged_bytes) {
    auto& last = pending_.back().delta;
    pending_bytes_ -= memory_of(last) + added;
    join(last, std::move(delta));
    pending_bytes_ += memory_of(last);
    return;
  }
  pending_bytes_ += sizeof(Pending);
  pending_.push_back({index, std::move(delta)});
}

StreamedCall::Pending StreamedCall::take_pending() {
  auto first = std::move(pending_.front());
  pending_.pop_front();
  pending_bytes_ -= memory_of(first.delta) + sizeof(Pending);
  return first;
}

Usage StreamedCall::usage() const { return api::usage_of(choices(), streams_, call().n); }

bool StreamedCall::is_taken_apart() const {
  return api::is_taken_apart(call(), answer_source(services_));
}

}  // namespace tandem::net
