// What the host adds to an iteration: from the moment in which the executor hands over a report to
// the moment in which the launch that this report caused lies in its mailbox again, through the
// real actors on real threads, with a device that computes nothing. The executor keeps two plans,
// so in service this time passes while the device works on the other one; "idle gap" is what the
// device would see of it: from handing over report N until plan N+1 can start.
// Each way wakes a sleeping thread twice; what two wakes alone take is measured beside it. "The
// scheduler's own" is the part between: from the report in its hands to the launch sent.
//   bench_engine_loop [iterations] [device microseconds per iteration]
#include <algorithm>
#include <atomic>
#include <caf/actor_system_config.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <future>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "actors/runtime.hpp"
#include "actors/spawn.hpp"

using namespace tandem;
using WallClock = std::chrono::steady_clock;

namespace {

struct Measurement {
  std::vector<double> report_to_launch_us;
  std::vector<double> idle_gap_us;
  std::size_t wanted = 0;       ///< iterations to measure
  std::uint32_t sequences = 0;  ///< rows of a full decode iteration
  std::string host_cost{};      ///< the scheduler's own part, from its metrics
  std::promise<void> finished{};
};

struct NullDevice {
  static inline const char* name = "null_device";
  std::shared_ptr<Measurement> measured;
  std::deque<std::pair<PlanPtr, caf::typed_response_promise<msg::IterationFinished>>> jobs;
  std::deque<WallClock::time_point> reported;  ///< of reports whose launch has not come back yet
  WallClock::time_point last_report{};
  bool counts = false;  ///< the front plan is a full decode iteration that is measured
};
using Self = Executor::stateful_pointer<NullDevice>;

double us_since(WallClock::time_point start) {
  return std::chrono::duration<double, std::micro>(WallClock::now() - start).count();
}

/// The device is busy with the front plan until its next tick; nothing blocks, so a launch is seen
/// at once.
void start_front(NullDevice& state) {
  if (state.jobs.empty()) return;
  auto& measured = *state.measured;
  const auto& plan = *state.jobs.front().first;
  state.counts =
      plan.num_rows() == measured.sequences && measured.idle_gap_us.size() < measured.wanted;
  if (state.counts) measured.idle_gap_us.push_back(us_since(state.last_report));
}

void finish_front(NullDevice& state) {
  if (state.jobs.empty()) return;
  auto& measured = *state.measured;
  auto [plan, promise] = std::move(state.jobs.front());
  state.jobs.pop_front();
  IterationReport report{.id = plan->id};
  for (std::uint32_t i = 0; i < plan->slices.size(); ++i)
    if (plan->slices[i].samples) report.samples.push_back({.slice = i, .token = 7});
  state.last_report = WallClock::now();
  state.reported.push_back(state.last_report);
  promise.deliver(
      msg::IterationFinished{std::make_shared<const IterationReport>(std::move(report))});
  const bool last = state.counts && measured.idle_gap_us.size() == measured.wanted;
  start_front(state);
  if (last) measured.finished.set_value();
}

Executor::behavior_type null_device(Self self, std::shared_ptr<Measurement> measured) {
  self->state.measured = std::move(measured);
  return {
      [self](const msg::RunIteration& run) {
        auto& state = self->state;
        // Launches that filled the pipeline answer no report; from then on each answers one.
        if (!state.reported.empty()) {
          if (run.plan->num_rows() == state.measured->sequences)
            state.measured->report_to_launch_us.push_back(us_since(state.reported.front()));
          state.reported.pop_front();
        }
        auto promise = self->make_response_promise<msg::IterationFinished>();
        state.jobs.emplace_back(run.plan, promise);
        if (state.jobs.size() == 1) start_front(state);
        return promise;
      },
      [](const msg::Preempt&) {},
      [self](const msg::SegmentDone&) { finish_front(self->state); },
  };
}

/// The device's clockwork: whatever it works on is done at the next tick. It runs beside the actors
/// as a device does, and costs them no thread to wake when a plan starts.
class Ticker {
 public:
  Ticker(Executor device, std::chrono::microseconds period)
      : thread_([this, device = std::move(device), period] {
          for (auto next = WallClock::now(); !stop_; next += period) {
            std::this_thread::sleep_until(next);
            caf::anon_send(device, msg::SegmentDone{});
          }
        }) {}
  ~Ticker() {
    stop_ = true;
    thread_.join();
  }
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

TokenSink::behavior_type discard(TokenSink::pointer, int) {
  return {[](const msg::TokensEmitted&) {}};
}

RequestIntake::behavior_type ignore_ends(RequestIntake::pointer, int) {
  return {[](const msg::SubmitTo&) { return msg::Reply<msg::Accepted>{msg::Accepted{}}; },
          [](const msg::AskText&) { return msg::Reply<msg::TextBody>{msg::TextBody{}}; },
          [](const msg::Cancel&) {},
          [](const msg::Abandon&) {},
          [](const msg::RequestsEnded&) {},
          [](const msg::Drain&) {}};
}

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const auto at = static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

using Echo = Protocol<msg::Reply<msg::Nothing>(msg::Drain)>;

Echo::behavior_type echo(Echo::pointer, int) {
  return {[](const msg::Drain&) { return msg::Reply<msg::Nothing>{msg::Nothing{}}; }};
}

/// The way from a sleeping thread to an actor on the pool's threads and back, at the iterations'
/// pace: two wakes and nothing else. Median, us.
double two_wakes_us(std::size_t iterations, std::chrono::microseconds pace) {
  caf::actor_system_config config;
  configure(config, 2);
  caf::actor_system system(config);
  const auto actor = system.spawn(echo, 0);
  caf::scoped_actor self(system);
  std::vector<double> us;
  for (std::size_t i = 0; i < iterations; ++i) {
    std::this_thread::sleep_for(pace);
    const auto start = WallClock::now();
    self->request(actor, caf::infinite, msg::Drain{})
        .receive([&](const msg::Reply<msg::Nothing>&) { us.push_back(us_since(start)); },
                 [](const caf::error&) {});
  }
  caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
  return quantile(std::move(us), 0.5);
}

/// "p50 <= 30, p99 <= 75, 97.1 % <= 50" of tandem_scheduler_host_seconds, in us.
std::string host_cost(const std::string& exposition) {
  std::vector<std::pair<double, double>> buckets;  // upper bound in us, iterations up to it
  std::istringstream lines(exposition);
  for (std::string line; std::getline(lines, line);) {
    double bound = 0, count = 0;
    if (std::sscanf(line.c_str(), "tandem_scheduler_host_seconds_bucket{le=\"%lf\"} %lf", &bound,
                    &count) == 2)
      buckets.emplace_back(bound * 1e6, count);
  }
  const double total = buckets.empty() ? 0 : buckets.back().second;
  const auto bound_of = [&](double share) {
    for (const auto& [bound, count] : buckets)
      if (count >= share * total) return bound;
    return 0.0;
  };
  double within = 0;
  for (const auto& [bound, count] : buckets)
    if (bound < 50.5) within = count;
  char text[96];
  std::snprintf(text, sizeof text, "p50 <= %.0f, p99 <= %.0f, %.1f %% <= 50", bound_of(0.5),
                bound_of(0.99), total > 0 ? 100 * within / total : 0.0);
  return text;
}

Request decode_request(std::uint64_t id, std::int64_t tokens) {
  Request request{.id = RequestId(id),
                  .prompt = std::vector<TokenId>(1024, static_cast<TokenId>(id + 2))};
  request.stop.max_tokens = Tokens(tokens);
  return request;
}

/// Lets `sequences` requests of 1,024 prompt tokens decode until `iterations` full decode
/// iterations ran.
Measurement measure(std::uint32_t sequences, std::size_t iterations,
                    std::chrono::microseconds busy) {
  caf::actor_system_config config;
  configure(config, 2);
  caf::actor_system system(config);
  const auto measured = std::make_shared<Measurement>();
  measured->wanted = iterations;
  measured->sequences = sequences;
  const auto tokens = static_cast<std::int64_t>(iterations) * 2 + 2000;
  policy::SchedulerOptions options{.max_iteration_tokens = Tokens(2048),
                                   .max_sequences = sequences};
  options.kv_blocks = Blocks(blocks_for(Tokens(tokens + 1024)).value() * sequences);
  const auto metrics = std::make_shared<Metrics>();
  auto finished = measured->finished.get_future();
  auto executor = system.spawn<caf::detached>(null_device, measured);
  auto scheduler = spawn_scheduler(system, options, policy::make_online_first(), executor, metrics,
                                   std::make_shared<EngineStatus>());
  auto predictor = spawn_latency_predictor(system, {}, metrics);
  auto profiler = spawn_slo_profiler(system, {}, metrics);
  auto sink = system.spawn(discard, 0);
  auto intake = system.spawn(ignore_ends, 0);
  caf::anon_send(scheduler, msg::AttachObservers{predictor, profiler, intake});
  for (std::uint64_t id = 1; id <= sequences; ++id)
    caf::anon_send(scheduler,
                   msg::AdmitTo{std::make_shared<const Request>(decode_request(id, tokens)), sink});
  {
    const Ticker ticker(executor, busy);
    finished.wait();
  }
  const auto exit = [](const auto& actor) {
    caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
  };
  exit(scheduler), exit(executor), exit(predictor), exit(profiler), exit(sink), exit(intake);
  caf::scoped_actor self(system);
  self->wait_for(scheduler, executor);
  return {.report_to_launch_us = measured->report_to_launch_us,
          .idle_gap_us = measured->idle_gap_us,
          .host_cost = host_cost(metrics->text())};
}

}  // namespace

int main(int argc, char** argv) {
  const auto iterations = static_cast<std::size_t>(argc > 1 ? std::atoll(argv[1]) : 3000);
  const std::chrono::microseconds busy(argc > 2 ? std::atoll(argv[2]) : 1000);
  std::printf(
      "null device, %lld us an iteration, %zu iterations of pure decode, context from 1,024 tokens "
      "up\n",
      static_cast<long long>(busy.count()), iterations);
  const double wakes = two_wakes_us(iterations, busy);
  std::printf("two thread wakes alone: %.1f us p50\n", wakes);
  std::printf("%-10s  %34s  %28s  %28s\n", "sequences", "scheduler's own us",
              "with wakes us p50/p99", "device idle gap us p50/p99");
  for (const std::uint32_t sequences : {64U, 256U}) {
    const auto m = measure(sequences, iterations, busy);
    std::printf("%-10u  %34s  %14.1f / %11.1f  %14.1f / %11.1f\n", sequences, m.host_cost.c_str(),
                quantile(m.report_to_launch_us, 0.5), quantile(m.report_to_launch_us, 0.99),
                quantile(m.idle_gap_us, 0.5), quantile(m.idle_gap_us, 0.99));
  }
}
