// See simulate_workload.hpp.
#include "cli/simulate_workload.hpp"

#include <algorithm>
#include <utility>

#include "cli/client/length.hpp"
#include "model/tokenizer.hpp"
#include "sim/prompt_file.hpp"
#include "sim/synthetic.hpp"
#include "sim/trace_reader.hpp"
#include "sim/workload_scaling.hpp"

namespace tandem::cli {
namespace {

Duration to_duration(double seconds) { return Duration(static_cast<Duration::rep>(seconds * 1e9)); }

Error wrong(std::string message, std::string param) {
  return error(Errc::invalid_value, std::move(message), std::move(param));
}

Result<sim::LengthRange> range_of(const std::string& text, const std::string& flag) {
  const auto length = client::parse_length(text);
  if (!length) return wrong("--" + flag + ": " + length.error().message, flag);
  return sim::LengthRange{Tokens(length->least), Tokens(length->most)};
}

Result<sim::Workload> generated_online(const SimulateArguments& a) {
  if (!(a.duration > 0)) return wrong("--rate needs --duration, in seconds", "duration");
  const auto input = range_of(a.input_tokens, "input-tokens");
  if (!input) return input.error();
  const auto output = range_of(a.output_tokens, "output-tokens");
  if (!output) return output.error();
  return sim::synthetic_online({.rate = a.rate,
                                .cv = a.cv,
                                .duration = to_duration(a.duration),
                                .prompt = *input,
                                .output = *output,
                                .seed = a.seed});
}

Result<sim::Workload> read(const std::filesystem::path& file, const sim::TraceOptions& options,
                           std::vector<std::string>& notes) {
  auto trace = sim::read_trace(file, options);
  if (!trace) return trace.error();
  for (const auto& note : trace->notes) notes.push_back(trace->workload.name + ": " + note);
  return std::move(trace->workload);
}

/// sim::scaled, whose notes then name the file.
Result<sim::Workload> fitted(sim::Workload workload, const sim::Scaling& scaling,
                             std::vector<std::string>& notes) {
  const std::string name = workload.name;
  std::vector<std::string> changes;
  auto scaled = sim::scaled(std::move(workload), scaling, changes);
  for (const auto& change : changes) notes.push_back(name + ": " + change);
  return scaled;
}

Result<sim::Workload> online_part(const SimulateArguments& a, Tokens max_context,
                                  std::vector<std::string>& notes) {
  if (!a.trace.empty() && a.rate > 0)
    return wrong("--trace and --rate exclude each other: traffic is read or generated", "rate");
  if (a.rate > 0) return generated_online(a);
  if (a.trace.empty()) return sim::Workload{};
  auto trace = read(a.trace, {.sort = a.sort, .seed = a.seed}, notes);
  if (!trace) return trace.error();
  return fitted(std::move(*trace),
                {.start = to_duration(a.trace_start),
                 .length = to_duration(a.duration * a.speed),
                 .keep = a.keep,
                 .speed = a.speed,
                 .prompt_scale = a.prompt_scale,
                 .output_scale = a.output_scale,
                 .max_context = max_context,
                 .drop_too_long = a.drop_too_long,
                 .seed = a.seed},
                notes);
}

Result<sim::Workload> generated_offline(const SimulateArguments& a) {
  const auto input = range_of(a.offline_input_tokens, "offline-input-tokens");
  if (!input) return input.error();
  const auto output = range_of(a.offline_output_tokens, "offline-output-tokens");
  if (!output) return output.error();
  return sim::synthetic_offline(a.offline_items, *input, *output, a.seed + 1);
}

/// Real prompts as token ids; how long their answers are is drawn.
Result<sim::Workload> tokenized_prompts(const SimulateArguments& a) {
  const auto output = range_of(a.offline_output_tokens, "offline-output-tokens");
  if (!output) return output.error();
  auto prompts = sim::read_prompts(a.offline_prompts);
  if (!prompts) return prompts.error();
  if (!a.prompt_prefix.empty())
    if (const auto done = sim::put_before(a.prompt_prefix, *prompts); !done) return done.error();
  const auto folder = a.tokenizer.empty() ? a.model : a.tokenizer;
  if (folder.empty())
    return wrong("--offline-prompts needs --tokenizer, or a --model whose folder has one",
                 "tokenizer");
  const auto tokenizer = model::load_tokenizer(folder);
  if (!tokenizer) return tokenizer.error();
  if (!*tokenizer) return wrong(folder.string() + ": has no tokenizer", "tokenizer");
  auto workload = sim::synthetic_offline(prompts->size(), {}, *output, a.seed + 1);
  workload.name = a.offline_prompts.filename().string();
  for (std::size_t i = 0; i < prompts->size(); ++i) {
    auto& request = workload.requests[i];
    request.prompt = (*tokenizer)->encode((*prompts)[i], true, true);
    if (request.prompt.empty())
      return wrong(workload.name + ": prompt " + std::to_string(i + 1) + " has no token",
                   "offline_prompts");
    request.prompt_tokens = Tokens(static_cast<std::int64_t>(request.prompt.size()));
  }
  return workload;
}

Result<sim::Workload> offline_part(const SimulateArguments& a, Tokens max_context,
                                   std::vector<std::string>& notes) {
  const sim::Scaling scaling{.keep = a.offline_keep,
                             .prompt_scale = a.offline_prompt_scale,
                             .output_scale = a.offline_output_scale,
                             .max_context = max_context,
                             .drop_too_long = a.drop_too_long,
                             .seed = a.seed};
  if (a.offline.empty() && a.offline_prompts.empty()) {
    if (scaling.keep != 1 || scaling.prompt_scale != 1 || scaling.output_scale != 1)
      return wrong(
          "--offline-keep, --offline-prompt-scale and --offline-output-scale need --offline "
          "or --offline-prompts; generated items have lengths of their own",
          "offline");
    return generated_offline(a);
  }
  if (!a.offline.empty() && !a.offline_prompts.empty())
    return wrong("--offline and --offline-prompts exclude each other", "offline_prompts");
  auto set =
      a.offline.empty()
          ? tokenized_prompts(a)
          : read(a.offline, {.request_class = RequestClass::offline, .sort = true, .seed = a.seed},
                 notes);
  if (!set) return set.error();
  return fitted(std::move(*set), scaling, notes);
}

}  // namespace

Result<SimulatedTraffic> read_traffic(const SimulateArguments& a, Tokens max_context) {
  SimulatedTraffic traffic;
  auto online = online_part(a, max_context, traffic.notes);
  if (!online) return online.error();
  // A file may hold both classes, by a field of its own.
  auto& requests = online->requests;
  const auto own = std::stable_partition(requests.begin(), requests.end(), [](const auto& each) {
    return each.request_class == RequestClass::online;
  });
  traffic.offline = {online->name, online->prefix_id_tokens, {own, requests.end()}};
  requests.erase(own, requests.end());
  traffic.online = std::move(*online);
  if (traffic.offline.requests.empty()) {
    auto offline = offline_part(a, max_context, traffic.notes);
    if (!offline) return offline.error();
    traffic.offline = std::move(*offline);
    return traffic;
  }
  if (!a.offline.empty() || !a.offline_prompts.empty())
    return wrong(traffic.online.name +
                     ": has offline requests of its own, so that no other offline set can be taken",
                 "offline");
  traffic.notes.push_back(traffic.online.name +
                          ": has offline requests of its own; none were generated");
  return traffic;
}

}  // namespace tandem::cli
