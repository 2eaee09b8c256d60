// Checkpoints and prefetches of KV blocks on the fake device in virtual time: what waits for what,
// when it is reported, what is refused, and what happens when the device fails.
#include "gpu/cuda/kv_copies.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>

#include "tests/cuda/fake_driver.hpp"

using namespace tandem;
using namespace tandem::gpu::cuda;

namespace {

ModelShape small_shape() {
  ModelShape shape;
  shape.layers = 3;
  shape.kv_heads = 2;
  shape.head_dim = shape.stored_head_dim = 16;
  return shape;
}

constexpr std::int64_t num_blocks = 12;

/// A pool whose bytes tell their place, a compute stream, and copies with `num_slots` slots.
struct Bench {
  explicit Bench(std::int64_t num_slots = 4, KvOrder order = KvOrder::block_major) {
    const auto bytes = Bytes(num_blocks * block_bytes);
    memory = std::move(*DeviceBuffer::make(driver, bytes));
    for (std::int64_t i = 0; i < bytes.value(); ++i)
      memory.data()[i] = static_cast<std::byte>(i * 31 + i / 257);
    pool = {memory.data(), small_shape(), Blocks(num_blocks), order};
    compute = std::move(*make_stream(driver, StreamPriority::normal));
    copies = std::move(*KvCopies::make(driver, pool, Bytes(num_slots * block_bytes + 5)));
  }

  /// Work on the compute stream that says when it ran.
  void work(const char* name) {
    reinterpret_cast<tests::EmulatedStream*>(compute.get())->enqueue([this, name] {
      events.push_back(name);
    });
  }
  /// A report that says when it came and with what.
  Driver::Notification reported(const char* name) {
    return [this, name](const Result<void>& result) {
      events.push_back(result ? name : std::string(name) + " failed");
    };
  }
  std::vector<std::byte> block_content(BlockId block) const {
    std::vector<std::byte> content(static_cast<std::size_t>(block_bytes));
    for (const auto& piece : pieces_of(pool, block))
      std::memcpy(content.data() + piece.slot_offset, piece.at,
                  static_cast<std::size_t>(piece.size.value()));
    return content;
  }

  const std::int64_t block_bytes = kv_block_bytes(small_shape()).value();
  tests::FakeDriver driver;
  DeviceBuffer memory;
  KvPool pool;
  OwnedStream compute;
  std::unique_ptr<KvCopies> copies;
  std::vector<std::string> events;
};

BlockId block(std::uint32_t id) { return BlockId(id); }

}  // namespace

TEST_CASE("a block is one run where the pool is block-major, one per layer where it is not") {
  const Bench by_block(1), by_layer(1, KvOrder::layer_major);
  const auto whole = pieces_of(by_block.pool, block(5));
  REQUIRE(whole.size() == 1);
  CHECK(whole[0].at == by_block.memory.data() + 5 * by_block.block_bytes);
  CHECK(whole[0].size == Bytes(by_block.block_bytes));
  const auto layers = pieces_of(by_layer.pool, block(5));
  REQUIRE(layers.size() == 3);
  for (std::int64_t i = 0; i < 3; ++i) {
    const auto& piece = layers[static_cast<std::size_t>(i)];
    CHECK(piece.size == Bytes(by_layer.block_bytes / 3));
    CHECK(piece.at == by_layer.memory.data() + (i * num_blocks + 5) * by_layer.block_bytes / 3);
    CHECK(piece.slot_offset == i * by_layer.block_bytes / 3);
  }
}

TEST_CASE("no piece is larger than its bound, and the pieces are the block without gap") {
  for (const auto order : {KvOrder::block_major, KvOrder::layer_major}) {
    const Bench bench(1, order);
    for (const std::int64_t largest : {100, 2048, 1 << 20}) {
      std::int64_t next = 0;
      for (const auto& piece : pieces_of(bench.pool, block(3), largest)) {
        CHECK(piece.slot_offset == next);
        CHECK(piece.size.value() <= largest);
        next += piece.size.value();
      }
      CHECK(next == bench.block_bytes);
    }
  }
  // A block of a large model: the bound is reached.
  ModelShape large = small_shape();
  large.layers = 80;
  large.kv_heads = 8;
  large.stored_head_dim = 128;
  const auto pieces = pieces_of({nullptr, large, Blocks(4)}, block(1));
  CHECK(pieces.size() == (kv_order == KvOrder::block_major ? 3 : 80));
  CHECK(std::all_of(pieces.begin(), pieces.end(),
                    [](const KvPiece& piece) { return piece.size.value() <= max_copy_bytes; }));
}

TEST_CASE("the two streams of copies are of low priority, and the arena is taken once") {
  Bench bench;
  CHECK(bench.driver.low_priority_streams() == 2);
  CHECK(bench.copies->slots() == Blocks(4));
  CHECK(bench.copies->free_slots() == Blocks(4));
  const auto created = bench.driver.created(), waited = bench.driver.synchronized();
  for (int round = 0; round < 5; ++round) {
    const auto slots = *bench.copies->checkpoint(std::vector{block(1), block(7)},
                                                 bench.compute.get(), bench.reported("out"));
    bench.driver.run_all();
    REQUIRE(bench.copies
                ->prefetch(slots, std::vector{block(2), block(3)}, bench.compute.get(),
                           bench.reported("in"))
                .has_value());
    bench.driver.run_all();
    REQUIRE(bench.copies->release(slots).has_value());
  }
  CHECK(bench.driver.created() == created);
  CHECK(bench.driver.synchronized() == waited);
  CHECK(bench.copies->free_slots() == Blocks(4));
}

TEST_CASE("bits survive the way out and back, to other blocks, in either order of the pool") {
  for (const auto order : {KvOrder::block_major, KvOrder::layer_major}) {
    Bench bench(4, order);
    const std::vector<BlockId> from{block(9), block(0), block(4)}, to{block(1), block(9), block(5)};
    std::vector<std::vector<std::byte>> before;
    for (const auto id : from) before.push_back(bench.block_content(id));
    const auto untouched = bench.block_content(block(6));
    const auto slots = *bench.copies->checkpoint(from, bench.compute.get(), bench.reported("out"));
    bench.driver.run_all();
    for (std::size_t i = 0; i < 3; ++i)
      CHECK(std::ranges::equal(bench.copies->bytes_of(slots[i]), before[i]));
    for (const auto id : from)
      for (const auto& piece : pieces_of(bench.pool, id))
        std::memset(piece.at, 0xFF, static_cast<std::size_t>(piece.size.value()));
    REQUIRE(
        bench.copies->prefetch(slots, to, bench.compute.get(), bench.reported("in")).has_value());
    bench.driver.run_all();
    for (std::size_t i = 0; i < 3; ++i) CHECK(bench.block_content(to[i]) == before[i]);
    CHECK(bench.block_content(block(6)) == untouched);
  }
}

TEST_CASE("a checkpoint copies only what was computed before it, and nothing waits for it") {
  Bench bench;
  bench.work("first");
  auto* at = pieces_of(bench.pool, block(2)).front().at;
  reinterpret_cast<tests::EmulatedStream*>(bench.compute.get())->enqueue([at] {
    std::memset(at, 0x5A, 16);
  });
  const auto slots =
      *bench.copies->checkpoint(std::vector{block(2)}, bench.compute.get(), bench.reported("out"));
  bench.work("second");
  CHECK(bench.events.empty());
  // The first piece of work ran; the copy waits for the second, which writes what it copies.
  REQUIRE(bench.driver.run_one());
  CHECK(bench.events == std::vector<std::string>{"first"});
  CHECK(bench.copies->bytes_of(slots[0])[0] != std::byte{0x5A});
  bench.driver.run_all();
  CHECK(bench.copies->bytes_of(slots[0])[0] == std::byte{0x5A});
  CHECK(bench.events.size() == 3);
  // Compute was not held up: all of it is done before the copy is.
  CHECK(bench.events == std::vector<std::string>{"first", "second", "out"});
}

TEST_CASE("what reads a prefetched block runs after the copy, and only if it says so") {
  Bench bench;
  const auto slots =
      *bench.copies->checkpoint(std::vector{block(3)}, bench.compute.get(), bench.reported("out"));
  bench.driver.run_all();
  const auto content = bench.block_content(block(3));
  bench.work("before");
  REQUIRE(bench.copies
              ->prefetch(slots, std::vector{block(8)}, bench.compute.get(), bench.reported("in"))
              .has_value());
  bench.work("beside");
  REQUIRE(bench.copies->before_read(bench.compute.get()).has_value());
  std::vector<std::byte> seen;
  reinterpret_cast<tests::EmulatedStream*>(bench.compute.get())->enqueue([&] {
    seen = bench.block_content(block(8));
    bench.events.push_back("read");
  });
  bench.events.clear();
  // Of two streams that could go on the fake device takes the compute stream: it goes as far as it
  // may before the copy.
  bench.driver.run_all();
  CHECK(bench.events == std::vector<std::string>{"before", "beside", "read", "in"});
  CHECK(seen == content);
}

TEST_CASE("a prefetch does not write over what is still being computed with") {
  Bench bench;
  const auto slots =
      *bench.copies->checkpoint(std::vector{block(3)}, bench.compute.get(), bench.reported("out"));
  bench.driver.run_all();
  const auto old_content = bench.block_content(block(8));
  std::vector<std::byte> seen;
  bench.work("first");
  reinterpret_cast<tests::EmulatedStream*>(bench.compute.get())->enqueue([&] {
    seen = bench.block_content(block(8));
  });
  REQUIRE(bench.copies
              ->prefetch(slots, std::vector{block(8)}, bench.compute.get(), bench.reported("in"))
              .has_value());
  bench.driver.run_all();
  CHECK(seen == old_content);
  CHECK(bench.block_content(block(8)) == bench.block_content(block(3)));
}

TEST_CASE("reports come in the order of their copies, and never from inside the call") {
  Bench bench;
  REQUIRE(
      bench.copies->checkpoint(std::vector{block(0)}, bench.compute.get(), bench.reported("one"))
          .has_value());
  REQUIRE(
      bench.copies
          ->checkpoint(std::vector{block(1), block(2)}, bench.compute.get(), bench.reported("two"))
          .has_value());
  REQUIRE(
      bench.copies->checkpoint(std::vector<BlockId>{}, bench.compute.get(), bench.reported("three"))
          .has_value());
  CHECK(bench.events.empty());
  bench.driver.run_all();
  CHECK(bench.events == std::vector<std::string>{"one", "two", "three"});
}

TEST_CASE("an arena that is full is a named error that takes and queues nothing") {
  Bench bench(4);
  const auto held = *bench.copies->checkpoint(std::vector{block(0), block(1), block(2)},
                                              bench.compute.get(), bench.reported("out"));
  bench.driver.run_all();
  const auto refused = bench.copies->checkpoint(std::vector{block(3), block(4)},
                                                bench.compute.get(), bench.reported("no"));
  REQUIRE(refused.has_error());
  CHECK(refused.error().code == Errc::overloaded);
  CHECK(refused.error().param == "host_kv_bytes");
  CHECK(refused.error().message.find("1 of 4 slots are free") != std::string::npos);
  CHECK(bench.driver.queued() == 0);
  CHECK(bench.copies->free_slots() == Blocks(1));
  REQUIRE(bench.copies->release(std::vector{held[0]}).has_value());
  CHECK(
      bench.copies
          ->checkpoint(std::vector{block(3), block(4)}, bench.compute.get(), bench.reported("yes"))
          .has_value());
  bench.driver.run_all();
  CHECK(bench.events == std::vector<std::string>{"out", "yes"});

  tests::FakeDriver driver;
  const auto none = KvCopies::make(driver, bench.pool, Bytes(bench.block_bytes - 1));
  REQUIRE(none.has_error());
  CHECK(none.error().param == "host_kv_bytes");
  CHECK(none.error().message.find(std::to_string(bench.block_bytes)) != std::string::npos);
  CHECK(driver.alive() == 0);
}

TEST_CASE("blocks and slots that cannot be copied are refused by name") {
  Bench bench;
  auto& copies = *bench.copies;
  const auto stream = bench.compute.get();
  const auto beyond = copies.checkpoint(std::vector{block(12)}, stream, bench.reported("no"));
  REQUIRE(beyond.has_error());
  CHECK(beyond.error().message.find("0 to 11") != std::string::npos);
  const auto slots = *copies.checkpoint(std::vector{block(1)}, stream, bench.reported("out"));
  const std::vector<BlockId> one{block(2)};
  const auto message = [&](const Result<void>& result) {
    REQUIRE(result.has_error());
    CHECK(result.error().code == Errc::invalid_value);
    return result.error().message;
  };
  const auto in = [&](const std::vector<HostSlot>& from, const std::vector<BlockId>& to) {
    return message(copies.prefetch(from, to, stream, bench.reported("no")));
  };
  CHECK(in(slots, one).find("still being written") != std::string::npos);
  CHECK(message(copies.release(slots)).find("still being written") != std::string::npos);
  bench.driver.run_all();
  CHECK(in(slots, {}).find("1 host slots are to go to 0") != std::string::npos);
  CHECK(in({HostSlot(99)}, one).find("allowed are 0 to 3") != std::string::npos);
  CHECK(in({slots[0], slots[0]}, {block(1), block(2)}).find("twice") != std::string::npos);
  CHECK(in(slots, {block(12)}).find("0 to 11") != std::string::npos);
  REQUIRE(copies.prefetch(slots, one, stream, bench.reported("in")).has_value());
  CHECK(in(slots, one).find("being read") != std::string::npos);
  bench.driver.run_all();
  REQUIRE(copies.release(slots).has_value());
  CHECK(message(copies.release(slots)).find("is free") != std::string::npos);
  CHECK(bench.events == std::vector<std::string>{"out", "in"});
}

TEST_CASE("a copy that fails is reported, and what it left behind is not taken for a block") {
  Bench bench;
  bench.driver.fail_after(0, false);
  const auto slots =
      *bench.copies->checkpoint(std::vector{block(1)}, bench.compute.get(), bench.reported("out"));
  bench.driver.run_all();
  CHECK(bench.events == std::vector<std::string>{"out failed"});
  const auto refused = bench.copies->prefetch(slots, std::vector{block(2)}, bench.compute.get(),
                                              bench.reported("no"));
  REQUIRE(refused.has_error());
  CHECK(refused.error().message.find("incomplete") != std::string::npos);
  CHECK(bench.copies->release(slots).has_value());
}

TEST_CASE("a lost device fails every call with its own error, and takes no slot") {
  Bench bench;
  bench.driver.lose();
  const auto out =
      bench.copies->checkpoint(std::vector{block(1)}, bench.compute.get(), bench.reported("no"));
  REQUIRE(out.has_error());
  CHECK(out.error().code == Errc::device_failed);
  CHECK(bench.copies->free_slots() == Blocks(4));
  CHECK(bench.copies->before_read(bench.compute.get()).has_error());
  CHECK(bench.events.empty());
}

TEST_CASE("everything ends with its owner, and a report that comes later harms nothing") {
  tests::FakeDriver driver;
  auto memory = std::move(*DeviceBuffer::make(driver, Bytes(1 << 16)));
  const KvPool pool{memory.data(), small_shape(), Blocks(4)};
  auto stream = std::move(*make_stream(driver, StreamPriority::normal));
  const auto before = driver.alive();
  bool reported = false;
  {
    const auto copies = std::move(*KvCopies::make(driver, pool, Bytes(1 << 16)));
    REQUIRE(copies
                ->checkpoint(std::vector{block(1)}, stream.get(),
                             [&](const Result<void>&) { reported = true; })
                .has_value());
  }
  CHECK(reported);
  CHECK(driver.alive() == before);
}
