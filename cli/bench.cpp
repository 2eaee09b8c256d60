// `tandem bench`: makes the workload, runs it against a service, reports. Standard output is the
// table; progress goes to standard error.
#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <limits>
#include <sys/resource.h>

#include "cli/bench_report.hpp"
#include "cli/client/progress.hpp"
#include "cli/commands.hpp"

namespace tandem::cli {
namespace {

constexpr auto progress_every = std::chrono::milliseconds(200);

struct Plan {
  client::Url url;
  RequestShape shape;
  std::vector<client::Arrival> online, offline;
  client::Objectives objectives;
  std::string workload;
  std::size_t max_concurrency = 0;
};

Result<double> parse_rate(const std::string& text) {
  if (text == "inf") return std::numeric_limits<double>::infinity();
  double rate = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), rate);
  if (failure != std::errc{} || end != text.data() + text.size() || !(rate > 0) || rate > 1e6)
    return error(Errc::invalid_value,
                 "--rate: '" + text + "' is not allowed; expected requests per second, or inf",
                 "rate");
  return rate;
}

Result<std::vector<client::Arrival>> online_arrivals(const BenchArguments& a, Plan& plan) {
  if (!a.trace.empty()) {
    plan.workload = "trace " + a.trace.filename().string();
    return client::read_trace(a.trace, a.num_requests, a.trace_speed);
  }
  const auto rate = parse_rate(a.rate);
  if (!rate) return rate.error();
  const auto input = client::parse_length(a.input_tokens);
  if (!input) return input.error();
  const auto output = client::parse_length(a.output_tokens);
  if (!output) return output.error();
  plan.workload = "Poisson, " + a.rate + " requests/s, prompts of " +
                  (a.prompt_file.empty() ? a.input_tokens + " random tokens"
                                         : "lines of " + a.prompt_file.filename().string()) +
                  ", answers of " + a.output_tokens;
  // With a duration alone, its end is the bound.
  const auto count = a.duration > 0 && a.num_requests == BenchArguments().num_requests
                         ? std::size_t{1} << 22
                         : a.num_requests;
  if (a.duration > 0 && *rate > 1e6)
    return error(Errc::invalid_value, "--duration needs a finite --rate", "rate");
  return client::poisson_arrivals({*rate, count, a.duration, *input, *output, a.seed});
}

Result<std::vector<client::Arrival>> offline_items(const BenchArguments& a, Plan& plan) {
  const auto input = client::parse_length(a.offline_input_tokens);
  if (!input) return input.error();
  const auto output = client::parse_length(a.offline_output_tokens);
  if (!output) return output.error();
  if (a.offline_items > 0)
    plan.workload += "; offline " + std::to_string(a.offline_items) + " items of " +
                     a.offline_input_tokens + " + " + a.offline_output_tokens + " tokens";
  return client::poisson_arrivals(
      {std::numeric_limits<double>::infinity(), a.offline_items, 0, *input, *output, a.seed + 1});
}

/// As many as there are descriptors for, with room for everything else.
std::size_t bounded_concurrency(std::size_t wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  const auto room = limit.rlim_cur > 128 ? static_cast<std::size_t>(limit.rlim_cur) - 64 : 64;
  return std::min(wanted, room);
}

Result<Plan> make_plan(const BenchArguments& a) {
  Plan plan;
  const auto url = client::parse_url(a.url);
  if (!url) return url.error();
  plan.url = *url;
  const auto objectives = client::parse_objectives(a.goodput);
  if (!objectives) return objectives.error();
  plan.objectives = *objectives;
  auto online = online_arrivals(a, plan);
  if (!online) return online.error();
  plan.online = std::move(*online);
  auto offline = offline_items(a, plan);
  if (!offline) return offline.error();
  plan.offline = std::move(*offline);
  if (!a.prompt_file.empty()) {
    auto prompts = client::read_prompts(a.prompt_file);
    if (!prompts) return prompts.error();
    plan.shape.prompts = std::move(*prompts);
  }
  plan.shape.model = a.model;
  plan.shape.seed = a.seed;
  plan.shape.vocab_size = a.vocab_size;
  plan.shape.prefix_tokens = a.prefix_tokens;
  plan.shape.temperature = a.temperature;
  plan.shape.every_token = a.every_token;
  plan.shape.timeout =
      std::chrono::milliseconds(static_cast<std::int64_t>(a.timeout_seconds * 1000));
  plan.max_concurrency = bounded_concurrency(a.max_concurrency);
  return plan;
}

/// Fills in what the service knows better.
Result<void> ask_service(Plan& plan) {
  if (!plan.shape.model.empty() && plan.shape.vocab_size > 0) return {};
  const auto model = client::first_model(plan.url);
  if (!model) return model.error();
  if (plan.shape.model.empty()) plan.shape.model = model->id;
  if (plan.shape.vocab_size == 0)
    plan.shape.vocab_size = model->vocab_size > 0 ? model->vocab_size : 256;
  return {};
}

/// One run: both loads on one loop, a progress bar, and Ctrl-C for what has ended so far.
class Run {
 public:
  Run(const Plan& plan, const BenchArguments& a)
      : online_(loop_, plan.url, plan.shape, plan.online, plan.max_concurrency) {
    if (plan.offline.empty()) return;
    offline_ =
        a.offline_mode == "batch"
            ? make_batch_load(loop_, plan.url, plan.shape, plan.offline)
            : make_flex_load(loop_, plan.url, plan.shape, plan.offline, a.offline_concurrency);
  }

  void run() {
    loop_.on_signals({SIGINT, SIGTERM}, [this](int) {
      interrupted_ = true;
      loop_.stop();
    });
    left_ = offline_ ? 2 : 1;
    if (offline_) offline_->start([this] { one_ended(); });
    online_.start([this] {
      if (offline_ && online_.total() > 0) offline_->online_ended();
      one_ended();
    });
    show_progress();
    loop_.run();
    draw_progress();
  }

  void fill(BenchReport& report) const {
    report.interrupted = interrupted_;
    report.online_seconds = online_.seconds();
    // What never ended is neither completed nor failed.
    std::vector<client::Measured> ended;
    for (const auto& one : online_.measured())
      if (one.ok || !one.failure.empty()) ended.push_back(one);
    report.online = client::summarize(ended, report.objectives);
    if (offline_) report.offline = offline_->result();
  }

 private:
  void one_ended() {
    if (--left_ == 0) loop_.stop();
  }

  void show_progress() {
    draw_progress();
    loop_.after(progress_every, [this] { show_progress(); });
  }

  void draw_progress() {
    auto note = std::to_string(online_.in_flight()) + " in flight, " +
                std::to_string(online_.failed()) + " failed";
    auto done = static_cast<std::int64_t>(online_.ended());
    auto total = static_cast<std::int64_t>(online_.total());
    if (offline_) {
      const auto& result = offline_->result();
      note += ", offline " + std::to_string(result.completed + result.failed) + "/" +
              std::to_string(result.total);
      done += result.completed + result.failed;
      total += result.total;
    }
    progress_.update(done, total, note);
  }

  client::EventLoop loop_;
  OnlineLoad online_;
  std::unique_ptr<OfflineLoad> offline_;
  client::Progress progress_{"bench"};
  int left_ = 0;
  bool interrupted_ = false;
};

bool write_file(const std::filesystem::path& file, const std::string& text) {
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out << text;
  return static_cast<bool>(out.flush());
}

/// A batch that nobody waits for any more need not run.
void cancel_batch(const client::Url& url, const std::string& id) {
  const auto answer = client::call(url, {.method = "POST",
                                         .target = "/v1/batches/" + id + "/cancel",
                                         .timeout = std::chrono::seconds(10)});
  std::fprintf(stderr, "%s %s\n",
               answer && answer->status == 200 ? "cancelled" : "left running:", id.c_str());
}

}  // namespace

int bench(const BenchArguments& arguments) {
  auto plan = make_plan(arguments);
  if (!plan) {
    print_error(plan.error().message);
    return exit_usage;
  }
  if (const auto asked = ask_service(*plan); !asked) {
    print_error(asked.error().message);
    return exit_failed;
  }
  BenchReport report;
  report.url = "http://" + plan->url.authority() + plan->url.prefix;
  report.model = plan->shape.model;
  report.workload = plan->workload;
  report.seed = arguments.seed;
  report.objectives = plan->objectives;
  {
    Run run(*plan, arguments);
    run.run();
    run.fill(report);
  }
  if (report.offline && !report.offline->ended && !report.offline->batch_id.empty())
    cancel_batch(plan->url, report.offline->batch_id);
  std::fputs(report_table(report).c_str(), stdout);
  if (!arguments.json.empty() && !write_file(arguments.json, report_json(report))) {
    print_error(arguments.json.string() + ": cannot be written");
    return exit_failed;
  }
  if (report.interrupted) return 130;
  const bool offline_failed =
      report.offline && (!report.offline->failure.empty() || report.offline->failed > 0);
  return report.online.failed > 0 || offline_failed ? exit_failed : exit_ok;
}

}  // namespace tandem::cli
