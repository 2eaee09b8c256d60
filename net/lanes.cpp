#include "net/lanes.hpp"

#include <algorithm>
#include <ctime>
#include <spdlog/spdlog.h>
#include <utility>
#include <variant>

#include "api/errors.hpp"
#include "api/responses_events.hpp"
#include "net/parse_limits.hpp"

namespace tandem::net {

using std::chrono::steady_clock;

struct Lanes::Response {
  Response(Services& services, api::CreateResponse event, Signal& wake)
      : active(services),
        event_id(std::move(event.event_id)),
        events(event.parsed.call, std::move(event.stream_id), std::time(nullptr),
               event.parsed.echo),
        call(services, std::move(event.parsed.call), wake) {}

  [[nodiscard]] bool waits_for_flex() const {
    return flex_deadline != never && !call.begun() && !call.error();
  }

  const ActiveCall active;
  const std::string event_id;
  api::ResponseEvents events;
  StreamedCall call;
  SteadyTime flex_deadline = never;
  bool submitted = false, opened = false;
  std::optional<FinishReason> finish;
  std::optional<Error> reason;  ///< with finish == failed
};

Lanes::Lanes(Services& services, std::string connection_id, Signal& wake)
    : services_(services), connection_id_(std::move(connection_id)), wake_(wake) {}
Lanes::~Lanes() = default;

void Lanes::receive(std::string_view text) {
  auto event = api::parse_websocket_event(text, parse_limits(services_));
  std::visit([this](auto&& one) { on_event(std::move(one)); }, std::move(event));
}

void Lanes::on_event(api::CreateResponse event) {
  const auto& options = services_.options;
  const auto refuse = [&](Errc code, std::string why, std::string param = {}) {
    add_error(error(code, std::move(why), std::move(param)), event.stream_id, event.event_id);
  };
  if (closed_)
    return refuse(Errc::shutting_down, "this connection is about to close; open another one");
  if (in_flight_ >= options.max_responses_per_connection)
    return refuse(Errc::overloaded, "a connection has at most " +
                                        std::to_string(options.max_responses_per_connection) +
                                        " responses in flight");
  const auto name = event.stream_id;
  if (!name.empty() && !names_.contains(name)) {
    if (names_.size() >= options.max_lanes_per_connection)
      return refuse(Errc::invalid_value,
                    "a connection has at most " + std::to_string(options.max_lanes_per_connection) +
                        " named lanes",
                    "stream_id");
    names_.insert(name);
  }
  auto& lane = lanes_[name];
  lane.push_back(std::make_unique<Response>(services_, std::move(event), wake_));
  ++in_flight_;
  if (lane.size() == 1) start(lane);
}

void Lanes::start(Lane& lane) {
  auto& response = *lane.front();
  if (response.call.call().request_class == RequestClass::offline)
    response.flex_deadline = steady_clock::now() + services_.options.flex_wait;
  response.submitted = true;
  response.call.submit(connection_id_ + '.' + std::to_string(++num_responses_));
}

void Lanes::on_event(api::CancelResponse event) {
  for (auto& [name, lane] : lanes_)
    for (auto& response : lane)
      if (response->events.id() == event.response_id && response->submitted)
        return response->call.cancel();
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
  std::size_t bytes = 0;
  for (const auto& frame : frames) bytes += frame.size();
  for (; !errors_.empty() && bytes <= max_bytes; errors_.pop_front()) {
    bytes += errors_.front().size();
    error_bytes_ -= errors_.front().size();
    frames.push_back(std::move(errors_.front()));
  }
  for (auto at = lanes_.begin(); at != lanes_.end();) {
    auto& lane = at->second;
    if (write_response(*lane.front(), frames, bytes, max_bytes)) {
      lane.pop_front();
      --in_flight_;
      if (lane.empty()) {
        at = lanes_.erase(at);
        continue;
      }
      start(lane);
    }
    ++at;
  }
}

bool Lanes::write_response(Response& response, std::deque<std::string>& frames, std::size_t& bytes,
                           std::size_t max_bytes) {
  auto& call = response.call;
  const auto put = [&](std::string frame) {
    bytes += frame.size();
    frames.push_back(std::move(frame));
  };
  if (response.waits_for_flex() && steady_clock::now() >= response.flex_deadline) {
    response.finish = FinishReason::failed;
    response.reason = error(Errc::resource_unavailable,
                            "no capacity for a flex response within its wait; try again later");
  }
  if (!response.opened) {
    if (call.choices().empty()) {
      const auto& why = call.error() ? call.error() : response.reason;
      if (!why) return false;
      put(api::websocket_error(*why, response.events.stream_id(), response.event_id));
      return true;
    }
    response.opened = true;
    for (auto& event : response.events.opening()) put(std::move(event));
  }
  while (call.has_pending() && !response.finish && bytes <= max_bytes) {
    const auto next = call.take_pending().delta;
    if (!next.text.empty() || !next.logprobs.empty())
      put(response.events.delta(next.text, next.logprobs));
    response.finish = next.finish;
    response.reason = next.error;
  }
  call.merge(call.has_pending());
  if (!response.finish && !call.has_pending() && call.error()) {
    response.finish = FinishReason::failed;
    response.reason = call.error();
  }
  if (!response.finish || bytes > max_bytes) return false;
  const auto* reason = response.reason ? &*response.reason : nullptr;
  for (auto& event : response.events.closing(*response.finish, call.usage(), reason))
    put(std::move(event));
  return true;
}

std::size_t Lanes::pending_bytes() const {
  std::size_t bytes = error_bytes_;
  for (const auto& [name, lane] : lanes_) bytes += lane.front()->call.pending_bytes();
  return bytes;
}

SteadyTime Lanes::next_deadline() const {
  auto next = never;
  for (const auto& [name, lane] : lanes_)
    if (lane.front()->waits_for_flex()) next = std::min(next, lane.front()->flex_deadline);
  return next;
}

}  // namespace tandem::net
