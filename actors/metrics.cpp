// The Prometheus families behind metrics.hpp.
#include "actors/metrics.hpp"

#include <cmath>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace tandem {
namespace {

using Labels = std::map<std::string, std::string>;
using Buckets = prometheus::Histogram::BucketBoundaries;

/// vLLM's boundaries, with more of them below 50 ms: objectives of 30 to 40 ms must be visible.
const Buckets ttft_buckets{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                           1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
const Buckets gap_buckets{0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035,
                          0.04,  0.045,  0.05,  0.075,  0.1,  0.15,  0.2,  0.3,   0.4,  0.5,
                          0.75,  1,      2.5,   5,      10,   20,    40,   80};
const Buckets encode_buckets{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5};
const Buckets e2e_buckets{0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                          30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};
const Buckets iteration_buckets{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
                                0.05,   0.1,   0.25,   0.5,   1,    2.5};
const Buckets count_buckets{1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
const Buckets host_buckets{5e-6, 1e-5,   1.5e-5, 2e-5,   2.5e-5, 3e-5, 3.5e-5, 4e-5, 4.5e-5, 5e-5,
                           6e-5, 7.5e-5, 1e-4,   1.5e-4, 2e-4,   3e-4, 5e-4,   1e-3, 1e-2};
const Buckets choice_buckets{1, 2, 5, 10, 20, 50, 100};
const Buckets error_buckets{0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28};

constexpr std::array classes{RequestClass::online, RequestClass::offline};
constexpr std::array reasons{FinishReason::stop, FinishReason::length, FinishReason::cancelled,
                             FinishReason::failed};

template <class Metric>
using PerClass = std::array<Metric*, 2>;

std::size_t index(RequestClass c) { return static_cast<std::size_t>(c); }

/// One metric per class, made by `make(labels)`.
template <class Make>
auto per_class(Make make) {
  std::array<decltype(&make(Labels{})), 2> made{};
  for (auto c : classes) made[index(c)] = &make(Labels{{"class", std::string(to_string(c))}});
  return made;
}

}  // namespace

struct Metrics::State {
  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();

  prometheus::Counter& counter(const std::string& name, const std::string& help,
                               const Labels& labels = {}) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(*registry).Add(labels);
  }
  prometheus::Gauge& gauge(const std::string& name, const std::string& help,
                           const Labels& labels = {}) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(*registry).Add(labels);
  }
  prometheus::Histogram& histogram(const std::string& name, const std::string& help,
                                   const Buckets& buckets, const Labels& labels = {}) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(*registry).Add(labels,
                                                                                      buckets);
  }

  PerClass<prometheus::Histogram> histograms(const std::string& name, const std::string& help,
                                             const Buckets& buckets) {
    return per_class([&](const Labels& l) -> auto& { return histogram(name, help, buckets, l); });
  }

  PerClass<prometheus::Gauge> running = per_class([this](const Labels& l) -> auto& {
    return gauge("tandem_num_requests_running", "Requests that hold a slot on the device.", l);
  });
  PerClass<prometheus::Gauge> waiting = per_class([this](const Labels& l) -> auto& {
    return gauge("tandem_num_requests_waiting", "Requests in the engine that hold no slot.", l);
  });
  prometheus::Gauge& kv_usage =
      gauge("tandem_kv_cache_usage_perc", "Share of KV blocks that requests hold, 0 to 1.");
  prometheus::Gauge& kv_total = gauge("tandem_kv_blocks", "KV blocks of the device.");
  prometheus::Gauge& kv_free =
      gauge("tandem_kv_blocks_free", "KV blocks free or evictable; all of them when idle.");
  prometheus::Gauge& kv_block_tokens_gauge =
      gauge("tandem_kv_block_tokens", "Tokens per KV block.");
  prometheus::Counter& preemptions =
      counter("tandem_num_preemptions_total", "Sequences whose blocks were taken back.");
  prometheus::Counter& recomputed =
      counter("tandem_recomputed_tokens_total", "KV positions thrown away by preemption.");
  prometheus::Counter& prefix_queries =
      counter("tandem_prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.");
  prometheus::Counter& prefix_hits =
      counter("tandem_prefix_cache_hits_total", "Prompt tokens found in the prefix cache.");
  PerClass<prometheus::Counter> prompt_tokens = per_class([this](const Labels& l) -> auto& {
    return counter("tandem_prompt_tokens_total", "Prompt tokens of admitted requests.", l);
  });
  PerClass<prometheus::Counter> generation_tokens = per_class([this](const Labels& l) -> auto& {
    return counter("tandem_generation_tokens_total", "Tokens generated.", l);
  });
  PerClass<prometheus::Counter> iteration_rows = per_class([this](const Labels& l) -> auto& {
    return counter("tandem_computed_tokens_total", "Tokens computed in finished iterations.", l);
  });
  PerClass<prometheus::Histogram> ttft = histograms(
      "tandem_time_to_first_token_seconds", "From intake to the first token.", ttft_buckets);
  PerClass<prometheus::Histogram> gaps = histograms(
      "tandem_inter_token_latency_seconds", "Every gap between two tokens, pooled.", gap_buckets);
  prometheus::Gauge& calls_encoding =
      gauge("tandem_num_calls_encoding", "Calls that wait for an encoder or are with one.");
  PerClass<prometheus::Histogram> encode = histograms(
      "tandem_request_encode_seconds",
      "From intake to the end of tokenization, of calls for the encoders.", encode_buckets);
  PerClass<prometheus::Histogram> e2e =
      histograms("tandem_e2e_request_latency_seconds", "From intake to the end.", e2e_buckets);
  PerClass<prometheus::Histogram> queue_time = histograms(
      "tandem_request_queue_time_seconds", "From intake to the first iteration.", e2e_buckets);
  PerClass<prometheus::Histogram> prefill_time =
      histograms("tandem_request_prefill_time_seconds",
                 "From the first iteration to the first token.", e2e_buckets);
  PerClass<prometheus::Histogram> decode_time = histograms(
      "tandem_request_decode_time_seconds", "From the first token to the end.", e2e_buckets);
  PerClass<prometheus::Histogram> inference_time = histograms(
      "tandem_request_inference_time_seconds", "From the first iteration to the end.", e2e_buckets);
  PerClass<prometheus::Histogram> time_per_token = histograms(
      "tandem_request_time_per_output_token_seconds",
      "Mean gap between the tokens of a request, of those with two or more.", gap_buckets);
  PerClass<prometheus::Histogram> generation_lengths = histograms(
      "tandem_request_generation_tokens", "Tokens generated per request.", count_buckets);
  PerClass<prometheus::Histogram> prompt_lengths =
      histograms("tandem_request_prompt_tokens", "Prompt tokens per request.", count_buckets);
  prometheus::Histogram& params_n =
      histogram("tandem_request_params_n", "Choices asked for per call.", choice_buckets);
  prometheus::Histogram& params_max_tokens = histogram(
      "tandem_request_params_max_tokens", "max_tokens of calls that give one.", count_buckets);
  prometheus::Counter& ignored = counter("tandem_ignored_fields_total",
                                         "Fields of calls that are not known and were ignored.");
  prometheus::Histogram& iteration_seconds =
      histogram("tandem_iteration_seconds",
                "Time of finished iterations, from start, or the end of the one before, to end.",
                iteration_buckets);
  prometheus::Histogram& iteration_tokens = histogram(
      "tandem_iteration_tokens", "Tokens computed per finished iteration.", count_buckets);
  prometheus::Histogram& host_seconds =
      histogram("tandem_scheduler_host_seconds",
                "From a report in the scheduler's hands to the launch it caused.", host_buckets);
  prometheus::Counter& iterations_failed =
      counter("tandem_iterations_unfinished_total", "Iterations that were aborted or failed.");
  prometheus::Histogram& prediction = histogram(
      "tandem_prediction_error", "Relative error of the predicted iteration time.", error_buckets);
  prometheus::Gauge& model_mape = gauge(
      "tandem_latency_model_error", "Mean relative error that the latency model is known to have.");
  prometheus::Gauge& model_margin =
      gauge("tandem_latency_model_margin",
            "Relative time on top of predictions that 19 of 20 iterations stay below.");
  prometheus::Gauge& model_drift = gauge(
      "tandem_latency_drift", "1 while iterations take other times than the model was fitted to.");
  prometheus::Gauge& budget = gauge("tandem_iteration_budget_seconds",
                                    "What an iteration with offline work may take; 0: unlimited.");
  std::array<std::array<prometheus::Counter*, reasons.size()>, 2> ended = [this] {
    std::array<std::array<prometheus::Counter*, reasons.size()>, 2> made{};
    for (auto c : classes)
      for (auto r : reasons)
        made[index(c)][static_cast<std::size_t>(r)] = &counter(
            "tandem_request_success_total", "Ended requests by reason.",
            {{"class", std::string(to_string(c))}, {"finished_reason", std::string(to_string(r))}});
    return made;
  }();
  std::array<prometheus::Counter*, 3> sheds = [this] {
    std::array<prometheus::Counter*, 3> made{};
    const std::array<const char*, 3> names{"overloaded", "draining", "invalid"};
    for (std::size_t i = 0; i < names.size(); ++i)
      made[i] = &counter("tandem_shed_total", "Calls refused at intake.", {{"reason", names[i]}});
    return made;
  }();
  prometheus::Counter& items_completed = counter(
      "tandem_batch_items_total", "Items of batch jobs that ended.", {{"state", "completed"}});
  prometheus::Counter& items_failed =
      counter("tandem_batch_items_total", "Items of batch jobs that ended.", {{"state", "failed"}});
  prometheus::Counter& fenced_items =
      counter("tandem_fenced_total", "Results refused because their claim had been superseded.");
  prometheus::Counter& restarts =
      counter("tandem_observer_restarts_total", "Respawns of the predictor and the profiler.");
  policy::SchedulerStats last;  ///< touched by the scheduler actor alone

  static void advance(prometheus::Counter& to, std::uint64_t now, std::uint64_t before) {
    if (now > before) to.Increment(static_cast<double>(now - before));
  }
};

Metrics::Metrics() : state_(std::make_unique<State>()) {
  state_->kv_block_tokens_gauge.Set(static_cast<double>(kv_block_tokens));
}
Metrics::~Metrics() = default;

std::string Metrics::text() const {
  return prometheus::TextSerializer().Serialize(state_->registry->Collect());
}

void Metrics::set_build_info(const std::string& version, const std::string& device,
                             const std::string& sqlite) {
  state_
      ->gauge("tandem_build_info", "Always 1.",
              {{"version", version}, {"device", device}, {"sqlite", sqlite}})
      .Set(1);
}

void Metrics::set_model(const std::string& model, Tokens max_context) {
  state_->gauge("tandem_max_context_tokens", "Longest prompt plus output.", {{"model", model}})
      .Set(static_cast<double>(max_context.value()));
}

void Metrics::scheduler(const policy::SchedulerStats& stats) {
  auto& s = *state_;
  s.running[0]->Set(static_cast<double>(stats.online_running));
  s.running[1]->Set(static_cast<double>(stats.offline_running));
  s.waiting[0]->Set(static_cast<double>(stats.online_waiting));
  s.waiting[1]->Set(static_cast<double>(stats.offline_waiting));
  const auto total = static_cast<double>(stats.kv_total.value());
  s.kv_total.Set(total);
  s.kv_free.Set(static_cast<double>(stats.kv_available.value()));
  s.kv_usage.Set(total > 0 ? static_cast<double>(stats.kv_held.value()) / total : 0);
  State::advance(s.preemptions, stats.preemptions, s.last.preemptions);
  State::advance(s.recomputed, stats.recomputed_tokens, s.last.recomputed_tokens);
  State::advance(s.prefix_queries, stats.prefix_queries, s.last.prefix_queries);
  State::advance(s.prefix_hits, stats.prefix_hits, s.last.prefix_hits);
  s.last = stats;
}

void Metrics::iteration(const Plan& plan, const IterationReport& report) {
  auto& s = *state_;
  if (report.outcome != Outcome::done) {
    s.iterations_failed.Increment();
    return;
  }
  std::array<std::uint32_t, 2> rows{};
  for (const auto& slice : plan.slices) rows[index(slice.request_class)] += slice.num_tokens;
  for (auto c : classes)
    if (rows[index(c)] > 0) s.iteration_rows[index(c)]->Increment(rows[index(c)]);
  s.iteration_tokens.Observe(rows[0] + rows[1]);
  s.iteration_seconds.Observe(to_seconds(report.elapsed));
}

void Metrics::host_cost(Duration cost) { state_->host_seconds.Observe(to_seconds(cost)); }
void Metrics::prediction_error(double relative) { state_->prediction.Observe(std::abs(relative)); }

void Metrics::latency_model(const policy::LatencyModel& model, bool drifting) {
  state_->model_mape.Set(model.error().mape);
  state_->model_margin.Set(model.error().margin);
  state_->model_drift.Set(drifting ? 1 : 0);
}

void Metrics::iteration_budget(double ms) { state_->budget.Set(ms / 1000); }

void Metrics::admitted(RequestClass c, Tokens prompt) {
  state_->prompt_tokens[index(c)]->Increment(static_cast<double>(prompt.value()));
  state_->prompt_lengths[index(c)]->Observe(static_cast<double>(prompt.value()));
}
void Metrics::encoding(std::size_t calls) {
  state_->calls_encoding.Set(static_cast<double>(calls));
}
void Metrics::encoded(RequestClass c, Duration d) {
  state_->encode[index(c)]->Observe(to_seconds(d));
}
void Metrics::call_accepted(std::uint32_t choices, Tokens max_tokens) {
  state_->params_n.Observe(choices);
  if (!max_tokens.is_zero())
    state_->params_max_tokens.Observe(static_cast<double>(max_tokens.value()));
}
void Metrics::fields_ignored(std::uint32_t fields) {
  if (fields > 0) state_->ignored.Increment(fields);
}
void Metrics::first_token(RequestClass c, Duration d) {
  state_->ttft[index(c)]->Observe(to_seconds(d));
}
void Metrics::token_gap(RequestClass c, Duration d) {
  state_->gaps[index(c)]->Observe(to_seconds(d));
}
void Metrics::generated(RequestClass c, std::uint64_t tokens) {
  state_->generation_tokens[index(c)]->Increment(static_cast<double>(tokens));
}
void Metrics::finished(const policy::RequestTimes& times, FinishReason reason, TimePoint at) {
  const auto c = index(times.request_class);
  const auto observe = [c](const PerClass<prometheus::Histogram>& histograms, Duration duration) {
    histograms[c]->Observe(to_seconds(duration));
  };
  state_->ended[c][static_cast<std::size_t>(reason)]->Increment();
  observe(state_->e2e, at - times.arrival);
  if (!times.launched) return;
  observe(state_->queue_time, *times.launched - times.arrival);
  if (!times.first_token) return;
  const auto decode_time = times.last_token - *times.first_token;
  observe(state_->prefill_time, *times.first_token - *times.launched);
  observe(state_->decode_time, decode_time);
  observe(state_->inference_time, times.last_token - *times.launched);
  state_->generation_lengths[c]->Observe(static_cast<double>(times.num_tokens));
  if (times.num_tokens > 1)
    observe(state_->time_per_token, decode_time / static_cast<Duration::rep>(times.num_tokens - 1));
}
void Metrics::shed(Shed reason) { state_->sheds[static_cast<std::size_t>(reason)]->Increment(); }
void Metrics::batch_item(bool succeeded) {
  (succeeded ? state_->items_completed : state_->items_failed).Increment();
}
void Metrics::fenced(std::uint64_t items) {
  state_->fenced_items.Increment(static_cast<double>(items));
}
void Metrics::observer_restarted() { state_->restarts.Increment(); }

}  // namespace tandem
