#include "net/response_stream.hpp"

#include <ctime>

#include "api/errors.hpp"

namespace tandem::net {

using std::chrono::steady_clock;

ResponseStream::ResponseStream(Services& services, api::CreateResponse event, std::string tenant,
                               Signal& wake)
    : services_(services),
      active_(std::in_place, services),
      tenant_(std::move(tenant)),
      event_id_(std::move(event.event_id)),
      ignored_fields_(event.parsed.num_ignored),
      events_(event.parsed.call, std::move(event.stream_id), std::time(nullptr), event.parsed.echo),
      call_(std::make_unique<StreamedCall>(services, std::move(event.parsed.call), wake)) {
  if (event.parsed.resumable) log_.emplace();
}

void ResponseStream::submit(std::string request_id) {
  if (call_->call().request_class == RequestClass::offline)
    flex_deadline_ = steady_clock::now() + services_.options.flex_wait;
  submitted_ = true;
  call_->submit(std::move(request_id), tenant_, ignored_fields_);
}

void ResponseStream::cancel() {
  if (submitted_ && call_) call_->cancel();
}

void ResponseStream::rewire(Signal& wake) {
  if (call_) call_->rewire(wake);
}

bool ResponseStream::waits_for_flex() const {
  return flex_deadline_ != never && call_ && !call_->begun() && !call_->error();
}

void ResponseStream::record(const std::string& frame) {
  if (!log_) return;
  log_->push_back(frame);
  const auto bytes = frame.size() + sizeof(frame);
  log_bytes_ += bytes;
  services_.resumables.logs_changed(static_cast<std::ptrdiff_t>(bytes));
}

void ResponseStream::drop_log() {
  services_.resumables.logs_changed(-static_cast<std::ptrdiff_t>(log_bytes_));
  log_bytes_ = 0;
  log_.reset();
}

bool ResponseStream::write(Outbox& outbox) {
  if (log_)
    for (; next_ < log_->size() && !outbox.full(); ++next_) outbox.put((*log_)[next_]);
  if (!replayed()) return false;
  if (ended_) return true;
  return produce([&](std::string frame) { outbox.put(std::move(frame)); },
                 [&] { return outbox.full(); });
}

void ResponseStream::keep() {
  if (!ended_) produce([](const std::string&) {}, [] { return false; });
}

bool ResponseStream::open(const Put& put) {
  if (opened_) return true;
  if (call_->choices().empty()) {
    const auto& why = call_->error() ? call_->error() : reason_;
    if (!why) return false;
    // A refusal is no event of the response: nobody has heard of it.
    put(api::websocket_error(*why, events_.stream_id(), event_id_));
    ended_ = true;
    return false;
  }
  opened_ = true;
  for (auto& event : events_.opening(!call_->is_taken_apart())) {
    record(event);
    put(std::move(event));
  }
  return true;
}

bool ResponseStream::produce(const Put& put, const std::function<bool()>& full) {
  const auto say = [&](std::string event) {
    record(event);
    put(std::move(event));
  };
  if (waits_for_flex() && steady_clock::now() >= flex_deadline_) {
    finish_ = FinishReason::failed;
    reason_ = error(Errc::resource_unavailable,
                    "no capacity for a flex response within its wait; try again later");
  }
  if (open(put)) {
    while (call_->has_pending() && !finish_ && !full()) {
      const auto next = call_->take_pending().delta;
      for (auto& event : events_.add(next.parts, next.logprobs)) say(std::move(event));
      finish_ = next.finish;
      reason_ = next.error;
    }
    call_->merge(call_->has_pending());
    if (!finish_ && !call_->has_pending() && call_->error()) {
      finish_ = FinishReason::failed;
      reason_ = call_->error();
    }
    if (finish_ && !full()) {
      const auto* reason = reason_ ? &*reason_ : nullptr;
      for (auto& event : events_.closing(*finish_, call_->usage(), reason)) say(std::move(event));
      ended_ = true;
    }
  }
  if (log_) next_ = log_->size();
  if (ended_) {
    call_.reset();  // and with it what still runs: a flex response whose wait is over
    active_.reset();
  }
  return ended_;
}

}  // namespace tandem::net
