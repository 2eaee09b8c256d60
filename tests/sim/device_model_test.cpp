// Device files, the roofline against counts done by hand, and noise.
#include "sim/device_model.hpp"

#include <catch2/catch.hpp>
#include <fstream>

#include "sim/faults.hpp"
#include "tests/support/temporary_folder.hpp"

namespace tandem::sim {
namespace {

ModelShape llama_8b() {
  const auto config = model::load_config("config/models/llama-3.1-8b");
  REQUIRE(config.has_value());
  return shape_of(*config);
}

Plan plan_of(std::initializer_list<std::pair<std::uint32_t, std::uint32_t>> slices) {
  Plan plan;
  for (const auto& [context, tokens] : slices)
    plan.slices.push_back(
        {.decode = tokens == 1, .samples = true, .context = context, .num_tokens = tokens});
  return plan;
}

std::string error_of(const std::string& yaml) {
  tests::TemporaryFolder folder;
  std::ofstream(folder.path() / "device.yaml") << yaml;
  const auto device = load_device(folder.path() / "device.yaml");
  return device ? "" : device.error().message;
}

}  // namespace

TEST_CASE("every device file that is shipped can be read") {
  for (const char* name : {"h200", "h100", "a100", "a10"}) {
    const auto device = load_device("config/devices/" + std::string(name) + ".yaml");
    INFO(name);
    REQUIRE(device.has_value());
    CHECK(kv_blocks(*device, llama_8b()).has_value());
  }
}

TEST_CASE("the shape of Llama-3.1-8B has the published counts") {
  const ModelShape shape = llama_8b();
  CHECK(shape.parameters == 8030261248);
  CHECK(shape.kv_bytes_per_token() == Bytes(131072));
  CHECK(shape.head_parameters == 525336576);
}

TEST_CASE("the roofline reads weights for few rows and multiplies for many") {
  DeviceSpec device{.name = "even", .memory_gib = 100, .bandwidth_tb_s = 4, .tflops = 800};
  const ModelShape shape = llama_8b();
  const auto roofline = make_roofline(device, shape);
  const double weights_ms = 15.01e9 / 4e12 * 1e3;
  CHECK(to_ms(roofline->cost(plan_of({{0, 1}}))) == Approx(weights_ms).epsilon(0.01));
  // 64 decodes behind 2047 positions read 64 * 2048 * 128 KiB of KV.
  Plan decodes;
  for (int i = 0; i < 64; ++i)
    decodes.slices.push_back({.decode = true, .samples = true, .context = 2047, .num_tokens = 1});
  const double kv_ms = 64.0 * 2048 * 131072 / 4e12 * 1e3;
  CHECK(to_ms(roofline->cost(decodes)) == Approx(weights_ms + kv_ms).epsilon(0.01));
  // A chunk of 2048: 2 * 6.98e9 * 2048 operations, and attention over half of 2048 squared.
  const double gemm_ms = 2 * 6.98e9 * 2048 / 800e12 * 1e3;
  const double attention_ms = 4.0 * 32 * 4096 * 2048 * 2049 / 2 / 800e12 * 1e3;
  const double head_ms = 525336576.0 * 2 / 4e12 * 1e3;
  CHECK(to_ms(roofline->cost(plan_of({{0, 2048}}))) ==
        Approx(gemm_ms + attention_ms + head_ms).epsilon(0.01));
  CHECK(roofline->cost(plan_of({{8192, 2048}})) > roofline->cost(plan_of({{0, 2048}})));
}

TEST_CASE("KV blocks fill what weights leave, and a model that leaves nothing is refused") {
  DeviceSpec device{.name = "small", .memory_gib = 24, .memory_share = 0.9, .work_space_gib = 1};
  const auto blocks = kv_blocks(device, llama_8b());
  REQUIRE(blocks.has_value());
  const double room = (24 * 0.9 - 1) * 1073741824.0 - 8030261248.0 * 2;
  CHECK(blocks->value() == static_cast<std::int64_t>(room / (16 * 131072)));
  device.memory_gib = 16;
  CHECK_THAT(kv_blocks(device, llama_8b()).error().message, Catch::Contains("of small nothing"));
}

TEST_CASE("a device file that is wrong is named with its key and range") {
  CHECK_THAT(error_of("name: x\n"), Catch::Contains("'memory_gib' is missing"));
  CHECK_THAT(error_of("name: x\nmemory_gib: -3\n"), Catch::Contains("'memory_gib' is '-3'"));
  CHECK_THAT(error_of("name: x\nmemory_gib: nan\n"), Catch::Contains("allowed is 0.001 to"));
  CHECK_THAT(error_of("name: x\nmemory_gib: [1]\n"), Catch::Contains("is no number"));
  CHECK_THAT(error_of("nmae: x\n"), Catch::Contains("unknown key 'nmae'"));
  CHECK_THAT(error_of("- 1\n"), Catch::Contains("a map of keys"));
  CHECK_THAT(error_of("a: [\n"), Catch::Contains("is no YAML"));
  CHECK_THAT(load_device("nowhere.yaml").error().message, Catch::Contains("cannot be read"));
}

TEST_CASE("noise has mean one and the spread that was asked for, and no draw depends on another") {
  const Faults faults({.noise = 0.1}, 9);
  double sum = 0, squares = 0;
  constexpr int count = 20000;
  for (int i = 0; i < count; ++i) {
    Plan plan = plan_of({{0, 5}});
    plan.id = IterationId{static_cast<std::uint64_t>(i)};
    const double factor =
        static_cast<double>(faults.cost(plan, 0, Duration(1000000)).count()) / 1e6;
    sum += factor;
    squares += factor * factor;
  }
  const double mean = sum / count;
  CHECK(mean == Approx(1).margin(0.005));
  CHECK(std::sqrt(squares / count - mean * mean) == Approx(0.1).margin(0.005));
}

}  // namespace tandem::sim
