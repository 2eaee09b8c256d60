// The command line of `tandem simulate`, and the YAML file that may stand for it.
#include <algorithm>
#include <memory>
#include <yaml-cpp/yaml.h>

#include "cli/commands.hpp"
#include "cli/simulate.hpp"
#include "policy/slo_budget.hpp"

namespace tandem::cli {
namespace {

void add_machine(CLI::App& app, SimulateArguments& a) {
  app.add_option("--mode", a.mode,
                 "fast: the scheduler alone; full: every actor that serves, with the offline "
                 "queue's store in a temporary folder")
      ->check(CLI::IsMember({"fast", "full"}))
      ->capture_default_str();
  app.add_option("--device", a.device, "Device file, such as those in config/devices")
      ->default_str(default_device);
  app.add_option("--model", a.model, "Folder with the model's config.json")
      ->default_str(default_model);
  app.add_option("--profile", a.profile,
                 "Profile file of tandem profile: measured times instead of the device's roofline");
  app.add_option("--kv-tokens", a.kv_tokens,
                 "KV cache, in tokens; default: what weights leave of the device's memory")
      ->check(CLI::Range(std::int64_t{16}, std::int64_t{1} << 40));
  app.add_option("--max-iteration-tokens", a.max_iteration_tokens, "As of serve")
      ->check(CLI::Range(16, 1 << 20))
      ->capture_default_str();
  app.add_option(
         "--row-quantum", a.row_quantum,
         "Rows that the device computes at once: 128 of cuda, 16 of a host with AMX; prompts "
         "that are cut end on a multiple of it")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  app.add_option("--max-sequences", a.max_sequences, "As of serve")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  app.add_flag("--no-prefix-cache", a.no_prefix_cache, "As prefix_cache: false of serve");
}

void add_policies(CLI::App& app, SimulateArguments& a) {
  app.add_option("--policy", a.policies,
                 "Compared, by commas: online_only, offline_only, online_first, fixed_rate, hygen")
      ->delimiter(',')
      ->capture_default_str();
  for (const auto quantity : {policy::Quantity::ttft, policy::Quantity::tbt})
    for (const auto statistic :
         {policy::Statistic::mean, policy::Statistic::p50, policy::Statistic::p99}) {
      const std::string name = policy::name_of(quantity, statistic);
      std::string flag = "--" + name;
      std::replace(flag.begin(), flag.end(), '_', '-');
      app.add_option(flag, a.objectives[name],
                     "Objective: 250ms, or +10% of online-only service; if none is given, p99 "
                     "of both TTFT and TBT +10%");
    }
  app.add_option("--budget-ms", a.budget_ms, "Of hygen; default: the largest that meets them")
      ->check(CLI::PositiveNumber);
  app.add_flag("--control", a.control,
               "Of hygen: the budget is adjusted all the time, as serve does, from --budget-ms or "
               "from what serve guesses");
  app.add_option("--offline-rate", a.offline_rate, "Of fixed_rate, tokens/s; default: likewise")
      ->check(CLI::PositiveNumber);
  app.add_option("--precision", a.precision, "Relative, of what is searched for")
      ->check(CLI::Range(0.001, 1.0))
      ->capture_default_str();
}

/// `whose` they are, in the genitive.
void add_scaling(CLI::App& app, const std::string& prefix, const std::string& whose, double& keep,
                 double& prompt_scale, double& output_scale) {
  app.add_option(prefix + "keep", keep, "Share of " + whose + " requests")
      ->check(CLI::Range(1e-6, 1.0));
  app.add_option(prefix + "prompt-scale", prompt_scale, "Of " + whose + " prompt lengths")
      ->check(CLI::Range(1e-3, 1e3));
  app.add_option(prefix + "output-scale", output_scale, "Of " + whose + " answer lengths")
      ->check(CLI::Range(1e-3, 1e3));
}

void add_workload(CLI::App& app, SimulateArguments& a) {
  app.add_option("--trace", a.trace, "Online traffic: CSV, JSONL or a ServeGen folder");
  app.add_flag("--sort", a.sort, "Put a trace into the order of arrival instead of refusing it");
  app.add_option("--trace-start", a.trace_start, "Seconds of the trace to leave out first")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--duration", a.duration, "Seconds of traffic; default: the whole trace")
      ->check(CLI::Range(0.001, 1e7));
  app.add_option("--speed", a.speed, "Requests come so many times faster")
      ->check(CLI::Range(1e-3, 1e4));
  add_scaling(app, "--", "the trace's", a.keep, a.prompt_scale, a.output_scale);
  app.add_option("--max-context", a.max_context,
                 "Tokens of prompt and answer; default: the model's, or what the KV cache holds")
      ->check(CLI::Range(2, 1 << 30));
  app.add_flag("--drop-too-long", a.drop_too_long,
               "Leave out requests longer than the context instead of refusing them");
  app.add_option("--rate", a.rate, "Generated traffic instead of a trace: requests per second")
      ->check(CLI::Range(1e-6, 1e6));
  app.add_option("--cv", a.cv, "Of generated times between arrivals; above 1 comes in bursts")
      ->check(CLI::Range(0.01, 100.0));
  app.add_option("--input-tokens", a.input_tokens, "Of generated requests: 128, or 64:256")
      ->capture_default_str();
  app.add_option("--output-tokens", a.output_tokens, "Likewise")->capture_default_str();
  app.add_option("--offline", a.offline,
                 "Offline set: lengths or token ids, in any format of --trace");
  app.add_option("--offline-prompts", a.offline_prompts,
                 "Offline set: real prompts, in any format of replay's --offline-prompts");
  app.add_option("--prompt-prefix", a.prompt_prefix,
                 "File put before each of them: worked examples that all share");
  app.add_option("--tokenizer", a.tokenizer,
                 "Folder with the tokenizer for them; default: that of --model");
  add_scaling(app, "--offline-", "an offline set's", a.offline_keep, a.offline_prompt_scale,
              a.offline_output_scale);
  app.add_option("--offline-items", a.offline_items, "Generated, without a set; 0: none")
      ->check(CLI::Range(0, 1 << 22));
  app.add_option("--offline-input-tokens", a.offline_input_tokens, "Of generated items")
      ->capture_default_str();
  app.add_option("--offline-output-tokens", a.offline_output_tokens, "Likewise")
      ->capture_default_str();
  app.add_option("--offline-order", a.offline_order, "As of serve: fcfs, prefix or prefix_fair")
      ->capture_default_str();
  app.add_option("--offline-utility-ratio", a.offline_utility_ratio, "As of serve")
      ->check(CLI::Range(0.0, 0.9999))
      ->capture_default_str();
  app.add_flag("--offline-once", a.offline_once, "Stop when the set is done; default: repeat it");
}

void add_faults(CLI::App& app, SimulateArguments& a) {
  sim::FaultOptions& f = a.faults;
  app.add_option("--noise", f.noise, "Sigma of a log-normal factor on every iteration")
      ->check(CLI::Range(0.0, 2.0));
  app.add_option("--slow-share", f.slow_share, "Of iterations that take ten times as long")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--abort-share", f.abort_share, "Of offline-only iterations that are stopped")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--failure-share", f.failure_share,
                 "Of iterations that fail; in full mode, as in service, that ends the process")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--death-share", f.death_share, "Of iterations in which the process dies")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--cancel-share", f.cancel_share,
                 "Of requests whose caller goes away; in full mode of online ones")
      ->check(CLI::Range(0.0, 1.0));
}

void add_output(CLI::App& app, SimulateArguments& a) {
  app.add_option("--seed", a.seed, "Equal seeds give equal runs");
  app.add_option("--json", a.json, "Write the result there, too");
  app.add_option("--svg", a.svg, "Draw load, TBT and offline tokens over time");
  app.add_option("--log", a.log, "Write every event of the last policy's run");
}

Error wrong(const std::filesystem::path& file, const std::string& what, const std::string& key) {
  return error(Errc::invalid_value, file.string() + ": " + what, key);
}

Result<void> apply_entry(CLI::App& app, const std::filesystem::path& file, const std::string& name,
                         const YAML::Node& value) {
  std::string flag = "--" + name;
  std::replace(flag.begin(), flag.end(), '_', '-');
  CLI::Option* option = app.get_option_no_throw(flag);
  if (option == nullptr || name == "config" || name == "help")
    return wrong(file, "unknown key '" + name + "'; tandem simulate --help lists them", name);
  if (option->count() > 0) return {};  // the command line goes before the file
  std::vector<std::string> values;
  for (const YAML::Node& each : value.IsSequence() ? value : YAML::Node())
    if (each.IsScalar()) values.push_back(each.Scalar());
  if (value.IsScalar()) values.push_back(value.Scalar());
  if (values.empty()) return wrong(file, "'" + name + "' has no value", name);
  for (const std::string& each : values) option->add_result(each);
  try {
    option->run_callback();
  } catch (const CLI::Error& e) {
    return wrong(file, "'" + name + "': " + e.what(), name);
  }
  return {};
}

/// Keys are the flags, with '_' for '-'.
Result<void> apply_file(CLI::App& app, const std::filesystem::path& file) {
  try {
    const YAML::Node root = YAML::LoadFile(file.string());
    if (!root.IsMap()) return wrong(file, "a configuration is a map of keys to values", "config");
    for (const auto& entry : root) {
      const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "?";
      if (auto applied = apply_entry(app, file, name, entry.second); !applied) return applied;
    }
  } catch (const YAML::BadFile&) {
    return wrong(file, "cannot be read", "config");
  } catch (const YAML::Exception& e) {
    return wrong(file, std::string("is no YAML: ") + e.what(), "config");
  }
  return {};
}

}  // namespace

std::function<int()> add_simulate(CLI::App& app) {
  const auto arguments = std::make_shared<SimulateArguments>();
  app.add_option("--config", arguments->config,
                 "YAML file; its keys are the flags below, with '_' for '-'");
  add_machine(app, *arguments);
  add_policies(app, *arguments);
  add_workload(app, *arguments);
  add_faults(app, *arguments);
  add_output(app, *arguments);
  app.footer(
      "Every policy runs on the same requests, through the scheduler that serves, in virtual "
      "time. Budgets and rates are found by bisection.");
  return [arguments, &app] {
    if (!arguments->config.empty())
      if (const auto applied = apply_file(app, arguments->config); !applied) {
        print_error(applied.error().message);
        return exit_usage;
      }
    return simulate(*arguments);
  };
}

}  // namespace tandem::cli
