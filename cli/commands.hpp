// What `tandem` can do, apart from reading its command line (main.cpp).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/client/url.hpp"
#include "config/load.hpp"

namespace tandem::cli {

/// Exit codes. 1 may pass when repeated; 2 will not until something is changed.
inline constexpr int exit_ok = 0;
inline constexpr int exit_failed = 1;        ///< port in use, store locked, service unreachable
inline constexpr int exit_usage = 2;         ///< command line, configuration or model folder
inline constexpr int exit_engine_died = 70;  ///< an actor that the service cannot do without

/// One line on standard error per line of `message`.
void print_error(const std::string& message);

struct ServeArguments {
  config::Sources sources;
  bool check_config = false;    ///< read configuration and model folder, then exit
  bool print_config = false;    ///< print effective values, then exit
  bool print_defaults = false;  ///< print config/default.yaml, then exit
  std::filesystem::path port_file;
};
int serve(const ServeArguments& arguments);

/// A trace and how it is made to fit a service; see sim/workload_scaling.hpp.
struct TraceArguments {
  std::filesystem::path file;
  double start_seconds = 0, window_seconds = 0;
  double keep = 1, speed = 1, prompt_scale = 1, output_scale = 1;
  std::size_t max_requests = 0;
  std::int64_t max_context = 0;  ///< 0: what the service says
  bool sort = false, drop_too_long = false;
};

struct ProfileArguments {
  config::Sources sources;
  std::filesystem::path output = "profile.yaml";
  double seconds = 120;
  std::uint64_t seed = 0;
  bool slo = false;  ///< search for the budget, too
  TraceArguments slo_online, slo_offline;
  double slo_precision = 0.02;
};
int profile(const ProfileArguments& arguments);

struct ChatArguments {
  std::string url;
  std::filesystem::path api_key_file;  ///< empty: no key is sent
  std::string model;                   ///< empty: the first that the service has
  std::string instructions;            ///< the system message; empty: none
  std::int64_t max_tokens = 0;
  double temperature = -1;  ///< below 0: the service's default
};
int chat(const ChatArguments& arguments);

/// What putting load on a service takes, whatever the load.
struct LoadArguments {
  std::string url;
  std::filesystem::path api_key_file;  ///< empty: no key is sent
  std::string model;                   ///< empty: the first that the service has
  std::int64_t vocab_size = 0;         ///< 0: what the service says, else 256
  double temperature = 0;
  bool every_token = false;
  std::string offline_mode = "batch";    ///< batch | flex
  std::size_t offline_concurrency = 32;  ///< of flex calls
  std::string goodput;
  std::size_t max_concurrency = 1024;
  double timeout_seconds = 600;
  std::uint64_t seed = 0;
  std::filesystem::path json;
};

struct BenchArguments : LoadArguments {
  std::string rate = "1";  ///< requests per second, or "inf"
  std::size_t num_requests = 100;
  double duration = 0;
  std::filesystem::path trace;
  double trace_speed = 1;
  std::string input_tokens = "128", output_tokens = "64";
  std::int64_t prefix_tokens = 0;
  std::filesystem::path prompt_file;
  std::size_t offline_items = 0;
  std::string offline_input_tokens = "128", offline_output_tokens = "64";
};
int bench(const BenchArguments& arguments);

struct ReplayArguments : LoadArguments {
  TraceArguments online, offline;
  std::size_t offline_items = 0;  ///< 0: all that the files give; else as many, over and over
  std::filesystem::path offline_prompts, prompt_prefix;  ///< text, instead of an offline trace
  std::int64_t offline_output_tokens = 64;               ///< of prompts from a file
  double run_seconds = 0;
  bool end_with_online = false;
  std::filesystem::path
      online_prompts;             ///< text, instead of made-up prompts of the trace's lengths
  std::string transport = "sse";  ///< sse | websocket
};
int replay(const ReplayArguments& arguments);

struct TokenizeArguments {
  std::filesystem::path model;
  std::string text;               ///< empty: lines of JSON from standard input
  bool no_special_added = false;  ///< nothing is put around the text
  bool special_as_text = false;   ///< special tokens in the text are text
  bool keep_special = false;      ///< special tokens show when decoding
};
int tokenize(const TokenizeArguments& arguments);

int version();
/// "0.1.0"
std::string version_text();

}  // namespace tandem::cli
