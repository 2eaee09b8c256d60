// KV blocks to the host and back while a batch decodes: whether they arrive, and how fast.
#include <chrono>
#include <future>
#include <random>

#include "bench/gpu_check/model_runner.hpp"

namespace tandem::gpu_check {
namespace {

using namespace gpu::cuda;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// A copy whose report is waited for.
class Copy {
 public:
  Driver::Notification report() {
    return [done = done_](Result<void> result) { done->set_value(std::move(result)); };
  }
  [[nodiscard]] bool done() {
    return result_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }
  void wait(const Lab& lab) {
    lab.pump();
    must(result_.get());
  }

 private:
  std::shared_ptr<std::promise<Result<void>>> done_ =
      std::make_shared<std::promise<Result<void>>>();
  std::future<Result<void>> result_ = done_->get_future();
};

using Bits = std::vector<std::uint32_t>;

Bits random_bits(std::mt19937& random, Bytes size) {
  Bits bits(static_cast<std::size_t>(size.value()) / sizeof(std::uint32_t));
  for (auto& word : bits) word = static_cast<std::uint32_t>(random());
  return bits;
}

void write_block(ModelRunner& runner, BlockId block, const Bits& bits) {
  for (const auto& piece : pieces_of(runner.backend().kv_pool(), block))
    must(runner.timed_driver().copy_to_device(
        piece.at, reinterpret_cast<const std::byte*>(bits.data()) + piece.slot_offset, piece.size,
        runner.backend().compute_stream()));
  runner.finish();
}

Bits read_block(ModelRunner& runner, BlockId block) {
  Bits bits(static_cast<std::size_t>(kv_block_bytes(runner.backend().kv_pool().shape).value()) /
            sizeof(std::uint32_t));
  for (const auto& piece : pieces_of(runner.backend().kv_pool(), block))
    must(runner.timed_driver().copy_to_host(
        reinterpret_cast<std::byte*>(bits.data()) + piece.slot_offset, piece.at, piece.size,
        runner.backend().compute_stream()));
  runner.finish();
  return bits;
}

void poison(ModelRunner& runner, const std::vector<BlockId>& blocks) {
  for (const auto block : blocks)
    for (const auto& piece : pieces_of(runner.backend().kv_pool(), block))
      must(runner.timed_driver().fill(piece.at, 0xFF, piece.size,
                                      runner.backend().compute_stream()));
}

model::ModelConfig small_config() {
  model::ModelConfig config;
  config.vocab_size = 600;
  config.hidden_size = 128;
  config.intermediate_size = 256;
  config.num_layers = 3;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 32;
  config.max_position = 512;
  return config;
}

/// Random bits leave, are poisoned, and come back to other blocks, while two sequences decode.
void check_bits(ModelRunner& runner, Report& report) {
  std::mt19937 random(std::random_device{}());
  auto& copies = *runner.backend().kv_copies();
  const auto compute = runner.backend().compute_stream();
  const auto blocks = runner.other_blocks(12);
  const std::vector<BlockId> from(blocks.begin(), blocks.begin() + 6);
  const std::vector<BlockId> to(blocks.begin() + 6, blocks.end());
  std::vector<Bits> bits;
  for (const auto block : from) {
    bits.push_back(random_bits(random, kv_block_bytes(runner.backend().kv_pool().shape)));
    write_block(runner, block, bits.back());
  }
  poison(runner, to);
  Copy out, in;
  const auto slots = must(copies.checkpoint(from, compute, out.report()));
  runner.decode();
  out.wait(runner.lab());
  poison(runner, from);
  must(copies.prefetch(slots, to, compute, in.report()));
  runner.decode();
  must(copies.before_read(compute));
  std::size_t same = 0;
  for (std::size_t i = 0; i < to.size(); ++i) same += read_block(runner, to[i]) == bits[i];
  in.wait(runner.lab());
  must(copies.release(slots));
  report.check("copies of KV blocks beside a decode: bits", same == to.size(),
               std::to_string(same) + " of " + std::to_string(to.size()) + " blocks came back");
}

/// What a sequence draws, with its blocks away and back after the third token, or never away.
std::vector<TokenId> drawn(ModelRunner& runner, bool away) {
  auto& copies = *runner.backend().kv_copies();
  const auto compute = runner.backend().compute_stream();
  const auto vocab = runner.backend().limits().vocab_size;
  runner.make_sequences(2, 64, RequestClass::online, {.temperature = 0});
  std::vector<TokenId> tokens{
      runner.prefill({some_tokens(37, vocab, 1), some_tokens(20, vocab, 2)}).front().token};
  for (int i = 0; i < 5; ++i) {
    if (away && i == 2) {
      Copy out, in;
      const auto& blocks = runner.blocks_of(0);
      const auto slots = must(copies.checkpoint(blocks, compute, out.report()));
      out.wait(runner.lab());
      poison(runner, blocks);
      must(copies.prefetch(slots, blocks, compute, in.report()));
      must(copies.before_read(compute));
      tokens.push_back(runner.decode().front().token);
      in.wait(runner.lab());
      must(copies.release(slots));
      continue;
    }
    tokens.push_back(runner.decode().front().token);
  }
  return tokens;
}

double mean_decode_seconds(ModelRunner& runner) {
  constexpr int steps = 10;
  runner.decode();
  const auto start = Clock::now();
  for (int i = 0; i < steps; ++i) runner.decode();
  return seconds_since(start) / steps;
}

struct Rate {
  double bytes_per_second = 0;
  double decode_seconds = 0;  ///< of an iteration beside the copy; 0: none was
};

/// `start` queues a copy of `bytes`; meanwhile the batch decodes, if it should.
template <class Start>
Rate rate_of(ModelRunner& runner, double bytes, bool decoding, const Start& start) {
  Copy copy;
  const auto begin = Clock::now();
  start(copy.report());
  int steps = 0;
  double decode_seconds = 0, seconds = 0;
  while (decoding && !copy.done()) {
    const auto step = Clock::now();
    runner.decode();
    decode_seconds += seconds_since(step);
    ++steps;
  }
  copy.wait(runner.lab());
  seconds = seconds_since(begin);
  return {bytes / seconds, steps == 0 ? 0 : decode_seconds / steps};
}

void measure_pieces(ModelRunner& runner, const std::vector<BlockId>& blocks, std::int64_t piece,
                    bool decoding, double alone_seconds, Report& report) {
  const auto pool = runner.backend().kv_pool();
  const auto compute = runner.backend().compute_stream();
  const double bytes =
      static_cast<double>(kv_block_bytes(pool.shape).value()) * static_cast<double>(blocks.size());
  const auto arena = Bytes(static_cast<std::int64_t>(bytes));
  const auto copies = must(KvCopies::make(runner.timed_driver(), pool, arena, piece));
  Rate out, in;
  for (int round = 0; round < 3; ++round) {  // the first one touches the memory
    std::vector<HostSlot> slots;
    out = rate_of(runner, bytes, decoding, [&](Driver::Notification done) {
      slots = must(copies->checkpoint(blocks, compute, std::move(done)));
    });
    in = rate_of(runner, bytes, decoding, [&](Driver::Notification done) {
      must(copies->prefetch(slots, blocks, compute, std::move(done)));
    });
    must(copies->release(slots));
  }
  const auto name = " pieces of " + std::to_string(piece >> 10) + " KiB" +
                    (decoding ? ", beside a decode" : ", alone");
  const auto tell = [&](const std::string& what, const Rate& rate) {
    report.figure(what + name, rate.bytes_per_second / 1e9, "GB/s");
    if (rate.decode_seconds > 0)
      report.figure(what + name, 100 * (rate.decode_seconds / alone_seconds - 1),
                    "% longer decode iterations");
  };
  tell("checkpoint,", out);
  tell("restore,", in);
}

}  // namespace

void check_kv_copies(const Lab& lab, Report& report) {
  const auto config = small_config();
  const auto weights = model::dummy_weights(config, model::Dtype::bf16, 5);
  gpu::CudaOptions options;
  options.max_iteration_tokens = Tokens(64);
  options.max_sequences = 4;
  options.host_kv_bytes = Bytes(16 * kv_block_bytes(ModelShape(config)).value());
  ModelRunner runner(lab, *weights, options);
  const auto undisturbed = drawn(runner, false);
  const auto moved = drawn(runner, true);
  report.check("copies of KV blocks: a sequence that was away draws the same", undisturbed == moved,
               std::to_string(moved.size()) + " tokens");
  check_bits(runner, report);
}

void measure_kv_copies(ModelRunner& runner, const ModelSize& size, Report& report) {
  const auto& limits = runner.backend().limits();
  const std::int64_t context = runner.lab().scale < 1 ? 16 : 1024;
  const auto each = blocks_for(Tokens(context + 512)).value();
  const auto sequences =
      std::min<std::int64_t>({64, limits.max_sequences, (limits.kv_blocks.value() - 128) / each});
  if (sequences < 1) return report.note("copy " + size.name, "too few KV blocks for it");
  runner.make_sequences(static_cast<std::size_t>(sequences), context + 512, RequestClass::online,
                        {.temperature = 0});
  const auto blocks = runner.other_blocks(runner.lab().scale < 1 ? 4 : 128);
  runner.pretend_context(context);
  const double alone = mean_decode_seconds(runner);
  report.figure("decode " + size.name + " " + std::to_string(sequences) + " x " +
                    std::to_string(context) + ", no copy beside it",
                alone * 1e3, "ms an iteration");
  for (const bool decoding : {false, true})
    for (const std::int64_t piece : {std::int64_t{64} << 10, max_copy_bytes}) {
      if (runner.lab().late()) return report.note("copy", "the command's time is over");
      // Copies must not let the sequences outgrow their blocks.
      runner.pretend_context(context);
      measure_pieces(runner, blocks, piece, decoding, alone, report);
    }
}

}  // namespace tandem::gpu_check
