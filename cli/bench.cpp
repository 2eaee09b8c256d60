// `tandem bench`: generated load, or a trace as it is, against a service.
#include <charconv>
#include <limits>

#include "cli/client/length.hpp"
#include "cli/commands.hpp"
#include "cli/load_run.hpp"
#include "sim/prompt_file.hpp"
#include "sim/synthetic.hpp"
#include "sim/trace_reader.hpp"
#include "sim/workload_scaling.hpp"

namespace tandem::cli {
namespace {

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

Result<sim::LengthRange> parse_range(const std::string& text) {
  const auto length = client::parse_length(text);
  if (!length) return length.error();
  return sim::LengthRange{Tokens(length->least), Tokens(length->most)};
}

Result<sim::Workload> read_trace(const BenchArguments& a, LoadPlan& plan) {
  plan.workload = "trace " + a.trace.filename().string();
  auto trace = sim::read_trace(a.trace, {.max_requests = a.num_requests});
  if (!trace) return trace.error();
  plan.notes = std::move(trace->notes);
  return sim::scaled(std::move(trace->workload), {.speed = a.trace_speed}, plan.notes);
}

Result<sim::Workload> generated(const BenchArguments& a, LoadPlan& plan) {
  const auto rate = parse_rate(a.rate);
  if (!rate) return rate.error();
  const auto input = parse_range(a.input_tokens);
  if (!input) return input.error();
  const auto output = parse_range(a.output_tokens);
  if (!output) return output.error();
  plan.workload = "Poisson, " + a.rate + " requests/s, prompts of " +
                  (a.prompt_file.empty() ? a.input_tokens + " random tokens"
                                         : "lines of " + a.prompt_file.filename().string()) +
                  ", answers of " + a.output_tokens;
  if (a.num_requests == 0) return sim::Workload{};
  if (*rate > 1e6) {
    if (a.duration > 0)
      return error(Errc::invalid_value, "--duration needs a finite --rate", "rate");
    auto burst = sim::synthetic_offline(a.num_requests, *input, *output, a.seed);
    for (auto& request : burst.requests) request.request_class = RequestClass::online;
    return burst;
  }
  // With a duration alone, its end is the bound.
  const auto count = a.duration > 0 && a.num_requests == BenchArguments().num_requests
                         ? sim::most_requests
                         : a.num_requests;
  return sim::synthetic_online(
      {.rate = *rate,
       .duration = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(a.duration)),
       .count = count,
       .prompt = *input,
       .output = *output,
       .seed = a.seed});
}

/// What all prompts share is one prefix id that all have.
void share_prefix(const BenchArguments& a, sim::Workload& workload) {
  if (a.prefix_tokens == 0) return;
  workload.prefix_id_tokens = Tokens(a.prefix_tokens);
  for (auto& request : workload.requests) request.prefix_ids = {a.seed};
}

Result<sim::Workload> online_workload(const BenchArguments& a, LoadPlan& plan) {
  auto online = a.trace.empty() ? generated(a, plan) : read_trace(a, plan);
  if (!online) return online;
  share_prefix(a, *online);
  return online;
}

Result<sim::Workload> offline_items(const BenchArguments& a, LoadPlan& plan) {
  const auto input = parse_range(a.offline_input_tokens);
  if (!input) return input.error();
  const auto output = parse_range(a.offline_output_tokens);
  if (!output) return output.error();
  if (a.offline_items > 0)
    plan.workload += "; offline " + std::to_string(a.offline_items) + " items of " +
                     a.offline_input_tokens + " + " + a.offline_output_tokens + " tokens";
  auto items = sim::synthetic_offline(a.offline_items, *input, *output, a.seed + 1);
  share_prefix(a, items);
  return items;
}

Result<LoadPlan> make_plan(const BenchArguments& a) {
  auto begun = begin_plan("bench", a);
  if (!begun) return begun.error();
  LoadPlan plan = std::move(*begun);
  auto online = online_workload(a, plan);
  if (!online) return online.error();
  plan.online = std::move(*online);
  auto offline = offline_items(a, plan);
  if (!offline) return offline.error();
  plan.offline = std::move(*offline);
  if (!a.prompt_file.empty()) {
    auto prompts = sim::read_prompts(a.prompt_file);
    if (!prompts) return prompts.error();
    plan.online_shape.prompts = plan.offline_shape.prompts = std::move(*prompts);
  }
  return plan;
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
  return run_load(*plan);
}

}  // namespace tandem::cli
