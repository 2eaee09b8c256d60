// How fast attention and copies are, by the clock of the host around many repetitions.
#include <random>

#include "bench/gpu_check/attention_case.hpp"
#include "bench/gpu_check/lab.hpp"

namespace tandem::gpu_check {

void measure_attention(const Lab& lab, Report& report) {
  // Heads of Llama-3.1-8B: 32 queries on 8 keys, 128 wide. Each shape's keys are random; those of
  // the larger shapes exceed the L2 cache.
  std::mt19937 random(1);
  const auto sized = [&](double value) {
    return std::max(1U, static_cast<std::uint32_t>(value * lab.scale));
  };
  struct Shape {
    std::string name;
    std::vector<AttentionPart> parts;
  };
  const std::vector<Shape> shapes{{"decode 1 x 8192", {1, {sized(8192), 1}}},
                                  {"decode 64 x 2048", {sized(64), {sized(2048), 1}}},
                                  {"decode 256 x 2048", {sized(256), {sized(2048), 1}}},
                                  {"prefill 2048 after 0", {1, {0, sized(2048)}}},
                                  {"prefill 2048 after 8192", {1, {sized(8192), sized(2048)}}}};
  for (const auto& shape : shapes) {
    AttentionCase one(lab, 8, 4, 128, shape.parts, random);
    for (const auto& kind : attention_kinds(lab, 128)) {
      one.prepare(lab, kind);
      const double seconds = seconds_of(lab, lab.scale < 1 ? 1 : 20, [&] { one.run(lab); });
      const auto name = "attention " + kind.name + shape.name;
      report.figure(name, seconds * 1e6, "us a layer");
      report.figure(name, one.key_bytes() / seconds / 1e9, "GB/s of keys");
      report.figure(name, one.operations() / seconds / 1e12, "TFLOP/s");
    }
  }
}

namespace {

/// Copies of `piece` bytes each, one after another, `total` in all.
template <class Copy>
void measure_copy(const Lab& lab, const std::string& name, std::int64_t total, std::int64_t piece,
                  const Copy& copy, Report& report) {
  const double seconds = seconds_of(lab, lab.scale < 1 ? 1 : 5, [&] {
    for (std::int64_t at = 0; at < total; at += piece) copy(at);
  });
  report.figure("copy " + name + ", pieces of " + std::to_string(piece >> 10) + " KiB",
                static_cast<double>(total) / seconds / 1e9, "GB/s");
}

}  // namespace

void measure_copies(const Lab& lab, Report& report) {
  auto& driver = *lab.driver;
  const std::int64_t block = 2LL << 20;  // a KV block of Llama-3.1-8B
  const std::int64_t blocks = lab.scale < 1 ? 2 : 128;
  const auto total = blocks * block;
  const auto there = must(gpu::cuda::DeviceBuffer::make(driver, Bytes(2 * total)));
  const auto here = must(gpu::cuda::MappedBuffer::make(driver, Bytes(total)));
  for (const std::int64_t piece : {std::int64_t{64} << 10, block}) {
    measure_copy(
        lab, "to the host", total, piece,
        [&](std::int64_t at) {
          must(driver.copy_to_host(here.host() + at, there.data() + at, Bytes(piece), lab.stream));
        },
        report);
    measure_copy(
        lab, "to the device", total, piece,
        [&](std::int64_t at) {
          must(
              driver.copy_to_device(there.data() + at, here.host() + at, Bytes(piece), lab.stream));
        },
        report);
  }
  std::vector<std::uint32_t> from, to;
  for (std::int64_t i = 0; i < blocks; ++i) {
    from.push_back(static_cast<std::uint32_t>(blocks - 1 - i));
    to.push_back(static_cast<std::uint32_t>(i));
  }
  const DeviceArray<std::uint32_t> from_there(lab, from), to_there(lab, to);
  gpu::cuda::CopyBlocksArgs args{.from = from_there.data(),
                                 .to = to_there.data(),
                                 .source = there.data(),
                                 .target = there.data() + total,
                                 .block_bytes = block,
                                 .num_blocks = static_cast<std::int32_t>(blocks)};
  const auto measure_kernel = [&](const std::string& name, double bytes) {
    const double seconds =
        seconds_of(lab, lab.scale < 1 ? 1 : 5, [&] { lab.kernels->copy_blocks(args, lab.stream); });
    report.figure("copy_blocks " + name, bytes / seconds / 1e9, "GB/s");
  };
  measure_kernel("on the device, read and written", 2.0 * static_cast<double>(total));
  args.target = here.device();
  measure_kernel("to mapped host memory", static_cast<double>(total));

  // What arrived is what left: blocks were put in reverse.
  std::vector<std::byte> pattern(static_cast<std::size_t>(total));
  for (std::size_t i = 0; i < pattern.size(); ++i)
    pattern[i] = static_cast<std::byte>(i / static_cast<std::size_t>(block) * 37 + i % 251);
  must(driver.copy_to_device(there.data(), pattern.data(), Bytes(total), lab.stream));
  lab.kernels->copy_blocks(args, lab.stream);
  lab.finish();
  bool same = true;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const auto size = static_cast<std::size_t>(block);
    const auto source = (static_cast<std::size_t>(blocks) - 1 - i / size) * size + i % size;
    same = same && here.host()[i] == pattern[source];
  }
  report.check("copy_blocks to mapped host memory: bytes", same, "");
}

}  // namespace tandem::gpu_check
