// What load() takes, what it refuses and how it says so.
#include "config/load.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>

#include "config/keys.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace tandem;
using namespace std::chrono_literals;

namespace {

/// A file in a folder of its own, and what else sets values.
struct Given {
  tests::TemporaryFolder folder;
  config::Sources sources;

  explicit Given(const std::string& yaml) {
    sources.file = folder.path() / "tandem.yaml";
    std::ofstream(sources.file, std::ios::binary) << yaml;
  }
  [[nodiscard]] config::Config loaded() const {
    const auto result = config::load(sources);
    if (!result) FAIL(result.error().message);
    return result->config;
  }
  [[nodiscard]] std::string refused() const {
    const auto result = config::load(sources);
    return result ? std::string() : result.error().message;
  }
};

}  // namespace

TEST_CASE("a file's values are taken and the rest are defaults") {
  const Given given(
      "# a comment\nmodel: /models/demo\nport: 9001\nkv_cache_bytes: 2GiB\nprefix_cache: false\n"
      "drain_timeout_seconds: 0.5\nallowed_origins: [https://a.example, 'https://b.example,c']\n");
  const auto loaded = given.loaded();
  CHECK(loaded.model == "/models/demo");
  CHECK(loaded.server.port == 9001);
  CHECK(loaded.host.kv_cache_bytes == Bytes(2LL << 30));
  CHECK_FALSE(loaded.runtime.scheduler.prefix_cache);
  CHECK(loaded.drain_timeout == 500ms);
  CHECK(loaded.server.allowed_origins ==
        std::vector<std::string>{"https://a.example", "https://b.example,c"});
  CHECK(loaded.server.host == "127.0.0.1");
  CHECK(loaded.runtime.scheduler.plans_in_flight == 2);
}

TEST_CASE("the bounds of the chat template are options") {
  const config::Config defaults;
  CHECK(defaults.template_limits.max_work == 10'000'000);
  CHECK(defaults.template_limits.max_output_bytes == 64 << 20);
  CHECK(defaults.template_limits.max_level == 600);
  const auto loaded = Given(
                          "model: m\ntemplate_max_steps: 200000\ntemplate_max_output_bytes: 1MiB\n"
                          "template_max_nesting: 77\n")
                          .loaded();
  CHECK(loaded.template_limits.max_work == 200'000);
  CHECK(loaded.template_limits.max_output_bytes == 1 << 20);
  CHECK(loaded.template_limits.max_level == 77);
  const auto reason = Given("model: m\ntemplate_max_nesting: 2001\n").refused();
  CHECK(reason.find("50 .. 2000") != std::string::npos);
}

TEST_CASE("objectives and the latency model's form are made of their texts") {
  const Given given(
      "model: m\nslo_ttft_p99: +10%\nslo_tbt_mean: 40ms\nslo_tbt_p50: none\nlatency_model: "
      "hygen\n");
  const auto loaded = given.loaded();
  REQUIRE(loaded.runtime.slo.objectives.size() == 2);
  CHECK(loaded.runtime.slo.objectives[0] ==
        policy::Objective{policy::Quantity::ttft, policy::Statistic::p99, true, 0.1});
  CHECK(loaded.runtime.slo.objectives[1].value == 40);
  CHECK(loaded.runtime.learner.form == policy::LatencyForm::hygen);
  const auto message = Given("model: m\nslo_tbt_p99: 40\n").refused();
  CHECK_THAT(message, Catch::Contains("slo_tbt_p99: '40' is not allowed") &&
                          Catch::Contains("such as 250ms"));
  CHECK(Given("model: m\n").loaded().runtime.slo.objectives.empty());
}

TEST_CASE("an empty file sets nothing") {
  Given given("");
  given.sources.command_line = {{"model", {"m"}}};
  CHECK(given.loaded().server.port == 8000);
}

TEST_CASE("the command line goes before the environment, the environment before the file") {
  Given given("model: m\nport: 1\nmax_sequences: 1\nthreads: 1\n");
  given.sources.environment = {{"TANDEM_PORT", "2"}, {"TANDEM_MAX_SEQUENCES", "2"}};
  given.sources.command_line = {{"port", {"3"}}};
  const auto result = config::load(given.sources);
  REQUIRE(result.has_value());
  CHECK(result->config.server.port == 3);
  CHECK(result->config.runtime.scheduler.max_sequences == 2);
  CHECK(result->config.host.threads == 1);
  CHECK(result->origins.at("port") == "command line --port");
  CHECK(result->origins.at("max_sequences") == "environment TANDEM_MAX_SEQUENCES");
  CHECK(result->origins.at("threads") == given.sources.file.string() + ":4");
  CHECK(result->origins.count("host") == 0);
}

TEST_CASE("a device's rows and slots are the scheduler's, on the host and on CUDA") {
  const auto loaded = Given(
                          "model: m\nmax_iteration_tokens: 96\nmax_sequences: 7\nmax_context: "
                          "50\nlayers_per_segment: 3\n")
                          .loaded();
  CHECK(loaded.host.max_iteration_tokens == Tokens(96));
  CHECK(loaded.host.max_sequences == 7);
  CHECK(loaded.cuda.max_iteration_tokens == Tokens(96));
  CHECK(loaded.cuda.max_sequences == 7);
  CHECK(loaded.cuda.max_context == Tokens(50));
  CHECK(loaded.cuda.layers_per_segment == 3);
}

TEST_CASE("whose attention a CUDA device uses is chosen by name") {
  CHECK(Given("model: m\n").loaded().cuda.attention == "auto");
  CHECK(Given("model: m\nattention: flashinfer\n").loaded().cuda.attention == "flashinfer");
}

TEST_CASE("how kernels follow one another is chosen by name") {
  CHECK(Given("model: m\n").loaded().cuda.kernel_launch == "auto");
  CHECK(Given("model: m\nkernel_launch: dependent\n").loaded().cuda.kernel_launch == "dependent");
}

TEST_CASE("the share of a GPU's memory is above nothing and at most all") {
  CHECK(Given("model: m\ngpu_memory_fraction: 0.5\n").loaded().cuda.gpu_memory_fraction == 0.5);
  CHECK(Given("model: m\ndevice_index: 3\n").loaded().cuda.device_index == 3);
}

TEST_CASE("paths in a file are relative to its folder, others are left as they are") {
  Given given("model: ../models/demo\n");
  given.sources.command_line = {{"data_dir", {"here/data"}}};
  const auto loaded = given.loaded();
  CHECK(loaded.model == given.folder.path().parent_path() / "models/demo");
  CHECK(loaded.runtime.store.data_dir == "here/data");
}

TEST_CASE("a wrong file is refused with its line, the key, the value and what is allowed") {
  struct Row {
    const char* yaml;
    const char* line;
    std::vector<const char*> says;
  };
  const auto row = GENERATE(
      Row{"model: m\nprot: 1\n", ":2: ", {"unknown key 'prot'", "did you mean 'port'?"}},
      Row{"max-sequences: 1\n", ":1: ", {"unknown key", "did you mean 'max_sequences'?"}},
      Row{"completely_else: 1\n", ":1: ", {"'completely_else'", "tandem serve --help"}},
      Row{"model: m\n\nport: 65536\n", ":3: ", {"port: '65536'", "an integer in 0 .. 65535"}},
      Row{"port: -1\n", ":1: ", {"port: '-1'", "0 .. 65535"}},
      Row{"port: 80a\n", ":1: ", {"port: '80a'", "an integer"}},
      Row{"port: 8000.0\n", ":1: ", {"port: '8000.0'", "an integer"}},
      Row{"port: 99999999999999999999\n", ":1: ", {"an integer in 0 .. 65535"}},
      Row{"port: ''\n", ":1: ", {"port: ''", "an integer"}},
      Row{"port:\n", ":1: ", {"port: nothing", "an integer"}},
      Row{"port: [1, 2]\n", ":1: ", {"port: a list", "an integer"}},
      Row{"port: {a: 1}\n", ":1: ", {"port: a mapping", "an integer"}},
      Row{"port: 1\nport: 2\n", ":2: ", {"port: is set twice"}},
      Row{"insecure: yes\n", ":1: ", {"insecure: 'yes'", "true or false"}},
      Row{"device: gpu\n", ":1: ", {"device: 'gpu'", "auto | host | cuda"}},
      Row{"gpu_memory_fraction: 1.01\n", ":1: ", {"gpu_memory_fraction: '1.01'", "0.05 .. 1"}},
      Row{"device_index: 256\n", ":1: ", {"device_index: '256'", "0 .. 255"}},
      Row{"kv_cache_bytes: 256 megs\n", ":1: ", {"'256 megs'", "KiB, MiB, GiB"}},
      Row{"kv_cache_bytes: 1KiB\n", ":1: ", {"'1KiB'", "a size in 1MiB .. "}},
      Row{"drain_timeout_seconds: 30s\n", ":1: ", {"'30s'", "seconds in 0 .. 86400"}},
      Row{"drain_timeout_seconds: -0.1\n", ":1: ", {"seconds in 0"}},
      Row{"allowed_origins: {a: b}\n", ":1: ", {"a mapping", "a list"}},
      Row{"allowed_origins: [[a]]\n", ":1: ", {"a list"}},
      Row{"served_model_name: \"a\\nb\"\n", ":1: ", {"served_model_name", "on one line"}},
      Row{"model: m\n- x\n", ":2: ", {"is not YAML"}},
      Row{"[port, 8000]\n", ":1: ", {"flat mapping of keys to values"}},
      Row{"? [a]\n: 1\n", ":1: ", {"a key must be a word"}},
      Row{"model: m\n---\nport: 1\n", "tandem.yaml: ", {"must be one YAML document"}});
  const Given given(row.yaml);
  const auto message = given.refused();
  INFO(row.yaml);
  INFO(message);
  CHECK(message.find(std::string("tandem.yaml") + (row.line[0] == ':' ? row.line : ": ")) !=
        std::string::npos);
  for (const auto* part : row.says) CHECK(message.find(part) != std::string::npos);
}

TEST_CASE("all mistakes are told at once, up to a bound") {
  const auto message = Given("prot: 1\nport: x\nhots: 1\n").refused();
  CHECK(std::count(message.begin(), message.end(), '\n') == 2);
  std::string many;
  for (int i = 0; i < 100; ++i) many += "nothing" + std::to_string(i) + ": 1\n";
  const auto bounded = Given(many).refused();
  CHECK(std::count(bounded.begin(), bounded.end(), '\n') == 20);
  CHECK(bounded.find("and 80 more") != std::string::npos);
}

TEST_CASE("a file that is absent, a folder or huge is refused by name") {
  config::Sources sources;
  sources.file = "/nonexistent/tandem.yaml";
  auto result = config::load(sources);
  REQUIRE_FALSE(result.has_value());
  CHECK(result.error().message.find("/nonexistent/tandem.yaml: cannot be read") == 0);
  Given given("model: m\n");
  sources.file = given.folder.path();
  CHECK_FALSE(config::load(sources).has_value());
  std::ofstream(given.sources.file) << std::string((1 << 20) + 1, '#');
  CHECK(given.refused().find("larger than 1 MiB") != std::string::npos);
}

TEST_CASE("wrong variables and flags are refused by their own names") {
  Given given("model: m\n");
  given.sources.environment = {{"TANDEM_PORT", "tcp://10.0.0.1:8000"}};
  auto message = given.refused();
  CHECK(message.find("environment TANDEM_PORT: port: 'tcp://10.0.0.1:8000'") == 0);
  CHECK(message.find("Kubernetes") != std::string::npos);
  given.sources.environment.clear();
  given.sources.command_line = {{"max_sequences", {"0"}}};
  CHECK(given.refused().find("command line --max-sequences: max_sequences: '0'") == 0);
}

TEST_CASE("a TANDEM_ variable that is no key is a warning") {
  Given given("model: m\n");
  given.sources.environment = {{"TANDEM_SERVICE_HOST", "10.0.0.1"}};
  const auto result = config::load(given.sources);
  REQUIRE(result.has_value());
  REQUIRE(result->warnings.size() == 1);
  CHECK(result->warnings[0].find("TANDEM_SERVICE_HOST") != std::string::npos);
}

TEST_CASE("a key in the environment is refused: it would be taken for protection") {
  Given given("model: m\n");
  given.sources.environment = {{"TANDEM_API_KEY", "sk-secret"}};
  const auto why = given.refused();
  CHECK(why.find("api_key_file") != std::string::npos);
  CHECK(why.find("sk-secret") == std::string::npos);
}

TEST_CASE("values are checked together") {
  CHECK(Given("model: m\napi_key_file: none\n").refused().find("api_key_file") == 0);
  CHECK(Given("port: 1\n").refused().find("model: must name") == 0);
  CHECK(Given("model: m\nhost: localhost\n").refused().find("not an IP address") !=
        std::string::npos);
  CHECK(Given("model: m\nhost: 0.0.0.0\n").refused().find("insecure: true") != std::string::npos);
  CHECK(Given("model: m\nhost: '::'\n").refused().find("insecure: true") != std::string::npos);
  CHECK(Given("model: m\nhost: 0.0.0.0\ninsecure: true\n").loaded().server.host == "0.0.0.0");
  CHECK(Given("model: m\nhost: '::1'\n").loaded().server.host == "::1");
  CHECK(Given("model: m\nhost: 127.1.2.3\n").loaded().server.host == "127.1.2.3");
  CHECK(Given("model: m\nmerge_above_bytes: 8MiB\n").refused().find("max_unsent_bytes") !=
        std::string::npos);
  CHECK(Given("model: m\ndata_dir: ''\n").refused().find("data_dir") == 0);
}

TEST_CASE("lists outside of files are separated by commas") {
  Given given("model: m\n");
  given.sources.environment = {{"TANDEM_ALLOWED_ORIGINS", "http://a,http://b"}};
  CHECK(given.loaded().server.allowed_origins == std::vector<std::string>{"http://a", "http://b"});
  given.sources.environment = {{"TANDEM_ALLOWED_ORIGINS", "http://a,,http://b"}};
  CHECK(given.refused().find("allowed_origins") != std::string::npos);
}

TEST_CASE("the process's own variables are read") {
  ::setenv("TANDEM_TEST_VARIABLE", "a=b", 1);
  const auto all = config::process_environment();
  ::unsetenv("TANDEM_TEST_VARIABLE");
  CHECK(std::count(all.begin(), all.end(),
                   std::pair<std::string, std::string>("TANDEM_TEST_VARIABLE", "a=b")) == 1);
}

TEST_CASE("what --print-config prints loads back to the same values, with each origin shown") {
  Given given(
      "model: m\ndata_dir: /d\nserved_model_name: 'a \"b\" \\ c'\nport: 8001\nhost: '::1'\n"
      "flex_wait_seconds: 1.25\nallowed_origins: [x, y]\n");
  given.sources.command_line = {{"threads", {"3"}}};
  const auto first = config::load(given.sources);
  REQUIRE(first.has_value());
  const auto text = config::print_config(*first);
  CHECK(text.find("# command line --threads") != std::string::npos);
  CHECK(text.find("tandem.yaml:3") != std::string::npos);
  CHECK(text.find("# default") != std::string::npos);
  const auto again = Given(text).loaded();
  for (const auto& key : config::keys()) {
    INFO(key.name);
    CHECK(key.get(again) == key.get(first->config));
  }
}
