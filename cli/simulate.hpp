// `tandem simulate`: its arguments, how they are read, and what it does. "How much offline work
// could I harvest on this GPU with this traffic at this objective?"
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "sim/faults.hpp"

namespace tandem::cli {

inline constexpr const char* default_device = "config/devices/h200.yaml";
inline constexpr const char* default_model = "config/models/llama-3.1-8b";

struct SimulateArguments {
  std::filesystem::path config;  ///< YAML with these flags as keys
  std::string mode = "fast";
  std::filesystem::path device, model;  ///< empty: those below
  std::filesystem::path profile;        ///< measured, instead of the roofline
  std::int64_t kv_tokens = 0;           ///< 0: what the device's memory has room for
  std::vector<std::string> policies = {"online_only", "online_first", "fixed_rate", "hygen"};
  std::map<std::string, std::string> objectives;  ///< "ttft_p99" -> "+10%"
  double budget_ms = 0, offline_rate = 0;         ///< 0: searched for
  bool control = false;

  std::filesystem::path trace;
  bool sort = false;
  double trace_start = 0, duration = 0;  ///< seconds; duration 0: the whole trace
  double keep = 1, speed = 1, prompt_scale = 1, output_scale = 1;
  std::int64_t max_context = 0;
  bool drop_too_long = false;
  double rate = 0, cv = 1;  ///< generated traffic instead of a trace
  std::string input_tokens = "64:1024", output_tokens = "16:256";

  std::filesystem::path offline;
  std::filesystem::path offline_prompts, prompt_prefix, tokenizer;
  double offline_keep = 1, offline_prompt_scale = 1, offline_output_scale = 1;  ///< of a set
  std::size_t offline_items = 256;  ///< generated, without a set; 0: no offline work
  std::string offline_input_tokens = "512:4096", offline_output_tokens = "64:256";
  bool offline_once = false;
  std::string offline_order = "prefix_fair";
  double offline_utility_ratio = 0.99;

  std::int64_t max_iteration_tokens = 2048;
  std::uint32_t row_quantum = 1;
  std::uint32_t max_sequences = 256;
  bool no_prefix_cache = false;
  sim::FaultOptions faults;
  double precision = 0.05;
  std::uint64_t seed = 0;
  std::filesystem::path json, svg, log;
};

/// Adds the subcommand; the result runs it once the command line was read, and is an exit code.
std::function<int()> add_simulate(CLI::App& app);

int simulate(const SimulateArguments& arguments);

}  // namespace tandem::cli
