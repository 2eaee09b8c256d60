// The two kinds of load that `tandem bench` and `tandem replay` put on a service: online calls at
// their times, and offline work beside them. Both run on one event loop and report when they are
// done.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/client/api_calls.hpp"
#include "cli/client/http_client.hpp"
#include "cli/client/sse_parser.hpp"
#include "cli/client/statistics.hpp"
#include "sim/workload.hpp"

namespace tandem::cli {

/// What all requests of a run have in common, and how their prompts are made.
struct RequestShape {
  std::string model;
  std::int64_t vocab_size = 256;
  std::uint64_t repetition = 0;  ///< of made-up prompts; equal ones of two loads meet in the cache
  std::vector<std::string> prompts;  ///< text, in turn, instead of the workload's
  double temperature = 0;
  bool every_token = false;
  bool websocket = false;  ///< online: Responses events; needs `prompts`, which are text
  std::chrono::milliseconds timeout{600000};

  /// The body of workload.requests[index].
  [[nodiscard]] std::string body(const sim::Workload& workload, std::size_t index, bool stream,
                                 bool flex) const;
  /// The response.create event of the same request, over a WebSocket.
  [[nodiscard]] std::string event(const sim::Workload& workload, std::size_t index) const;
};

/// Sends each request at its time, whatever became of those before it: open loop. Only when
/// `max_in_flight` are unanswered does one wait, and the wait is measured as lateness.
class OnlineLoad {
 public:
  OnlineLoad(client::EventLoop& loop, client::Url url, RequestShape shape, sim::Workload workload,
             std::size_t max_in_flight);

  /// `on_done`: every request has ended.
  void start(std::function<void()> on_done);

  /// By arrival; requests that have not ended are not ok and have no failure.
  [[nodiscard]] const std::vector<client::Measured>& measured() const { return measured_; }
  [[nodiscard]] std::size_t total() const { return workload_.requests.size(); }
  [[nodiscard]] std::size_t ended() const { return ended_; }
  [[nodiscard]] std::size_t failed() const { return failed_; }
  [[nodiscard]] std::size_t in_flight() const { return in_flight_; }
  /// From the start to the last end so far.
  [[nodiscard]] double seconds() const { return last_end_ms_ / 1000; }

 private:
  struct Call;
  struct Socket;
  [[nodiscard]] double now_ms() const;
  void await_next();
  void arrive();
  void send(std::size_t index, std::string body);
  void send_over_http(const std::shared_ptr<Call>& call, std::string body);
  void send_over_websocket(const std::shared_ptr<Call>& call, std::string event);
  std::shared_ptr<Socket> open_socket();
  void take(Call& call, std::string_view event);
  void take_message(const std::shared_ptr<Socket>& socket, const std::string& message);
  void end(const std::shared_ptr<Call>& call, std::string failure);

  client::EventLoop& loop_;
  client::HttpClient http_;
  std::vector<std::shared_ptr<Socket>> sockets_;  ///< open or opening
  const RequestShape shape_;
  const sim::Workload workload_;
  const std::size_t max_in_flight_;
  std::vector<client::Measured> measured_;
  std::function<void()> on_done_;
  client::Clock::time_point start_;
  std::size_t next_ = 0;   ///< arrivals so far
  std::string next_body_;  ///< of arrival next_, made ahead of its time
  std::deque<std::pair<std::size_t, std::string>> held_;
  std::size_t in_flight_ = 0, ended_ = 0, failed_ = 0;
  double last_end_ms_ = 0;
};

/// What offline work came to.
struct OfflineResult {
  std::string mode;      ///< "batch" or "flex"
  std::string batch_id;  ///< batch mode
  std::string status;    ///< of the batch
  std::string failure;   ///< why it could not be run; empty if it could
  std::int64_t total = 0, completed = 0, failed = 0;
  std::int64_t prompt_tokens = 0, output_tokens = 0;
  double seconds = 0;  ///< from the creation to the end, or to now
  /// When the online load ended: what was done by then, and when that was.
  std::int64_t online_prompt_tokens = 0, online_output_tokens = 0, online_completed = 0;
  double online_seconds = 0;
  bool ended = false;
};

/// Offline work of either mode. Runs on the loop.
class OfflineLoad {
 public:
  virtual ~OfflineLoad() = default;
  virtual void start(std::function<void()> on_done) = 0;
  [[nodiscard]] virtual const OfflineResult& result() const = 0;
  /// Remembers what is done now as done beside the online load.
  virtual void online_ended() = 0;
};

/// One batch job: uploads the items, creates the job, looks at it until it ends.
std::unique_ptr<OfflineLoad> make_batch_load(client::EventLoop& loop, client::Url url,
                                             RequestShape shape, sim::Workload items);
/// Calls with service_tier flex, `concurrency` at a time.
std::unique_ptr<OfflineLoad> make_flex_load(client::EventLoop& loop, client::Url url,
                                            RequestShape shape, sim::Workload items,
                                            std::size_t concurrency);

}  // namespace tandem::cli
