// The online half of load.hpp over WebSockets: Responses events, text in and text out.
#include <algorithm>
#include <boost/json.hpp>

#include "cli/client/responses.hpp"
#include "cli/load_call.hpp"

namespace tandem::cli {
namespace json = boost::json;
using client::ResponseEvent;

std::string RequestShape::event(const sim::Workload& workload, std::size_t index) const {
  return json::serialize(
      json::object{{"type", "response.create"},
                   {"model", model},
                   {"input", prompts[index % prompts.size()]},
                   {"max_output_tokens", workload.requests[index].output_tokens.value()},
                   {"temperature", temperature},
                   {"ignore_eos", true},
                   {"seed", static_cast<std::int64_t>(index)}});
}

void OnlineLoad::send_over_websocket(const std::shared_ptr<Call>& call, std::string event) {
  const auto idle = std::find_if(sockets_.begin(), sockets_.end(),
                                 [](const auto& socket) { return !socket->call; });
  const auto socket = idle == sockets_.end() ? open_socket() : *idle;
  socket->call = call;
  socket->socket->send(std::move(event));
  const std::weak_ptr<Call> sent = call;
  const std::weak_ptr<Socket> over = socket;
  loop_.after(shape_.timeout, [sent, over] {
    const auto late = sent.lock();
    const auto carrier = over.lock();
    if (late && carrier && carrier->call == late) carrier->socket->close();
  });
}

std::shared_ptr<OnlineLoad::Socket> OnlineLoad::open_socket() {
  auto socket = std::make_shared<Socket>();
  sockets_.push_back(socket);
  const std::weak_ptr<Socket> weak = socket;
  socket->socket =
      client::WebSocket::open(loop_, http_.url(), "/v1/responses",
                              {.on_open = {},
                               .on_message =
                                   [this, weak](const std::string& message) {
                                     if (const auto alive = weak.lock())
                                       take_message(alive, message);
                                   },
                               .on_close =
                                   [this, weak](const std::string&) {
                                     const auto alive = weak.lock();
                                     if (!alive) return;
                                     std::erase(sockets_, alive);
                                     if (const auto call = std::exchange(alive->call, nullptr))
                                       end(call, "connection");
                                   }});
  return socket;
}

void OnlineLoad::take_message(const std::shared_ptr<Socket>& socket, const std::string& message) {
  const auto now = client::Clock::now();
  const auto call = socket->call;
  if (!call) return;
  const auto event = client::parse_response_event(message);
  if (event && event->kind == ResponseEvent::Kind::delta) return call->chunk(now);
  const bool ended = event && event->kind == ResponseEvent::Kind::ended;
  const bool failed = !event || event->kind == ResponseEvent::Kind::error;
  if (!ended && !failed) return;
  if (ended) {
    call->measured->prompt_tokens = event->input_tokens;
    call->measured->output_tokens = event->output_tokens;
    call->done = true;
  }
  const std::string failure = !event                      ? "malformed event"
                              : failed                    ? "error event"
                              : event->status == "failed" ? "status failed"
                                                          : "";
  socket->call = nullptr;
  end(call, failure);
}

}  // namespace tandem::cli
