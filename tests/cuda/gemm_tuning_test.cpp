// The file of measured GEMM choices: written, read back, and refused when it is not what it should
// be.
#include "gpu/cuda/gemm_tuning.hpp"

#include <catch2/catch.hpp>

using namespace tandem;
using namespace tandem::gpu::cuda;

namespace {

GemmTuning example() {
  GemmTuning tuning{.device = "NVIDIA H200", .library = 130200, .choices = {}, .own = {}};
  TunedGemm choice{.workspace_bytes = 1 << 20, .microseconds = 12.5};
  for (std::uint64_t i = 0; i < choice.algorithm.size(); ++i) choice.algorithm[i] = ~0ULL / (i + 1);
  tuning.choices[{64, 6144, 4096, GemmOutput::bf16}] = choice;
  tuning.choices[{64, 4096, 4096, GemmOutput::f32_added}] = {};
  tuning.choices[{1, 128256, 4096, GemmOutput::f32}] = choice;
  tuning.own[{8, 6144, 4096, GemmOutput::bf16}] = 11.25;
  tuning.own[{1, 4096, 4096, GemmOutput::f32_added}] = 0;
  return tuning;
}

}  // namespace

TEST_CASE("a tuning file that is read back is what was written") {
  const auto tuning = example();
  const auto read = parse_tuning(to_text(tuning), "t");
  REQUIRE(read.has_value());
  CHECK(read->device == tuning.device);
  CHECK(read->library == tuning.library);
  CHECK(read->choices == tuning.choices);
  CHECK(read->own == tuning.own);
}

TEST_CASE("a tuning file of another device or library is refused with both named") {
  CHECK(check_tuning(example(), "NVIDIA H200", 130200, "t").has_value());
  const auto device = check_tuning(example(), "NVIDIA A100", 130200, "t");
  REQUIRE(device.has_error());
  CHECK(device.error().message.find("H200") != std::string::npos);
  CHECK(device.error().message.find("A100") != std::string::npos);
  CHECK(check_tuning(example(), "NVIDIA H200", 130300, "t").error().param == "gemm_tuning_file");
}

TEST_CASE("a line that is not a choice is refused by its number") {
  const std::string head = "tandem gemm tuning 2\ndevice d\nlibrary 5\n";
  const std::string words = " 1 2 3 4 5 6 7 f";
  CHECK(parse_tuning(head + "1 2 3 bf16" + words + " 0 1.5\n", "t").has_value());
  CHECK(parse_tuning(head + "1 2 3 bf16 own 1.5\n", "t").has_value());
  for (const auto& line : std::vector<std::string>{
           "1 2 3 bf16" + words + " 0", "0 2 3 bf16" + words + " 0 1", "1 2 3 f16" + words + " 0 1",
           "1 2 9999999999999 bf16" + words + " 0 1", "1 2 3 bf16" + words + "g 0 1",
           "1 2 3 bf16" + words + " 0 -1", "1 2 3 bf16" + words + " 0 1 1",
           std::string("1 2 3 bf16 own"), std::string("1 2 3 bf16 ours 1"),
           std::string("1 2 3 bf16 own x"), std::string("0 2 3 bf16 own 1"), std::string("x"),
           std::string()}) {
    const auto read = parse_tuning(head + line + "\n", "t");
    REQUIRE(read.has_error());
    CHECK(read.error().message.find("t, line 4") == 0);
  }
  const auto one = "1 2 3 bf16" + words + " 0 1\n", own = std::string("1 2 3 bf16 own 1\n");
  for (const auto& twice : {one + one, one + own, own + one, own + own})
    CHECK(parse_tuning(head + twice, "t").error().message.find("line 5") != std::string::npos);
  CHECK(parse_tuning("", "t").has_error());
  const auto old = parse_tuning("tandem gemm tuning 1\ndevice d\nlibrary 5\n", "t");
  REQUIRE(old.has_error());
  CHECK(old.error().message.find("gpu_check gemm-tune") != std::string::npos);
  CHECK(parse_tuning("tandem gemm tuning 2\ndevice d\nlibrary x\n", "t").has_error());
  CHECK(parse_tuning("tandem gemm tuning 2\ndevice d\n", "t").has_error());
}
