// The offline half of load.hpp: a batch job, or flex calls.
#include <boost/json.hpp>

#include "cli/load.hpp"

namespace tandem::cli {
namespace json = boost::json;
namespace {

using client::Clock;

/// How exactly the end of a batch is seen: short jobs more closely.
constexpr auto poll_every_at_first = std::chrono::milliseconds(25);
constexpr auto poll_every = std::chrono::milliseconds(250);
constexpr double first_seconds = 5;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void keep_for_online(OfflineResult& result, Clock::time_point start) {
  result.online_prompt_tokens = result.prompt_tokens;
  result.online_output_tokens = result.output_tokens;
  result.online_completed = result.completed;
  result.online_seconds = result.ended ? result.seconds : seconds_since(start);
}

class BatchLoad final : public OfflineLoad {
 public:
  BatchLoad(client::EventLoop& loop, client::Url url, RequestShape shape, sim::Workload items)
      : loop_(loop), url_(url), http_(loop, std::move(url)) {
    result_.mode = "batch";
    result_.total = static_cast<std::int64_t>(items.requests.size());
    for (std::size_t i = 0; i < items.requests.size(); ++i)
      lines_ += "{\"custom_id\":\"item-" + std::to_string(i) +
                "\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":" +
                shape.body(items, i, false, false) + "}\n";
  }

  /// Uploading and creating block the loop: they come before the first online request.
  void start(std::function<void()> on_done) override {
    on_done_ = std::move(on_done);
    const auto file = client::upload_batch_file(url_, lines_);
    lines_ = {};
    if (!file) return fail(file.error().message);
    start_ = Clock::now();
    const auto batch = client::create_batch(url_, *file, "/v1/completions");
    if (!batch) return fail(batch.error().message);
    result_.batch_id = batch->id;
    poll_later();
  }
  [[nodiscard]] const OfflineResult& result() const override { return result_; }
  void online_ended() override { keep_for_online(result_, start_); }

 private:
  void fail(const std::string& reason) {
    result_.failure = reason;
    result_.ended = true;
    loop_.post([this] { on_done_(); });
  }

  void poll_later() {
    loop_.after(seconds_since(start_) < first_seconds ? poll_every_at_first : poll_every,
                [this] { poll(); });
  }

  void poll() {
    http_.send({.target = "/v1/batches/" + result_.batch_id, .timeout = std::chrono::seconds(60)},
               {}, [this](const Result<client::HttpResponse>& response) { take(response); });
  }

  void take(const Result<client::HttpResponse>& response) {
    if (!response) return fail(response.error().message);
    if (response->status != 200) return fail(client::error_message(*response));
    const auto batch = client::parse_batch(response->body);
    if (!batch) return fail(batch.error().message);
    result_.status = batch->status;
    result_.completed = batch->completed;
    result_.failed = batch->failed;
    result_.prompt_tokens = batch->input_tokens;
    result_.output_tokens = batch->output_tokens;
    result_.seconds = seconds_since(start_);
    if (!batch->ended()) return poll_later();
    result_.ended = true;
    if (batch->status == "failed") result_.failure = "the batch was refused: " + batch->errors;
    on_done_();
  }

  client::EventLoop& loop_;
  client::Url url_;
  client::HttpClient http_;
  std::string lines_;
  OfflineResult result_;
  Clock::time_point start_ = Clock::now();
  std::function<void()> on_done_;
};

class FlexLoad final : public OfflineLoad {
 public:
  FlexLoad(client::EventLoop& loop, client::Url url, RequestShape shape, sim::Workload items,
           std::size_t concurrency)
      : loop_(loop),
        http_(loop, std::move(url)),
        shape_(std::move(shape)),
        items_(std::move(items)),
        concurrency_(concurrency) {
    result_.mode = "flex";
    result_.total = static_cast<std::int64_t>(items_.requests.size());
  }

  void start(std::function<void()> on_done) override {
    on_done_ = std::move(on_done);
    start_ = Clock::now();
    for (std::size_t i = 0; i < concurrency_; ++i) send_next();
  }
  [[nodiscard]] const OfflineResult& result() const override { return result_; }
  void online_ended() override { keep_for_online(result_, start_); }

 private:
  void send_next() {
    if (next_ == items_.requests.size()) return;
    const auto index = next_++;
    client::HttpRequest request{.method = "POST", .target = "/v1/completions"};
    request.body = shape_.body(items_, index, false, true);
    request.timeout = shape_.timeout;
    http_.send(std::move(request), {},
               [this](const Result<client::HttpResponse>& response) { take(response); });
  }

  void take(const Result<client::HttpResponse>& response) {
    if (response && response->status == 200)
      count(response->body);
    else
      ++result_.failed;
    result_.seconds = seconds_since(start_);
    send_next();
    if (result_.completed + result_.failed < result_.total) return;
    result_.ended = true;
    result_.status = "completed";
    on_done_();
  }

  void count(const std::string& body) {
    ++result_.completed;
    json::error_code failure;
    const auto value = json::parse(body, failure);
    const auto* object = failure ? nullptr : value.if_object();
    const auto* usage = object ? object->if_contains("usage") : nullptr;
    if (!usage || !usage->is_object()) return;
    const auto number = [&](std::string_view name) {
      const auto* n = usage->as_object().if_contains(name);
      return n && n->is_int64() ? n->as_int64() : 0;
    };
    result_.prompt_tokens += number("prompt_tokens");
    result_.output_tokens += number("completion_tokens");
  }

  client::EventLoop& loop_;
  client::HttpClient http_;
  const RequestShape shape_;
  const sim::Workload items_;
  const std::size_t concurrency_;
  std::size_t next_ = 0;
  OfflineResult result_;
  Clock::time_point start_;
  std::function<void()> on_done_;
};

}  // namespace

std::unique_ptr<OfflineLoad> make_batch_load(client::EventLoop& loop, client::Url url,
                                             RequestShape shape, sim::Workload items) {
  return std::make_unique<BatchLoad>(loop, std::move(url), std::move(shape), std::move(items));
}

std::unique_ptr<OfflineLoad> make_flex_load(client::EventLoop& loop, client::Url url,
                                            RequestShape shape, sim::Workload items,
                                            std::size_t concurrency) {
  return std::make_unique<FlexLoad>(loop, std::move(url), std::move(shape), std::move(items),
                                    concurrency);
}

}  // namespace tandem::cli
