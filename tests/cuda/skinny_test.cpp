// Products of few rows: how they are divided, and the kernel on the emulated device against sums in
// double precision. Outputs begin poisoned, and so does everything that may not be read.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <random>

#include "gpu/cuda/kernels/tile_index.hpp"
#include "gpu/cuda/memory_plan.hpp"
#include "gpu/cuda/skinny_gemm.hpp"
#include "gpu/cuda/skinny_plan.hpp"
#include "model/float_formats.hpp"
#include "tests/cuda/emulated_kernels.hpp"
#include "tests/cuda/fake_driver.hpp"

using namespace tandem;
using namespace tandem::gpu::cuda;

namespace {

struct Size {
  std::int32_t n, k;
};

/// Of every product of Llama-3.1-8B, Llama-3.2-1B, Qwen3-0.6B and Qwen2.5-0.5B, and odd ones.
constexpr Size sizes[] = {{6144, 4096}, {4096, 4096}, {28672, 4096}, {4096, 14336}, {128256, 4096},
                          {3072, 2048}, {2048, 2048}, {16384, 2048}, {2048, 8192},  {128256, 2048},
                          {4096, 1024}, {1024, 2048}, {6144, 1024},  {1024, 3072},  {151936, 1024},
                          {1152, 896},  {896, 896},   {9728, 896},   {896, 4864},   {151936, 896},
                          {1, 8},       {127, 72},    {129, 8},      {1000, 24}};

/// A device of so many multiprocessors, the kernel's Gemm on it, and a workspace.
struct World {
  explicit World(std::uint32_t multiprocessors, Bytes workspace_size = Bytes(gemm_workspace_bytes),
                 Bytes block_memory = Bytes(227 << 10)) {
    driver.memory_info = {Bytes(256 << 20), Bytes(256 << 20)};
    driver.described.multiprocessors = multiprocessors;
    driver.described.block_memory = block_memory;
    gemm = std::move(*SkinnyGemm::make(driver, tests::emulated_kernels()));
    workspace = std::move(*DeviceBuffer::make(driver, workspace_size));
    gemm->set_workspace(workspace.data(), workspace_size);
    stream = std::move(*make_stream(driver, StreamPriority::normal));
  }

  tests::FakeDriver driver;
  OwnedStream stream;
  DeviceBuffer workspace;
  std::unique_ptr<SkinnyGemm> gemm;
};

/// Random bf16 numbers on an address of 16 bytes; what lies around them is NaN.
class Matrix {
 public:
  Matrix(std::int64_t count, std::mt19937& random) {
    memory_.resize(static_cast<std::size_t>(count) + 2 * margin + 8, 0xFFFF);
    data_ = memory_.data() + margin;
    while (reinterpret_cast<std::uintptr_t>(data_) % 16 != 0) ++data_;
    std::normal_distribution<float> normal;
    for (std::int64_t i = 0; i < count; ++i) data_[i] = model::bf16_of_f32(normal(random));
  }
  [[nodiscard]] const std::uint16_t* data() const { return data_; }
  [[nodiscard]] double at(std::int64_t i) const {
    return static_cast<double>(model::f32_of_bf16(data_[i]));
  }

 private:
  static constexpr std::size_t margin = 64;
  std::vector<std::uint16_t> memory_;
  std::uint16_t* data_ = nullptr;
};

/// One product: operands, what was in `out`, and the truth.
class Product {
 public:
  Product(const GemmKey& key, unsigned seed) : key_(key), stride_(key.n + 5), random_(seed) {
    std::normal_distribution<float> normal;
    before_.resize(static_cast<std::size_t>((key.rows + 1) * stride_));
    for (auto& value : before_) value = normal(random_);
  }

  [[nodiscard]] const GemmKey& key() const { return key_; }
  /// What `out` holds, f32 or bf16, if it held `before_` (its bits, if bf16) and the product ran.
  std::vector<float> run(World& world, int times = 1) const {
    auto out = before_;
    REQUIRE(world.gemm->prepare(key_, stride_).has_value());
    for (int i = 0; i < times; ++i)
      REQUIRE(world.gemm->run(key_, operands(out), world.stream.get()).has_value());
    world.driver.run_all();
    return out;
  }
  [[nodiscard]] GemmOperands operands(std::vector<float>& out) const {
    return {a_.data(), weights_.data(), out.data(), stride_};
  }
  [[nodiscard]] std::vector<float> before() const { return before_; }

  /// The largest difference from the truth beyond what rounding explains; infinite if anything
  /// outside of (rows, n) was written.
  [[nodiscard]] double worst(const std::vector<float>& out) const {
    const bool halves = key_.output == GemmOutput::bf16;
    const auto elements = static_cast<std::int64_t>(out.size()) * (halves ? 2 : 1);
    const auto* bits = reinterpret_cast<const std::uint16_t*>(out.data());
    const auto* bits_before = reinterpret_cast<const std::uint16_t*>(before_.data());
    double largest = 0;
    for (std::int64_t at = 0; at < elements; ++at) {
      const auto row = at / stride_, column = at % stride_;
      const auto i = static_cast<std::size_t>(at);
      if (row >= key_.rows || column >= key_.n) {
        const bool same = halves ? bits[i] == bits_before[i] : out[i] == before_[i];
        if (!same) return INFINITY;
        continue;
      }
      const double ours = static_cast<double>(halves ? model::f32_of_bf16(bits[i]) : out[i]);
      const double sum = truth(row, column);
      const double expected =
          key_.output == GemmOutput::f32_added ? static_cast<double>(before_[i]) + sum : sum;
      const double difference =
          std::abs(ours - expected) - (halves ? std::abs(expected) / 256 : 0.0);
      if (!(difference <= largest)) largest = difference;
    }
    return largest;
  }

 private:
  [[nodiscard]] double truth(std::int64_t row, std::int64_t column) const {
    double sum = 0;
    for (std::int64_t i = 0; i < key_.k; ++i)
      sum += a_.at(row * key_.k + i) * weights_.at(column * key_.k + i);
    return sum;
  }

  GemmKey key_;
  std::int64_t stride_;
  std::mt19937 random_;
  Matrix a_{key_.rows * key_.k, random_}, weights_{key_.n * key_.k, random_};
  std::vector<float> before_;
};

/// f32 sums of up to 2,000 products of normal numbers.
constexpr double tolerance = 2e-4;

bool same_bits(const std::vector<float>& one, const std::vector<float>& other) {
  return one.size() == other.size() &&
         std::memcmp(one.data(), other.data(), one.size() * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("every unit of a product belongs to one block, and shares differ by one unit at most") {
  for (const auto& size : sizes)
    for (const std::int32_t most : {1, 3, 8, 108, 132, 148}) {
      const SkinnyPlan plan(size.n, size.k, most);
      INFO("n " << size.n << " k " << size.k << " blocks " << most);
      REQUIRE(SkinnyPlan::can_divide(size.n, size.k, most));
      REQUIRE(plan.blocks == std::min(most, plan.units()));
      CHECK(plan.tiles * skinny_tile >= size.n);
      CHECK(plan.steps * skinny_step >= size.k);
      REQUIRE(plan.first_unit(0) == 0);
      REQUIRE(plan.first_unit(plan.blocks) == plan.units());
      const auto share = plan.units() / plan.blocks;
      for (std::int32_t block = 0; block < plan.blocks; ++block) {
        const auto begin = plan.first_unit(block), end = plan.first_unit(block + 1);
        const auto has = end - begin;
        REQUIRE((has == share || has == share + 1));
        for (const auto unit : {begin, (begin + end) / 2, end - 1})
          REQUIRE(plan.block_of(unit) == block);
      }
    }
}

TEST_CASE("blocks that share a tile have places and counters that no other tile uses") {
  for (const auto& size : sizes)
    for (const std::int32_t most : {1, 3, 8, 108, 132, 148}) {
      const SkinnyPlan plan(size.n, size.k, most);
      std::vector<int> slots(static_cast<std::size_t>(2 * plan.blocks));
      std::vector<int> counters(static_cast<std::size_t>(plan.blocks));
      std::int32_t parts = 0;
      for (std::int32_t tile = 0; tile < plan.tiles; ++tile) {
        const auto first = plan.first_block(tile), last = plan.last_block(tile);
        REQUIRE(first <= last);
        parts += last - first + 1;
        if (first == last) continue;
        REQUIRE(++counters.at(static_cast<std::size_t>(plan.counter(tile))) == 1);
        for (auto block = first; block <= last; ++block) {
          // It has a unit of the tile indeed.
          REQUIRE(std::max(plan.first_unit(block), tile * plan.steps) <
                  std::min(plan.first_unit(block + 1), (tile + 1) * plan.steps));
          REQUIRE(++slots.at(static_cast<std::size_t>(plan.slot(tile, block))) == 1);
        }
      }
      // Each block's share is one part of a tile, and one more for every tile that begins in it.
      CHECK(parts <= plan.blocks + plan.tiles);
      CHECK(skinny_workspace_bytes(plan.blocks, 64) <= gemm_workspace_bytes);
    }
}

TEST_CASE("the sums that a warp exchanges at once lie in 32 banks of shared memory") {
  for (int i = 0; i < 4; ++i) {
    std::uint32_t banks = 0;
    for (int lane = 0; lane < 32; ++lane)
      banks |= 1U << (fragment_column(lane, i) * skinny_pass_stride + fragment_row(lane, i)) % 32;
    CHECK(banks == 0xFFFFFFFF);
  }
}

TEST_CASE("every number of rows has columns enough") {
  for (std::int64_t rows = 1; rows <= skinny_rows; ++rows) {
    CHECK(skinny_columns(rows) >= rows);
    CHECK((skinny_columns(rows) == 8 || skinny_columns(rows) < 2 * rows));
  }
}

TEST_CASE(
    "the ring of units fits an A100's shared memory, and 64 KiB of weights are on their way") {
  CHECK(skinny_shared_bytes(64) <= 163 << 10);
  for (const int columns : {8, 16, 32, 64}) {
    CHECK(skinny_shared_bytes(columns) % 16 == 0);
    CHECK((skinny_stages - 2) * skinny_tile * skinny_step * 2 >= 64 << 10);
  }
}

TEST_CASE("products of few rows are the written-out ones, whatever the device's size") {
  unsigned seed = 0;
  for (const std::uint32_t multiprocessors : {1U, 3U, 8U, 132U}) {
    World world(multiprocessors);
    for (const auto& size : {Size{1, 8}, Size{171, 200}, Size{256, 328}, Size{130, 1032}})
      for (const std::int64_t rows : {1, 3, 8, 16, 33, 64}) {
        const auto output = static_cast<GemmOutput>(seed++ % 3);
        const Product product({rows, size.n, size.k, output}, seed);
        INFO(multiprocessors << " multiprocessors, " << text_of(product.key()) << ", output "
                             << static_cast<int>(output));
        CHECK(product.worst(product.run(world)) < tolerance);
      }
  }
}

TEST_CASE("products of every output follow each other in one workspace, again with the same bits") {
  World world(5);
  std::vector<Product> products;
  std::vector<std::vector<float>> first;
  for (const auto output : {GemmOutput::f32, GemmOutput::bf16, GemmOutput::f32_added})
    for (const std::int64_t rows : {4, 24, 64})
      products.emplace_back(GemmKey{rows, 300, 264, output}, static_cast<unsigned>(rows));
  for (const auto& product : products) {
    first.push_back(product.run(world));
    CHECK(product.worst(first.back()) < tolerance);
  }
  for (std::size_t i = products.size(); i-- > 0;)
    CHECK(same_bits(products[i].run(world), first[i]));
}

TEST_CASE("a tile is put together when the last of its blocks has written its part, not before") {
  World world(20);
  // Ten tiles of two blocks each; two products by turns, so that what the workspace holds from
  // before is wrong.
  const GemmKey key{8, 1280, 128, GemmOutput::f32};
  const Product one(key, 1), other(key, 2);
  const auto one_first = one.run(world), other_first = other.run(world);
  CHECK(one.worst(one_first) < tolerance);
  CHECK(other.worst(other_first) < tolerance);
  for (int i = 0; i < 30; ++i) {
    CHECK(same_bits(one.run(world), one_first));
    CHECK(same_bits(other.run(world), other_first));
  }
}

TEST_CASE("a captured product replays") {
  World world(7);
  const Product product({16, 400, 192, GemmOutput::f32_added}, 5);
  auto& driver = world.driver;
  auto out = product.before();
  REQUIRE(driver.begin_capture(world.stream.get()).has_value());
  REQUIRE(world.gemm->run(product.key(), product.operands(out), world.stream.get()).has_value());
  const OwnedGraph graph(driver, *driver.end_capture(world.stream.get()));
  CHECK(same_bits(out, product.before()));
  for (const int launches : {1, 2}) {
    REQUIRE(driver.launch(graph.get(), world.stream.get()).has_value());
    driver.run_all();
    CHECK(same_bits(out, product.run(world, launches)));
  }
}

TEST_CASE("a row's result has the same bits alone and in company") {
  World world(6);
  const Product company({64, 200, 400, GemmOutput::f32}, 3);
  const auto expected = company.run(world);
  const auto first_row = [&](const std::vector<float>& out) {
    return std::vector<float>(out.begin(), out.begin() + 200);
  };
  for (const std::int64_t rows : {1, 2, 16, 32, 63}) {
    auto out = company.before();
    const GemmKey key{rows, 200, 400, GemmOutput::f32};
    REQUIRE(world.gemm->run(key, company.operands(out), world.stream.get()).has_value());
    world.driver.run_all();
    CHECK(same_bits(first_row(out), first_row(expected)));
  }
}

TEST_CASE("shapes and devices that the kernel does not take are refused with what it takes") {
  const World world(132);
  const auto refusal = [](const World& where, const GemmKey& key) {
    const auto result = where.gemm->supports(key);
    REQUIRE(result.has_error());
    return result.error().message;
  };
  CHECK(world.gemm->supports({64, 128256, 4096, GemmOutput::f32}).has_value());
  CHECK(refusal(world, {0, 64, 64}).find("1 to 64") != std::string::npos);
  CHECK(refusal(world, {65, 64, 64}).find("1 to 64") != std::string::npos);
  CHECK(refusal(world, {1, 64, 12}).find("multiple of 8") != std::string::npos);
  CHECK(refusal(world, {1, 0, 64}).find("at least 1") != std::string::npos);
  CHECK(refusal(world, {1, 64, (1LL << 30) + 8}).find("2^31") != std::string::npos);
  CHECK(refusal(world, {1, 1 << 20, 1 << 20}).find("2^31") != std::string::npos);
  // An RTX 30 and its like: 99 KiB.
  const World small(84, Bytes(gemm_workspace_bytes), Bytes(99 << 10));
  CHECK(refusal(small, {1, 64, 64}).find("101376") != std::string::npos);
  // Two partial results of 64 x 128 floats for each of 132 blocks.
  const World tight(132, Bytes(132 * 2 * 64 * 128 * 4 - 1));
  CHECK(refusal(tight, {33, 4096, 4096}).find("8650752") != std::string::npos);
  CHECK(tight.gemm->supports({32, 4096, 4096}).has_value());
}

TEST_CASE("chosen shapes are our own kernel's, all others the library's") {
  World world(4);
  auto library = std::make_unique<tests::FakeGemm>();
  const auto* asked = library.get();
  const GemmKey ours{8, 64, 64, GemmOutput::f32}, theirs{8, 72, 64, GemmOutput::f32};
  const GemmKey impossible{128, 64, 64, GemmOutput::f32};
  ChosenGemm gemm(std::move(library), std::move(world.gemm),
                  [&](const GemmKey& key) { return key == ours || key == impossible; });
  gemm.set_workspace(world.workspace.data(), world.workspace.size());
  CHECK(gemm.name() == "written_out+skinny");
  REQUIRE(gemm.prepare(ours, 69).has_value());
  REQUIRE(gemm.prepare(theirs, 77).has_value());
  CHECK(asked->prepared.size() == 1);
  CHECK(asked->prepared.contains(theirs));
  const auto refused = gemm.prepare(impossible, 64);
  REQUIRE(refused.has_error());
  CHECK(refused.error().param == "gemm_tuning_file");
  CHECK(refused.error().message.find("128 rows") != std::string::npos);
  for (const auto& key : {ours, theirs}) {
    const Product product(key, 1);
    auto out = product.before();
    REQUIRE(gemm.run(key, product.operands(out), world.stream.get()).has_value());
    world.driver.run_all();
    CHECK(product.worst(out) < tolerance);
  }
}
