// `tandem profile`: measures the device with the configured model, fits the latency model, says how
// well it predicts which iterations, and writes the profile that `serve` starts from; with --slo
// also the budget that meets the objectives.
#include "cli/profile.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <spdlog/spdlog.h>

#include "cli/client/progress.hpp"
#include "cli/commands.hpp"
#include "cli/load_model.hpp"
#include "cli/logging.hpp"
#include "cli/profile_slo.hpp"
#include "cli/profile_sweep.hpp"
#include "config/profile_file.hpp"
#include "policy/latency_learner.hpp"

namespace tandem::cli {
namespace {

std::atomic<bool> interrupted{false};

/// Fitting takes three of four samples; the others are new to the model that is judged by them.
constexpr std::size_t held_out = 4;
constexpr std::size_t least_samples = held_out * policy::least_samples_for_error;

void print_errors(const policy::LatencyModel& model,
                  const std::vector<policy::LatencySample>& samples) {
  std::printf("%-34s %8s %10s %10s\n", "iterations not used for the fit", "count", "MAPE", "p95");
  const auto row = [&](const char* name, const std::vector<policy::LatencySample>& part) {
    const auto error = policy::measure_error(model, part);
    if (error.samples == 0)
      std::printf("%-34s %8zu %10s %10s\n", name, part.size(), "too few", "");
    else
      std::printf("%-34s %8zu %9.2f%% %+9.2f%%\n", name, part.size(), 100 * error.mape,
                  100 * error.margin);
  };
  for (const auto& region : sweep_regions()) {
    std::vector<policy::LatencySample> part;
    std::copy_if(samples.begin(), samples.end(), std::back_inserter(part),
                 [&](const auto& sample) { return region.holds(sample.shape); });
    row(region.name, part);
  }
  row("all", samples);
}

void print_model(const policy::LatencyModel& model) {
  const auto& k = model.coefficients();
  std::printf("form %s, milliseconds: %.4g", std::string(to_string(model.form())).c_str(), k.fixed);
  const auto term = [](double value, const char* of) {
    if (value > 0) std::printf(" + %.4g %s", value, of);
  };
  term(k.row, "row");
  if (k.row_above_knee > 0)
    std::printf(" + %.4g row above %lld", k.row_above_knee, static_cast<long long>(k.knee));
  term(k.attention, "attention");
  term(k.cached, "cached position");
  term(k.prefill_token, "prefill token");
  term(k.prefill_token_squared, "prefill token^2");
  term(k.decode_context, "decode position");
  term(k.decode_context_squared, "decode position^2");
  term(k.prefill, "prefill");
  term(k.decode, "decode");
  std::printf("\n");
}

/// Fits and reports; the profile's samples are a spread of all, small enough for a file.
policy::LatencyProfile make_profile(const policy::ProfileKey& key,
                                    const std::vector<policy::LatencySample>& samples,
                                    std::optional<policy::LatencyForm> form) {
  std::vector<policy::LatencySample> used, unused;
  for (std::size_t i = 0; i < samples.size(); ++i)
    (i % held_out == held_out - 1 ? unused : used).push_back(samples[i]);
  const auto judged = policy::fit_latency(used, form);
  print_errors(judged, unused);
  policy::LatencyProfile profile;
  profile.key = key;
  profile.latency = policy::fit_latency(samples, form ? form : judged.form());
  policy::SampleBank bank;
  for (const auto& sample : samples) bank.add(sample.shape, sample.ms);
  profile.samples = bank.samples();
  for (auto& sample : profile.samples) sample.weight = 1;
  print_model(profile.latency);
  return profile;
}

Result<std::vector<policy::LatencySample>> measure(gpu::Backend& backend,
                                                   const ProfileArguments& arguments) {
  client::Progress progress("profile");
  SweepOptions options;
  options.seconds = arguments.seconds;
  options.seed = arguments.seed;
  options.least_iterations = least_samples;
  const auto total = static_cast<std::int64_t>(arguments.seconds + 0.5);
  options.progress = [&](double seconds, std::size_t iterations) {
    progress.update(static_cast<std::int64_t>(seconds), total,
                    "s, " + std::to_string(iterations) + " iterations");
    return !interrupted.load();
  };
  std::signal(SIGINT, [](int) { interrupted = true; });
  auto samples = sweep(backend, options);
  std::signal(SIGINT, SIG_DFL);
  return samples;
}

}  // namespace

int profile(const ProfileArguments& arguments) {
  const auto loaded = config::load(arguments.sources);
  if (!loaded) {
    print_error(loaded.error().message);
    return exit_usage;
  }
  const auto& config = loaded->config;
  start_logging(config.log);
  for (const auto& warning : loaded->warnings) spdlog::warn("config_note text=\"{}\"", warning);
  const auto failed = [](const Error& reason, int exit_code) {
    print_error(reason.message);
    return exit_code;
  };
  const auto folder = arguments.output.parent_path();
  if (!folder.empty() && !std::filesystem::is_directory(folder))
    return failed(error(Errc::not_found, "--output: " + folder.string() + " is not a folder"),
                  exit_usage);
  if (auto checked = check_slo_arguments(arguments, config); !checked)
    return failed(checked.error(), exit_usage);
  if (const auto device = check_device(config); !device) return failed(device.error(), exit_usage);
  auto model = load_model(config);
  if (!model) return failed(model.error(), exit_usage);
  auto backend = open_device(config, model->weights);
  if (!backend) return failed(backend.error(), exit_usage);
  model->weights.reset();

  const auto samples = measure(**backend, arguments);
  if (!samples) return failed(samples.error(), exit_failed);
  if (samples->size() < least_samples) {
    print_error("only " + std::to_string(samples->size()) + " iterations were measured, at least " +
                std::to_string(least_samples) + " are needed: allow more --seconds");
    return exit_failed;
  }
  const auto key = profile_key(model->served.config, (*backend)->limits(), config);
  auto made = make_profile(key, *samples, config.runtime.learner.form);
  // What was measured is kept even if the search finds nothing.
  Result<void> searched;
  if (arguments.slo) {
    auto found = find_budget(arguments, config, (*backend)->limits(), made.latency);
    if (found)
      made.budget = std::move(*found);
    else
      searched = found.error();
  }
  if (const auto written = config::write_profile(arguments.output, made); !written)
    return failed(written.error(), exit_failed);
  std::printf("%s: %zu iterations, MAPE %.2f%% in cross-validation\n",
              arguments.output.string().c_str(), samples->size(), 100 * made.latency.error().mape);
  if (!searched) return failed(searched.error(), exit_failed);
  if (made.budget)
    std::printf("budget of an iteration with offline work in it: %.3f ms\n",
                made.budget->budget_ms);
  return exit_ok;
}

}  // namespace tandem::cli
