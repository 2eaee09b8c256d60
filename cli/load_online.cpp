// The online half of load.hpp: streamed completions at their times.
#include <boost/json.hpp>

#include "cli/load_call.hpp"

namespace tandem::cli {
namespace json = boost::json;
using client::Clock;

std::string RequestShape::body(const sim::Workload& workload, std::size_t index, bool stream,
                               bool flex) const {
  json::object body{{"model", model},
                    {"max_tokens", workload.requests[index].output_tokens.value()},
                    {"temperature", temperature},
                    {"ignore_eos", true},
                    {"seed", static_cast<std::int64_t>(index)}};
  if (prompts.empty()) {
    const auto ids = sim::prompt_of(workload, index, vocab_size, repetition);
    body["prompt"] = json::array(ids.begin(), ids.end());
  } else {
    body["prompt"] = prompts[index % prompts.size()];
  }
  if (stream) {
    body["stream"] = true;
    body["stream_options"] = json::object{{"include_usage", true}};
  }
  if (every_token) body["logprobs"] = 0;
  if (flex) body["service_tier"] = "flex";
  return json::serialize(body);
}

void OnlineLoad::Call::chunk(Clock::time_point now) {
  const auto since = [&](Clock::time_point earlier) {
    return std::chrono::duration<double, std::milli>(now - earlier).count();
  };
  if (begun)
    measured->gaps_ms.push_back(static_cast<float>(since(last)));
  else
    measured->ttft_ms = since(sent);
  begun = true;
  last = now;
  measured->e2e_ms = since(sent);
}

OnlineLoad::OnlineLoad(client::EventLoop& loop, client::Url url, RequestShape shape,
                       sim::Workload workload, std::size_t max_in_flight)
    : loop_(loop),
      http_(loop, std::move(url)),
      shape_(std::move(shape)),
      workload_(std::move(workload)),
      max_in_flight_(max_in_flight),
      measured_(workload_.requests.size()) {}

double OnlineLoad::now_ms() const {
  return std::chrono::duration<double, std::milli>(Clock::now() - start_).count();
}

void OnlineLoad::start(std::function<void()> on_done) {
  on_done_ = std::move(on_done);
  start_ = Clock::now();
  if (total() == 0) return loop_.post([this] { on_done_(); });
  await_next();
}

void OnlineLoad::await_next() {
  if (next_ == total()) return;
  next_body_ = shape_.websocket ? shape_.event(workload_, next_)
                                : shape_.body(workload_, next_, true, false);
  loop_.at(start_ + workload_.requests[next_].arrival, [this] { arrive(); });
}

void OnlineLoad::arrive() {
  const auto index = next_++;
  measured_[index].scheduled_ms = to_ms(workload_.requests[index].arrival);
  if (in_flight_ < max_in_flight_)
    send(index, std::move(next_body_));
  else
    held_.emplace_back(index, std::move(next_body_));
  await_next();
}

void OnlineLoad::send(std::size_t index, std::string body) {
  ++in_flight_;
  auto call = std::make_shared<Call>();
  call->measured = &measured_[index];
  call->measured->sent_ms = now_ms();
  call->sent = Clock::now();
  if (shape_.websocket)
    send_over_websocket(call, std::move(body));
  else
    send_over_http(call, std::move(body));
}

void OnlineLoad::send_over_http(const std::shared_ptr<Call>& call, std::string body) {
  client::HttpRequest request{.method = "POST", .target = "/v1/completions"};
  request.body = std::move(body);
  request.timeout = shape_.timeout;
  http_.send(
      std::move(request),
      [this, call](std::string_view bytes) {
        if (!call->events.push(bytes, [&](std::string_view event) { take(*call, event); }))
          call->failure = "event too long";
      },
      [this, call](const Result<client::HttpResponse>& response) {
        if (!response)
          end(call, "connection");
        else if (response->status != 200)
          end(call, "status " + std::to_string(response->status));
        else
          end(call, call->failure);
      });
}

void OnlineLoad::take(Call& call, std::string_view event) {
  const auto now = Clock::now();
  auto& measured = *call.measured;
  if (event == "[DONE]") {
    call.done = true;
    return;
  }
  json::error_code failure;
  const auto value = json::parse(event, failure);
  const auto* object = failure ? nullptr : value.if_object();
  if (!object || object->contains("error")) {
    call.failure = object ? "error event" : "malformed event";
    return;
  }
  if (const auto* usage = object->if_contains("usage"); usage && usage->is_object()) {
    const auto& counts = usage->as_object();
    if (const auto* n = counts.if_contains("prompt_tokens"); n && n->is_int64())
      measured.prompt_tokens = n->as_int64();
    if (const auto* n = counts.if_contains("completion_tokens"); n && n->is_int64())
      measured.output_tokens = n->as_int64();
  }
  const auto* choices = object->if_contains("choices");
  if (!choices || !choices->is_array() || choices->as_array().empty()) return;
  call.chunk(now);
}

void OnlineLoad::end(const std::shared_ptr<Call>& call, std::string failure) {
  auto& measured = *call->measured;
  measured.failure = std::move(failure);
  if (measured.failure.empty() && (!call->done || !call->begun))
    measured.failure = "stream cut short";
  measured.ok = measured.failure.empty();
  --in_flight_;
  ++ended_;
  if (!measured.ok) ++failed_;
  last_end_ms_ = now_ms();
  if (!held_.empty()) {
    auto [index, body] = std::move(held_.front());
    held_.pop_front();
    send(index, std::move(body));
  }
  if (ended_ == total()) on_done_();
}

}  // namespace tandem::cli
