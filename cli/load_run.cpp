// See load_run.hpp. Standard output is the table; progress goes to standard error.
#include "cli/load_run.hpp"

#include <csignal>
#include <cstdio>
#include <fstream>
#include <sys/resource.h>

#include "cli/client/progress.hpp"

namespace tandem::cli {
namespace {

constexpr auto progress_every = std::chrono::milliseconds(200);

/// As many as there are descriptors for, with room for everything else.
std::size_t bounded_concurrency(std::size_t wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  const auto room = limit.rlim_cur > 128 ? static_cast<std::size_t>(limit.rlim_cur) - 64 : 64;
  return std::min(wanted, room);
}

std::unique_ptr<OfflineLoad> make_offline(client::EventLoop& loop, const LoadPlan& plan) {
  if (plan.offline.requests.empty()) return nullptr;
  if (plan.offline_mode == "batch")
    return make_batch_load(loop, plan.url, plan.offline_shape, plan.offline);
  return make_flex_load(loop, plan.url, plan.offline_shape, plan.offline, plan.offline_concurrency);
}

/// Both loads until they have ended, or the run has, or Ctrl-C.
class Run {
 public:
  explicit Run(const LoadPlan& plan)
      : plan_(plan),
        online_(loop_, plan.url, plan.online_shape, plan.online,
                bounded_concurrency(plan.max_concurrency)),
        offline_(make_offline(loop_, plan)),
        progress_(plan.label) {}

  void run() {
    loop_.on_signals({SIGINT, SIGTERM}, [this](int) {
      interrupted_ = true;
      loop_.stop();
    });
    left_ = offline_ ? 2 : 1;
    if (offline_) offline_->start([this] { one_ended(); });
    online_.start([this] { online_ended(); });
    if (plan_.run_seconds > 0)
      loop_.after(std::chrono::duration_cast<client::Clock::duration>(
                      std::chrono::duration<double>(plan_.run_seconds)),
                  [this] { loop_.stop(); });
    show_progress();
    loop_.run();
    draw_progress();
  }

  void fill(LoadReport& report) const {
    report.interrupted = interrupted_;
    report.online_seconds = online_.seconds();
    // What never ended is neither completed nor failed.
    std::vector<client::Measured> ended;
    for (const auto& one : online_.measured())
      if (one.ok || !one.failure.empty()) ended.push_back(one);
    report.online_unfinished = online_.total() - ended.size();
    report.online = client::summarize(ended, report.objectives);
    if (offline_) report.offline = offline_->result();
  }

 private:
  void online_ended() {
    if (offline_ && online_.total() > 0) {
      offline_->online_ended();
      if (plan_.end_with_online) return loop_.stop();
    }
    one_ended();
  }

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

  const LoadPlan& plan_;
  client::EventLoop loop_;
  OnlineLoad online_;
  std::unique_ptr<OfflineLoad> offline_;
  client::Progress progress_;
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

Result<LoadPlan> begin_plan(std::string label, const LoadArguments& a) {
  LoadPlan plan;
  plan.label = std::move(label);
  const auto url = client::parse_url(a.url);
  if (!url) return url.error();
  plan.url = *url;
  auto key = client::read_api_key(a.api_key_file);
  if (!key) return key.error();
  plan.url.api_key = std::move(*key);
  const auto objectives = client::parse_objectives(a.goodput);
  if (!objectives) return objectives.error();
  plan.objectives = *objectives;
  for (auto* shape : {&plan.online_shape, &plan.offline_shape}) {
    shape->model = a.model;
    shape->vocab_size = a.vocab_size;
    shape->temperature = a.temperature;
    shape->every_token = a.every_token;
    shape->timeout = std::chrono::milliseconds(static_cast<std::int64_t>(a.timeout_seconds * 1000));
  }
  plan.online_shape.repetition = a.seed * 2;
  plan.offline_shape.repetition = a.seed * 2 + 1;
  plan.offline_mode = a.offline_mode;
  plan.offline_concurrency = a.offline_concurrency;
  plan.max_concurrency = a.max_concurrency;
  plan.seed = a.seed;
  plan.json = a.json;
  return plan;
}

Result<client::ModelInfo> ask_service(LoadPlan& plan) {
  const auto model = client::first_model(plan.url);
  if (!model) return model.error();
  for (auto* shape : {&plan.online_shape, &plan.offline_shape}) {
    if (shape->model.empty()) shape->model = model->id;
    if (shape->vocab_size == 0) shape->vocab_size = model->vocab_size > 0 ? model->vocab_size : 256;
  }
  return model;
}

int run_load(const LoadPlan& plan) {
  if (plan.online.requests.empty() && plan.offline.requests.empty()) {
    print_error("nothing to send, so nothing to measure: no request and no item is left of '" +
                plan.workload +
                "'; expected is a longer duration or window, a higher rate or more "
                "items");
    return exit_usage;
  }
  LoadReport report;
  report.url = "http://" + plan.url.authority() + plan.url.prefix;
  report.model = plan.online_shape.model;
  report.workload = plan.workload;
  report.notes = plan.notes;
  report.seed = plan.seed;
  report.objectives = plan.objectives;
  {
    Run run(plan);
    run.run();
    run.fill(report);
  }
  if (report.offline && !report.offline->ended && !report.offline->batch_id.empty())
    cancel_batch(plan.url, report.offline->batch_id);
  std::fputs(report_table(report).c_str(), stdout);
  if (!plan.json.empty() && !write_file(plan.json, report_json(report))) {
    print_error(plan.json.string() + ": cannot be written");
    return exit_failed;
  }
  if (report.interrupted) return 130;
  const bool offline_failed =
      report.offline && (!report.offline->failure.empty() || report.offline->failed > 0);
  return report.online.failed > 0 || offline_failed ? exit_failed : exit_ok;
}

}  // namespace tandem::cli
