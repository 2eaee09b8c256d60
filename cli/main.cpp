// The command line of `tandem`: reads it with CLI11 and hands plain arguments to the commands.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/commands.hpp"
#include "cli/simulate.hpp"
#include "config/keys.hpp"

namespace tandem::cli {
namespace {

constexpr const char* default_url = "http://127.0.0.1:8000";

std::string first_sentence(const std::string& text) {
  const auto end = text.find(". ");
  return end == std::string::npos ? text : text.substr(0, end + 1);
}

/// Every key of the configuration as an option of `serve`; its values are read after parsing.
std::vector<std::pair<const config::Key*, CLI::Option*>> add_keys(CLI::App& app) {
  const config::Config defaults;
  std::vector<std::pair<const config::Key*, CLI::Option*>> options;
  for (const auto& key : config::keys()) {
    const std::string description =
        first_sentence(key.reason) + " [" + key.allowed + "; default " + key.get(defaults) + "]";
    auto* option = app.add_option(key.flag(), description);
    option->group(key.section)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    if (key.kind == config::KeyKind::flag) option->expected(0, 1);
    options.emplace_back(&key, option);
  }
  return options;
}

void take_keys(const std::vector<std::pair<const config::Key*, CLI::Option*>>& options,
               config::Sources& sources) {
  for (const auto& [key, option] : options) {
    if (option->count() == 0) continue;
    auto values = option->results();
    // The last of a repeated option counts.
    if (values.size() > 1) values = {values.back()};
    // A flag without a value means yes.
    if (key->kind == config::KeyKind::flag && (values.empty() || values[0].empty()))
      values = {"true"};
    sources.command_line.emplace_back(key->name, std::move(values));
  }
}

/// A command: how to fill its arguments, and what to call.
struct Command {
  CLI::App* app = nullptr;
  std::function<int()> run;
};

Command add_serve(CLI::App& root) {
  auto* app = root.add_subcommand("serve", "Serve a model over HTTP and WebSocket");
  const auto arguments = std::make_shared<ServeArguments>();
  app->add_option("--config", arguments->sources.file,
                  "YAML file; its keys are the flags below, with '_' for '-'");
  app->add_flag("--check-config", arguments->check_config,
                "Check configuration and model folder, then exit: 0 usable, 2 not");
  app->add_flag("--print-config", arguments->print_config,
                "Print the effective configuration with the origin of each value, then exit");
  app->add_flag("--print-defaults", arguments->print_defaults,
                "Print every key with reason, range and default, then exit");
  app->add_option("--port-file", arguments->port_file,
                  "Write the port to this file once the service listens");
  const auto options = add_keys(*app);
  app->footer(
      "Each key may also be set by a variable such as TANDEM_MAX_SEQUENCES. Flags go before "
      "variables, variables before the file.");
  return {app, [arguments, options] {
            take_keys(options, arguments->sources);
            arguments->sources.environment = config::process_environment();
            return serve(*arguments);
          }};
}

constexpr auto api_key_help = "Holds the key to send, on its first line that is no comment";

/// The options of one trace; `prefix` is put before their names.
void add_trace_options(CLI::App& app, const std::string& prefix, TraceArguments& a) {
  const auto name = [&](const char* rest) { return "--" + prefix + rest; };
  app.add_option(name("trace"), a.file,
                 "CSV (Azure, BurstGPT, Vidur, own), JSONL (Mooncake, own) or a ServeGen folder; "
                 "see docs/workloads.md")
      ->check(CLI::ExistingPath);
  app.add_option(name("start"), a.start_seconds, "Seconds of the trace to leave out")
      ->check(CLI::NonNegativeNumber);
  app.add_option(name("window"), a.window_seconds, "Seconds of the trace to take; 0: all")
      ->check(CLI::NonNegativeNumber);
  app.add_option(name("keep"), a.keep, "Share of the requests to take, chosen by --seed");
  app.add_option(name("speed"), a.speed, "Arrivals come so many times faster");
  app.add_option(name("prompt-scale"), a.prompt_scale, "Prompts are so many times as long");
  app.add_option(name("output-scale"), a.output_scale, "Answers are so many times as long");
  app.add_option(name("max-requests"), a.max_requests, "The first so many; 0: all");
  app.add_option(name("max-context"), a.max_context,
                 "Longest prompt and answer together; 0: what the service says")
      ->check(CLI::NonNegativeNumber);
  app.add_flag(name("sort"), a.sort, "Sort a trace that is not in order of arrival");
  app.add_flag(name("drop-too-long"), a.drop_too_long,
               "Leave out requests longer than the context instead of refusing the trace");
}

Command add_profile(CLI::App& root) {
  auto* app = root.add_subcommand(
      "profile", "Measure how long iterations take on this device, for serve's profile_file");
  const auto arguments = std::make_shared<ProfileArguments>();
  app->add_option("--config", arguments->sources.file, "YAML file, as of serve");
  app->add_option("--output", arguments->output, "Where the profile is written")
      ->capture_default_str();
  app->add_option("--seconds", arguments->seconds, "How long to measure; Ctrl-C ends it early")
      ->check(CLI::Range(1.0, 86400.0))
      ->capture_default_str();
  app->add_option("--sweep-seed", arguments->seed, "Equal seeds measure the same iterations");
  app->add_flag(
      "--slo", arguments->slo,
      "Also find the largest budget of offline work that meets the slo_... objectives, by "
      "simulating --slo-trace on what was measured");
  add_trace_options(*app, "slo-", arguments->slo_online);
  add_trace_options(*app, "slo-offline-", arguments->slo_offline);
  app->add_option("--slo-precision", arguments->slo_precision, "Relative, of the budget")
      ->check(CLI::Range(0.001, 1.0))
      ->capture_default_str();
  const auto options = add_keys(*app);
  return {app, [arguments, options] {
            take_keys(options, arguments->sources);
            arguments->sources.environment = config::process_environment();
            return profile(*arguments);
          }};
}

Command add_chat(CLI::App& root) {
  auto* app = root.add_subcommand("chat", "Talk to a service in the terminal");
  const auto arguments = std::make_shared<ChatArguments>();
  arguments->url = default_url;
  app->add_option("--url", arguments->url, "Of the service")->capture_default_str();
  app->add_option("--api-key-file", arguments->api_key_file, api_key_help);
  app->add_option("--model", arguments->model, "Its name; default: the one the service has");
  app->add_option("--instructions", arguments->instructions, "The system message");
  app->add_option("--max-tokens", arguments->max_tokens, "Longest answer; default: the service's")
      ->check(CLI::Range(1, 1 << 24));
  app->add_option("--temperature", arguments->temperature, "0 is greedy; default: the service's")
      ->check(CLI::Range(0.0, 2.0));
  app->footer("Each line is a question; /reset forgets, /quit ends, Ctrl-C stops an answer.");
  return {app, [arguments] { return chat(*arguments); }};
}

void add_online_options(CLI::App& app, BenchArguments& a) {
  app.add_option("--rate", a.rate, "Requests per second, Poisson; or inf")->capture_default_str();
  app.add_option("--num-requests", a.num_requests, "How many at most; 0: offline work alone")
      ->capture_default_str();
  app.add_option("--duration", a.duration, "Seconds of arrivals; 0: until --num-requests")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--trace", a.trace,
                 "A trace as it is, instead of --rate and lengths; replay can scale one")
      ->check(CLI::ExistingPath);
  app.add_option("--trace-speed", a.trace_speed, "Replay the trace so many times faster")
      ->check(CLI::PositiveNumber);
  app.add_option("--input-tokens", a.input_tokens, "Prompt length: 128, or evenly from 64:256")
      ->capture_default_str();
  app.add_option("--output-tokens", a.output_tokens, "Answer length, likewise")
      ->capture_default_str();
  app.add_option("--prefix-tokens", a.prefix_tokens, "Leading tokens that all prompts share")
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("--prompt-file", a.prompt_file,
                 "Text prompts, one per line, in turn, instead of random tokens")
      ->check(CLI::ExistingFile);
}

/// What `bench` and `replay` have in common.
void add_load_options(CLI::App& app, LoadArguments& a) {
  a.url = default_url;
  app.add_option("--url", a.url, "Of the service")->capture_default_str();
  app.add_option("--api-key-file", a.api_key_file, api_key_help);
  app.add_option("--model", a.model, "Its name; default: the one the service has");
  app.add_option("--vocab-size", a.vocab_size, "Made-up tokens are below it; default 256")
      ->check(CLI::Range(1, 1 << 24));
  app.add_option("--temperature", a.temperature, "0 is greedy")->check(CLI::Range(0.0, 2.0));
  app.add_flag("--every-token", a.every_token,
               "Ask for log-probabilities, so that tokens without text are seen as well");
  app.add_option("--offline-mode", a.offline_mode,
                 "batch: one job through /v1/batches; flex: calls with service_tier flex")
      ->check(CLI::IsMember({"batch", "flex"}));
  app.add_option("--offline-concurrency", a.offline_concurrency, "Flex calls in flight")
      ->check(CLI::Range(1, 10000));
  app.add_option("--goodput", a.goodput, "Objectives in ms, e.g. ttft:500,tbt:50; also tpot, e2e");
  app.add_option("--max-concurrency", a.max_concurrency,
                 "Requests in flight; what must wait for it is reported as late")
      ->check(CLI::Range(1, 60000));
  app.add_option("--timeout", a.timeout_seconds, "Seconds for one request")
      ->check(CLI::PositiveNumber);
  app.add_option("--seed", a.seed, "Equal seeds send the same requests at the same times");
  app.add_option("--json", a.json, "Write the result there, too");
}

Command add_bench(CLI::App& root) {
  auto* app = root.add_subcommand("bench", "Load a service, open loop, and measure");
  const auto arguments = std::make_shared<BenchArguments>();
  auto& a = *arguments;
  add_online_options(*app, a);
  app->add_option("--offline-items", a.offline_items, "Offline requests beside the online ones")
      ->check(CLI::Range(0, 50000));
  app->add_option("--offline-input-tokens", a.offline_input_tokens, "As --input-tokens");
  app->add_option("--offline-output-tokens", a.offline_output_tokens, "As --output-tokens");
  add_load_options(*app, a);
  return {app, [arguments] { return bench(*arguments); }};
}

Command add_replay(CLI::App& root) {
  auto* app = root.add_subcommand("replay", "Play a trace against a service in real time");
  const auto arguments = std::make_shared<ReplayArguments>();
  auto& a = *arguments;
  add_trace_options(*app, "", a.online);
  app->add_option("--prompts", a.online_prompts,
                  "Text prompts of the online calls, in turn, instead of made-up ones")
      ->check(CLI::ExistingFile);
  app->add_option("--transport", a.transport,
                  "Of online calls: sse, or websocket (Responses events; needs --prompts)")
      ->check(CLI::IsMember({"sse", "websocket"}));
  add_trace_options(*app, "offline-", a.offline);
  app->add_option("--offline-prompts", a.offline_prompts,
                  "Text prompts as offline items: lines, .jsonl, .json (BBH) or .csv (MMLU)")
      ->check(CLI::ExistingFile);
  app->add_option("--prompt-prefix", a.prompt_prefix,
                  "A file whose text stands before each of --offline-prompts")
      ->check(CLI::ExistingFile);
  app->add_option("--offline-output-tokens", a.offline_output_tokens, "Of --offline-prompts")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 20));
  app->add_option("--offline-items", a.offline_items,
                  "So many, by repeating the offline set or cutting it; 0: the set as it is")
      ->check(CLI::Range(0, 50000));
  app->add_option("--run-seconds", a.run_seconds, "End the run after so long; 0: when all is done")
      ->check(CLI::NonNegativeNumber);
  app->add_flag("--end-with-online", a.end_with_online,
                "End with the last online request and cancel what is left of the batch");
  add_load_options(*app, a);
  return {app, [arguments] { return replay(*arguments); }};
}

Command add_tokenize(CLI::App& root) {
  auto* app = root.add_subcommand("tokenize", "Text to token ids, or back");
  const auto arguments = std::make_shared<TokenizeArguments>();
  app->add_option("--model", arguments->model, "Folder of the model")->required();
  app->add_flag("--no-special-added", arguments->no_special_added,
                "Put no beginning or end token around the text");
  app->add_flag("--special-as-text", arguments->special_as_text,
                "Special tokens that stand in the text are text");
  app->add_flag("--keep-special", arguments->keep_special, "Show special tokens when decoding");
  app->add_option(
      "text", arguments->text,
      "What to encode; default: standard input, each line a JSON string to encode or an "
      "array of ids to decode");
  return {app, [arguments] { return tokenize(*arguments); }};
}

Command add_simulation(CLI::App& root) {
  auto* app = root.add_subcommand(
      "simulate", "How much offline work could be harvested on a device beside some traffic");
  return {app, add_simulate(*app)};
}

/// "--prot: did you mean 'port'?" for a flag that `serve` does not have.
void suggest(int argc, char** argv) {
  for (int i = 2; i < argc; ++i) {
    const std::string given = argv[i];
    auto word = given;
    if (word.rfind("--", 0) != 0) continue;
    word = word.substr(2, word.find('=') - 2);
    std::replace(word.begin(), word.end(), '-', '_');
    if (!config::find_key(word)) print_error(given + ": " + config::suggestion(word));
  }
}

/// Refused before anything is said about the arguments: the message would repeat the key.
bool names_a_key(int argc, char** argv) {
  return std::any_of(argv + 1, argv + argc, [](std::string_view given) {
    return given == "--api-key" || given.starts_with("--api-key=");
  });
}

int run(int argc, char** argv) {
  CLI::App root("Tandem serves large language models to online and offline callers at once.",
                "tandem");
  root.require_subcommand(1);
  root.set_version_flag("--version", "tandem " + version_text());
  const std::vector<Command> commands{
      add_serve(root),
      add_profile(root),
      add_chat(root),
      add_bench(root),
      add_replay(root),
      add_simulation(root),
      add_tokenize(root),
      Command{root.add_subcommand("version", "What this program is and what it can run on"),
              [] { return version(); }}};
  try {
    root.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return root.exit(e);
    if (names_a_key(argc, argv)) {
      print_error(
          "--api-key: a key on the command line can be read by every user of this machine; "
          "put it into a file and name that with --api-key-file");
      return exit_usage;
    }
    const bool no_command =
        dynamic_cast<const CLI::RequiredError*>(&e) && argc > 1 && root.get_subcommands().empty();
    print_error(no_command ? "'" + std::string(argv[1]) +
                                 "' is no command; there are serve, profile, chat, bench, "
                                 "replay, simulate, tokenize and version"
                           : e.what());
    if (commands.front().app->parsed() && dynamic_cast<const CLI::ExtrasError*>(&e))
      suggest(argc, argv);
    std::fprintf(stderr, "tandem: see tandem --help, tandem serve --help\n");
    return exit_usage;
  }
  for (const auto& command : commands)
    if (command.app->parsed()) return command.run();
  return exit_usage;
}

}  // namespace
}  // namespace tandem::cli

int main(int argc, char** argv) {
  try {
    return tandem::cli::run(argc, argv);
  } catch (const std::exception& e) {
    tandem::cli::print_error(std::string("unexpected: ") + e.what());
    return tandem::cli::exit_failed;
  }
}
