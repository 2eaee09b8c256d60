// The table of keys: that it is sound, and that config/default.yaml says the same.
#include "config/keys.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <set>
#include <sstream>

#include "config/load.hpp"
#include "config/values.hpp"
#include "gpu/host/kernels.hpp"
#include "policy/iteration_planner.hpp"
#include "policy/offline_order.hpp"

using namespace tandem;

TEST_CASE("config/default.yaml lists every key with its default, range and reason") {
  std::ifstream in("config/default.yaml");
  std::stringstream text;
  text << in.rdbuf();
  const bool same = text.str() == config::default_yaml();
  INFO("write it again: tandem serve --print-defaults > config/default.yaml");
  CHECK(same);
}

TEST_CASE("loading config/default.yaml changes nothing but the place of relative paths") {
  config::Sources sources;
  sources.file = "config/default.yaml";
  sources.command_line = {{"model", {""}}, {"data_dir", {"data"}}};
  const auto refused = config::load(sources);  // since a model has no default
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().message.rfind("model: must name", 0) == 0);
  sources.command_line[0].second = {"m"};
  const auto loaded = config::load(sources);
  REQUIRE(loaded.has_value());
  const config::Config defaults;
  for (const auto& key : config::keys()) {
    INFO(key.name);
    CHECK(loaded->origins.count(key.name) == 1);
    if (key.name != "model") CHECK(key.get(loaded->config) == key.get(defaults));
  }
}

TEST_CASE("config/quickstart.yaml loads") {
  config::Sources sources;
  sources.file = "config/quickstart.yaml";
  const auto loaded = config::load(sources);
  REQUIRE(loaded.has_value());
  CHECK(loaded->config.model == "examples/demo_model/model");
  CHECK(loaded->config.runtime.store.data_dir == "data");
  CHECK(loaded->config.server.port == 8000);
}

TEST_CASE("every key has a name of its own, a reason, a range, and a default that is allowed") {
  std::set<std::string> names;
  for (const auto& key : config::keys()) {
    INFO(key.name);
    CHECK(names.insert(key.name).second);
    CHECK(key.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string::npos);
    CHECK(key.reason.size() > 15);
    CHECK_FALSE(key.allowed.empty());
    CHECK(config::find_key(key.name) == &key);
    config::Config changed;
    const auto written = key.get(changed);
    const bool is_text = written.front() == '"' || written.front() == '[';
    if (!is_text) CHECK(key.set(changed, {written}));
    CHECK(key.get(changed) == written);
  }
  CHECK(config::find_key("port")->flag() == "--port");
  CHECK(config::find_key("max_sequences")->flag() == "--max-sequences");
  CHECK(config::find_key("max_sequences")->variable() == "TANDEM_MAX_SEQUENCES");
  CHECK(config::find_key("no_such_key") == nullptr);
}

TEST_CASE("every key sets its own field and no other") {
  const config::Config defaults;
  const std::vector<std::string> candidates{
      "true",  "false", "dummy",  "host",   "avx2",  "float32", "online_only", "json",
      "debug", "7",     "2",      "17MiB",  "fcfs",  "0.5",     "x",           "5ms",
      "hygen", "100",   "200000", "hermes", "qwen3", "own",     "serial"};
  for (const auto& key : config::keys()) {
    INFO(key.name);
    config::Config changed;
    bool took = false;
    for (const auto& candidate : candidates) {
      took = key.set(changed, {candidate}) && key.get(changed) != key.get(defaults);
      if (took) break;
    }
    // 1 .. 2 with default 2 needs another candidate.
    if (!took) took = key.set(changed, {"1"}) && key.get(changed) != key.get(defaults);
    CHECK(took);
    for (const auto& other : config::keys())
      if (other.name != key.name) CHECK(other.get(changed) == other.get(defaults));
  }
}

TEST_CASE("the scheduling policies that may be named are those that exist") {
  const auto& allowed = config::find_key("scheduling_policy")->allowed;
  for (const std::string name :
       {"hygen", "online_first", "fixed_rate", "online_only", "offline_only"}) {
    CHECK(policy::make_planner(name).has_value());
    CHECK(allowed.find(name) != std::string::npos);
  }
  const auto unknown = policy::make_planner("no_such_policy");
  REQUIRE_FALSE(unknown.has_value());
}

TEST_CASE("the offline orders that may be named are those that exist") {
  const auto* key = config::find_key("offline_order");
  for (const std::string name : {"fcfs", "prefix", "prefix_fair"}) {
    CHECK(policy::parse_order_rule(name).has_value());
    config::Config changed;
    CHECK(key->set(changed, {name}));
  }
  CHECK_FALSE(policy::parse_order_rule("no_such_order").has_value());
}

TEST_CASE("a ratio is kept in ten-thousandths, below one") {
  const auto* key = config::find_key("offline_utility_ratio");
  config::Config changed;
  for (const auto* text : {"0", "0.5", "0.9", "0.0001", "0.9999", "0.1234"}) {
    INFO(text);
    CHECK(key->set(changed, {text}));
    CHECK(key->get(changed) == text);
  }
  for (const auto* wrong : {"1", "-0.1", "0.99999", "x", ""})
    CHECK_FALSE(key->set(changed, {wrong}));
}

TEST_CASE("every kernel set that this CPU has may be named") {
  const auto* key = config::find_key("kernels");
  config::Config changed;
  for (const auto* table : gpu::supported_kernels()) {
    INFO(table->name);
    CHECK(key->set(changed, {std::string(table->name)}));
  }
}

TEST_CASE("sizes are read and written in both unit systems") {
  using config::parse_bytes;
  CHECK(parse_bytes("0") == 0);
  CHECK(parse_bytes("4096") == 4096);
  CHECK(parse_bytes("256MiB") == 256LL << 20);
  CHECK(parse_bytes("256 MiB") == 256LL << 20);
  CHECK(parse_bytes("2GiB") == 2LL << 30);
  CHECK(parse_bytes("1kB") == 1000);
  CHECK(parse_bytes("3MB") == 3000000);
  CHECK(parse_bytes("5B") == 5);
  for (const auto* wrong : {"", "MiB", "-1", "-1MiB", "1.5GiB", "1 ", "1  MiB", "1mib", "1MiBx",
                            "9223372036854775807KiB", "99999999999999999999", " 1"})
    CHECK_FALSE(parse_bytes(wrong));
  CHECK(config::bytes_text(256LL << 20) == "256MiB");
  CHECK(config::bytes_text(1536) == "1536");
  CHECK(config::bytes_text(1024) == "1KiB");
  CHECK(config::bytes_text(0) == "0");
}

TEST_CASE("numbers are read whole or not at all") {
  CHECK(config::parse_integer("-12") == -12);
  for (const auto* wrong : {"", "+1", "1 ", " 1", "0x10", "1e3", "1.0", "9223372036854775808"})
    CHECK_FALSE(config::parse_integer(wrong));
  CHECK(config::parse_decimal("0.5") == 0.5);
  for (const auto* wrong : {"", "nan", "inf", "1e400", "1s", "1e3", "0,5"})
    CHECK_FALSE(config::parse_decimal(wrong));
  CHECK(config::seconds_text(30000) == "30");
  CHECK(config::seconds_text(1250) == "1.25");
  CHECK(config::seconds_text(5) == "0.005");
}

TEST_CASE("the nearest key is found for slips and for nothing else") {
  const std::vector<std::string_view> known{"port", "host", "max_sequences", "max_choices"};
  CHECK(config::nearest("prot", known) == "port");
  CHECK(config::nearest("ports", known) == "port");
  CHECK(config::nearest("max-sequences", known) == "max_sequences");
  CHECK(config::nearest("max_sequence", known) == "max_sequences");
  CHECK(config::nearest("maxsequences", known) == "max_sequences");
  CHECK(config::nearest("tensor_parallel", known).empty());
  CHECK(config::nearest("", known).empty());
  CHECK(config::nearest(std::string(100000, 'a'), known).empty());
}
