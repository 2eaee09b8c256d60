// See profile.hpp.
#include <algorithm>
#include <spdlog/spdlog.h>
#include <thread>

#include "cli/commands.hpp"
#include "cli/profile.hpp"
#include "config/profile_file.hpp"

namespace tandem::cli {
namespace {

void take_budget(const policy::BudgetFinding& found, RuntimeOptions& options) {
  options.slo.baseline = found.baseline;
  if (options.slo.objectives.empty()) return;
  const bool fits = found.objectives == texts_of(options.slo.objectives) &&
                    found.max_iteration_tokens == options.scheduler.max_iteration_tokens.value();
  if (fits)
    options.slo.budget_ms = found.budget_ms;
  else
    spdlog::warn(
        "profile_budget_left_out reason=\"it was found for other objectives or another "
        "max_iteration_tokens\" budget_ms={:.3f}",
        found.budget_ms);
}

Result<void> take_profile(const config::Config& config, const policy::ProfileKey& key,
                          RuntimeOptions& options) {
  const auto profile = config::read_profile(config.profile_file);
  if (!profile) return profile.error();
  if (const auto found = policy::differences(profile->key, key); !found.empty()) {
    std::string message = "profile_file " + config.profile_file.string() +
                          " is of something else; make one with tandem profile, or leave "
                          "profile_file empty to learn while serving";
    for (const auto& one : found) message += "\n  " + one;
    return error(Errc::invalid_value, message, "profile_file");
  }
  if (profile->key.engine_version != key.engine_version)
    spdlog::warn("profile_of_other_version version={} effect=\"taken as a starting point\"",
                 profile->key.engine_version);
  options.learner.initial = profile->latency;
  options.learner.samples = profile->samples;
  if (options.learner.form && *options.learner.form != profile->latency.form())
    options.learner.initial = policy::fit_latency(profile->samples, options.learner.form);
  if (profile->budget) take_budget(*profile->budget, options);
  spdlog::info("profile_loaded path=\"{}\" form={} mape_percent={:.2f} samples={} budget_ms={}",
               config.profile_file.string(), to_string(options.learner.initial.form()),
               100 * options.learner.initial.error().mape, profile->samples.size(),
               options.slo.budget_ms ? fmt::format("{:.3f}", *options.slo.budget_ms) : "none");
  return {};
}

}  // namespace

std::vector<std::string> texts_of(const policy::Objectives& objectives) {
  std::vector<std::string> texts;
  for (const auto& one : objectives)
    texts.push_back(policy::name_of(one.quantity, one.statistic) + " " + to_string(one));
  return texts;
}

std::string model_text(const model::ModelConfig& model) {
  return fmt::format("{} layers={} hidden={} intermediate={} heads={} kv_heads={} vocab={}",
                     to_string(model.architecture), model.num_layers, model.hidden_size,
                     model.intermediate_size, model.num_heads, model.num_kv_heads,
                     model.vocab_size);
}

policy::ProfileKey profile_key(const model::ModelConfig& model, const gpu::DeviceLimits& device,
                               const config::Config& config) {
  const auto threads = config.host.threads != 0 ? config.host.threads
                                                : std::max(1U, std::thread::hardware_concurrency());
  policy::ProfileKey key;
  key.model = model_text(model);
  // The device names its kernels and the type that weights and KV cache have on it.
  const auto space = device.kernels.rfind(' ');
  key.device =
      fmt::format("{} {} threads={}", device.device_name, device.kernels.substr(0, space), threads);
  key.dtype = space == std::string::npos ? config.host.dtype : device.kernels.substr(space + 1);
  key.engine_version = version_text();
  return key;
}

Result<void> apply_profile(const config::Config& config, const policy::ProfileKey& key,
                           RuntimeOptions& options) {
  if (!config.profile_file.empty())
    if (auto taken = take_profile(config, key, options); !taken) return taken.error();
  auto& slo = options.slo;
  if (options.learner.initial.error_is_known()) {
    const auto ends =
        policy::budget_ends(options.learner.initial, options.scheduler.max_iteration_tokens);
    slo.least_ms = ends.least_ms;
    slo.most_ms = ends.most_ms;
  }
  return policy::check_objectives(slo.objectives, slo.baseline ? &*slo.baseline : nullptr,
                                  options.learner.initial);
}

}  // namespace tandem::cli
