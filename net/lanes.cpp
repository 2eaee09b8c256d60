#include "net/lanes.hpp"

#include <algorithm>
#include <spdlog/spdlog.h>
#include <utility>
#include <variant>

#include "api/errors.hpp"
#include "net/parse_limits.hpp"

namespace tandem::net {

Lanes::Lanes(Services& services, Caller caller, Signal& wake)
    : services_(services), caller_(std::move(caller)), wake_(wake) {}

Lanes::~Lanes() {
  for (const auto& [name, lane] : lanes_)
    for (const auto& entry : lane)
      if (entry.stream) services_.resumables.hand_back(entry.stream->id());
}

void Lanes::receive(std::string_view text) {
  auto event = api::parse_websocket_event(text, parse_limits(services_));
  std::visit([this](auto&& one) { on_event(std::move(one)); }, std::move(event));
}

std::optional<Error> Lanes::refusal(const std::string& lane_name) {
  const auto& options = services_.options;
  if (closed_)
    return error(Errc::shutting_down, "this connection is about to close; open another one");
  if (in_flight_ >= options.max_responses_per_connection)
    return error(Errc::overloaded, "a connection has at most " +
                                       std::to_string(options.max_responses_per_connection) +
                                       " responses in flight");
  if (lane_name.empty() || names_.contains(lane_name)) return std::nullopt;
  if (names_.size() >= options.max_lanes_per_connection)
    return error(Errc::stream_limit_reached,
                 "a connection has at most " + std::to_string(options.max_lanes_per_connection) +
                     " named lanes",
                 "stream_id");
  return std::nullopt;
}

void Lanes::on_event(api::CreateResponse event) {
  const auto name = event.stream_id;
  auto refused = refusal(name);
  if (!refused && event.parsed.resumable && services_.options.resume_window.count() == 0)
    refused = error(Errc::unsupported, "'resumable' is not supported: resume_window_seconds is 0",
                    "resumable");
  if (refused) return add_error(*refused, name, event.event_id);
  for (const auto& field : event.parsed.ignored_fields)
    spdlog::debug("field_ignored request_id={} field={}", caller_.request_id, field);
  const bool resumable = event.parsed.resumable;
  auto stream =
      std::make_shared<ResponseStream>(services_, std::move(event), caller_.tenant, wake_);
  if (resumable) services_.resumables.add(stream, *this);
  enqueue(name, {std::move(stream), {}, {}, -1});
}

void Lanes::on_event(api::ResumeResponse event) {
  const auto stream = services_.resumables.find(event.response_id, caller_.tenant);
  if (!stream) return add_error(stream.error(), {}, event.event_id);
  const auto name = (*stream)->stream_id();
  if (services_.resumables.is_on(event.response_id, *this))
    return add_error(
        error(Errc::conflict, "this connection is receiving that response already", "response_id"),
        name, event.event_id);
  if (const auto refused = refusal(name)) return add_error(*refused, name, event.event_id);
  enqueue(name,
          {nullptr, std::move(event.response_id), std::move(event.event_id), event.starting_after});
}

void Lanes::enqueue(const std::string& lane_name, Entry entry) {
  if (!lane_name.empty()) names_.insert(lane_name);
  auto& lane = lanes_[lane_name];
  lane.push_back(std::move(entry));
  ++in_flight_;
  if (lane.size() > 1) return;
  start(lane_name, lane);
  if (lane.empty()) lanes_.erase(lane_name);
  wake_.raise();
}

void Lanes::start(const std::string& lane_name, Lane& lane) {
  while (!lane.empty()) {
    auto& entry = lane.front();
    if (entry.stream)
      return entry.stream->submit(caller_.request_id + '.' + std::to_string(++num_responses_));
    auto taken = services_.resumables.take(entry.resume_id, caller_.tenant, entry.starting_after,
                                           *this, wake_);
    if (taken) {
      entry.stream = std::move(*taken);
      return;
    }
    add_error(taken.error(), lane_name, entry.event_id);
    lane.pop_front();
    --in_flight_;
  }
}

/// The response goes to another connection; this one says no more of it.
void Lanes::release(const std::string& response_id) {
  for (auto at = lanes_.begin(); at != lanes_.end(); ++at) {
    auto& [name, lane] = *at;
    const auto found = std::find_if(lane.begin(), lane.end(), [&](const Entry& entry) {
      return entry.stream && entry.stream->id() == response_id;
    });
    if (found == lane.end()) continue;
    const bool ran = found == lane.begin();
    lane.erase(found);
    --in_flight_;
    if (ran) start(name, lane);
    if (lane.empty()) lanes_.erase(at);
    return wake_.raise();
  }
}

void Lanes::on_event(api::CancelResponse event) {
  for (auto& [name, lane] : lanes_)
    for (auto& entry : lane)
      if (entry.stream && entry.stream->opened() && entry.stream->id() == event.response_id)
        return entry.stream->cancel();
  add_error(error(Errc::not_found, "no response of that id is in flight on this connection",
                  "response_id"),
            {}, event.event_id);
}

void Lanes::on_event(api::BadEvent event) {
  add_error(event.reason, event.stream_id, event.event_id);
}

void Lanes::add_error(const Error& reason, std::string_view stream_id, std::string_view event_id) {
  errors_.push_back(api::websocket_error(reason, stream_id, event_id));
  error_bytes_ += errors_.back().size();
  wake_.raise();
}

void Lanes::write(std::deque<std::string>& frames, std::size_t max_bytes) {
  Outbox outbox{frames, 0, max_bytes};
  for (const auto& frame : frames) outbox.bytes += frame.size();
  for (; !errors_.empty() && !outbox.full(); errors_.pop_front()) {
    error_bytes_ -= errors_.front().size();
    outbox.put(std::move(errors_.front()));
  }
  for (auto at = lanes_.begin(); at != lanes_.end();) {
    auto& [name, lane] = *at;
    if (lane.front().stream->write(outbox)) {
      services_.resumables.hand_back(lane.front().stream->id());
      lane.pop_front();
      --in_flight_;
      start(name, lane);
    }
    at = lane.empty() ? lanes_.erase(at) : std::next(at);
  }
  services_.resumables.make_room();
}

bool Lanes::resumable() const {
  return std::any_of(lanes_.begin(), lanes_.end(),
                     [](const auto& lane) { return lane.second.front().stream->resumable(); });
}

std::size_t Lanes::pending_bytes() const {
  std::size_t bytes = error_bytes_;
  for (const auto& [name, lane] : lanes_) bytes += lane.front().stream->pending_bytes();
  return bytes;
}

SteadyTime Lanes::next_deadline() const {
  auto next = never;
  for (const auto& [name, lane] : lanes_)
    next = std::min(next, lane.front().stream->next_deadline());
  return next;
}

}  // namespace tandem::net
