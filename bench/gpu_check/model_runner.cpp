// See model_runner.hpp.
#include "bench/gpu_check/model_runner.hpp"

#include <algorithm>

namespace tandem::gpu_check {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

std::vector<TokenId> some_tokens(std::size_t count, std::int64_t vocab, std::size_t salt) {
  std::vector<TokenId> tokens(count);
  for (std::size_t i = 0; i < count; ++i)
    tokens[i] =
        static_cast<TokenId>((i * 2654435761U + salt * 97 + 11) % static_cast<std::size_t>(vocab));
  return tokens;
}

ModelRunner::ModelRunner(const Lab& lab, const model::Weights& weights,
                         const gpu::CudaOptions& options)
    : lab_(lab) {
  auto parts = must(lab.open_parts(options));
  auto timed = std::make_unique<TimedDriver>(std::move(parts.driver));
  driver_ = timed.get();
  parts.driver = std::move(timed);
  backend_ = must(gpu::cuda::make_backend(std::move(parts), weights, options));
}

void ModelRunner::make_sequences(std::size_t count, std::int64_t most_tokens,
                                 RequestClass request_class, const SamplingParams& sampling) {
  const auto blocks_each = blocks_for(Tokens(most_tokens)).value();
  if (blocks_each * static_cast<std::int64_t>(count) > backend_->limits().kv_blocks.value())
    stop(error(Errc::too_large,
               std::to_string(count) + " sequences of " + std::to_string(most_tokens) +
                   " tokens need more KV blocks "
                   "than the " +
                   std::to_string(backend_->limits().kv_blocks.value()) + " there are"));
  request_class_ = request_class;
  bindings_.clear();
  tables_.clear();
  contexts_.assign(count, 0);
  last_.assign(count, 1);
  for (std::size_t i = 0; i < count; ++i) {
    auto request = std::make_shared<Request>();
    request->id = RequestId(i + 1);
    request->request_class = request_class;
    request->prompt = {1};
    request->sampling = sampling;
    bindings_.push_back({SlotId(static_cast<std::uint32_t>(i)), request, {}});
    BlockTable table;
    for (std::int64_t b = 0; b < blocks_each; ++b)
      table.push_back(
          BlockId(static_cast<std::uint32_t>(static_cast<std::int64_t>(i) * blocks_each + b)));
    tables_.push_back(std::make_shared<const BlockTable>(std::move(table)));
  }
}

Slice ModelRunner::slice_of(std::size_t sequence, std::uint32_t tokens) const {
  return {.id = RequestId(sequence + 1),
          .slot = SlotId(static_cast<std::uint32_t>(sequence)),
          .request_class = request_class_,
          .samples = true,
          .context = contexts_[sequence],
          .num_tokens = tokens,
          .blocks = tables_[sequence]};
}

PlanPtr ModelRunner::prefill_plan(const std::vector<std::vector<TokenId>>& chunks) {
  auto plan = std::make_shared<Plan>();
  plan->id = IterationId(next_id_++);
  plan->bindings = std::exchange(bindings_, {});
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    if (chunks[i].empty()) continue;
    auto slice = slice_of(i, static_cast<std::uint32_t>(chunks[i].size()));
    slice.tokens = {static_cast<std::uint32_t>(plan->token_ids.size()), slice.num_tokens};
    plan->token_ids.insert(plan->token_ids.end(), chunks[i].begin(), chunks[i].end());
    plan->slices.push_back(std::move(slice));
  }
  return plan;
}

std::vector<Sample> ModelRunner::prefill(const std::vector<std::vector<TokenId>>& chunks) {
  return run(prefill_plan(chunks));
}

std::vector<Sample> ModelRunner::decode() {
  std::vector<std::vector<TokenId>> chunks;
  for (const auto token : last_) chunks.push_back({token});
  return run(prefill_plan(chunks));
}

void ModelRunner::pretend_context(std::int64_t context) {
  for (auto& one : contexts_) one = static_cast<std::uint32_t>(context);
}

PlanPtr ModelRunner::following_plan() {
  auto plan = std::make_shared<Plan>();
  plan->id = IterationId(next_id_++);
  for (std::size_t i = 0; i < contexts_.size(); ++i) {
    plan->slices.push_back(slice_of(i, 1));
    plan->slices.back().source_slice = static_cast<std::uint32_t>(i);
  }
  return plan;
}

std::vector<std::vector<Sample>> ModelRunner::decode_ahead(std::size_t steps) {
  std::vector<std::vector<Sample>> drawn;
  PlanPtr before;
  std::future<Result<void>> before_done;
  const auto finish_before = [&] {
    lab_.pump();
    must(before_done.get());
    drawn.push_back(collect(*before));
  };
  for (std::size_t i = 0; i < steps; ++i) {
    auto plan = following_plan();
    if (!backend_->runs_ahead(*plan))
      stop(error(Errc::unsupported, "this device runs no plan ahead"));
    auto done = start(plan, 0);
    for (auto& context : contexts_) ++context;
    if (before) finish_before();
    before = std::move(plan);
    before_done = std::move(done);
  }
  if (before) finish_before();
  return drawn;
}

std::future<Result<void>> ModelRunner::start(const PlanPtr& plan, std::uint32_t segment) {
  auto done = std::make_shared<std::promise<Result<void>>>();
  auto result = done->get_future();
  const auto before = Clock::now();
  backend_->start_segment(plan, segment, [done](Result<void> r) { done->set_value(std::move(r)); });
  host_seconds_ += seconds_since(before);
  return result;
}

void ModelRunner::run_segment(const PlanPtr& plan, std::uint32_t index) {
  auto result = start(plan, index);
  lab_.pump();
  must(result.get());
}

std::vector<Sample> ModelRunner::collect(const Plan& plan) {
  const auto before = Clock::now();
  auto samples = must(backend_->collect(plan));
  host_seconds_ += seconds_since(before);
  for (const auto& sample : samples) last_[raw(plan.slices[sample.slice].slot)] = sample.token;
  return samples;
}

std::vector<Sample> ModelRunner::run(const PlanPtr& plan) {
  for (std::uint32_t s = 0; s < backend_->num_segments(*plan); ++s) run_segment(plan, s);
  for (const auto& slice : plan->slices) contexts_[raw(slice.slot)] += slice.num_tokens;
  return collect(*plan);
}

void ModelRunner::finish() { must(driver_->synchronize(backend_->compute_stream())); }

std::vector<float> ModelRunner::logits(std::size_t samples) {
  const auto vocab = static_cast<std::size_t>(backend_->limits().vocab_size);
  const auto there = backend_->logits();
  std::vector<float> rows(samples * vocab);
  for (std::size_t i = 0; i < samples; ++i)
    must(driver_->copy_to_host(
        &rows[i * vocab], there.data + static_cast<std::int64_t>(i) * there.stride,
        Bytes(static_cast<std::int64_t>(vocab * sizeof(float))), backend_->compute_stream()));
  finish();
  return rows;
}

std::vector<BlockId> ModelRunner::other_blocks(std::size_t count) {
  const auto all = backend_->limits().kv_blocks.value();
  std::int64_t used = 0;
  for (const auto& table : tables_) used += static_cast<std::int64_t>(table->size());
  std::vector<BlockId> blocks;
  for (auto id = all - 1; id >= used && blocks.size() < count; --id)
    blocks.push_back(BlockId(static_cast<std::uint32_t>(id)));
  return blocks;
}

}  // namespace tandem::gpu_check
