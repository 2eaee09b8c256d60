// See host_backend.hpp: plans in, samples out, over Forward.
#include "gpu/host/host_backend.hpp"

#include <algorithm>
#include <new>
#include <thread>
#include <vector>

#include "core/check.hpp"
#include "gpu/host/forward.hpp"
#include "gpu/host/kernels.hpp"
#include "gpu/host/thread_pool.hpp"
#include "model/sampler.hpp"

namespace tandem::gpu {
namespace {

/// Below it, `dtype: auto` means float32: such models live in the cache, where exactness costs
/// little.
constexpr std::int64_t small_model_parameters = 50'000'000;

class HostBackend final : public Backend {
 public:
  HostBackend(model::WeightsPtr weights, const Kernels& kernels, std::uint32_t threads,
              const ForwardOptions& forward, DeviceLimits limits, std::uint32_t layers_per_segment)
      : limits_(std::move(limits)),
        pool_(threads),
        forward_(*weights, kernels, pool_, forward),
        weights_(std::move(weights)),
        layers_per_segment_(layers_per_segment),
        samplers_(limits_.max_sequences) {
    rows_.reserve(static_cast<std::size_t>(forward.max_rows));
  }

  [[nodiscard]] const DeviceLimits& limits() const override { return limits_; }

  [[nodiscard]] std::uint32_t num_segments(const Plan& plan) const override {
    // Mixed plans are kept short by their budget and run whole; offline ones may be long, and can
    // be stopped.
    return plan.offline_only()
               ? (limits_.num_layers + layers_per_segment_ - 1) / layers_per_segment_
               : 1;
  }

  void start_segment(const PlanPtr& plan, std::uint32_t index, SegmentCallback done) override {
    const auto segments = num_segments(*plan);
    TANDEM_CHECK(index < segments, "a segment beyond the plan's last");
    if (index == 0) begin(*plan);
    const auto layers = forward_.num_layers();
    const auto first = segments == 1 ? 0 : static_cast<std::int64_t>(index * layers_per_segment_);
    const auto end =
        segments == 1 ? layers : std::min<std::int64_t>(layers, first + layers_per_segment_);
    forward_.run_layers(first, end);
    if (index + 1 == segments) sample(*plan);
    done({});
  }

  Result<std::vector<Sample>> collect(const Plan& plan) override {
    previous_tokens_.assign(plan.slices.size(), -1);
    for (const auto& sample : samples_) previous_tokens_[sample.slice] = sample.token;
    return std::move(samples_);
  }

  void abort(const Plan&) override {}  // what was written lies beyond every committed length

 private:
  void begin(const Plan& plan) {
    samples_.clear();
    for (const auto& binding : plan.bindings)
      samplers_.at(raw(binding.slot)) =
          model::SamplerState(binding.request->sampling, binding.request->prompt, binding.output);
    rows_.clear();
    for (const auto& slice : plan.slices) add_rows(plan, slice);
    TANDEM_CHECK(static_cast<std::int64_t>(rows_.size()) <= limits_.max_iteration_tokens.value(),
                 "a plan of too many rows");
    forward_.begin(rows_);
  }

  void add_rows(const Plan& plan, const Slice& slice) {
    const auto blocks = plan.blocks_of(slice);
    TANDEM_CHECK(slice.num_tokens > 0, "a slice without tokens");
    TANDEM_CHECK(slice.context + slice.num_tokens <= limits_.max_context.value(),
                 "a slice beyond the context");
    TANDEM_CHECK(blocks_for(Tokens(slice.context + slice.num_tokens)) <=
                     Blocks(static_cast<std::int64_t>(blocks.size())),
                 "a block table shorter than its slice");
    for (const auto block : blocks)
      TANDEM_CHECK(raw(block) < limits_.kv_blocks.value(), "a block beyond the cache");
    static_assert(sizeof(BlockId) == sizeof(std::uint32_t));
    const auto* table = reinterpret_cast<const std::uint32_t*>(blocks.data());
    for (std::uint32_t i = 0; i < slice.num_tokens; ++i) {
      const auto token = slice.tokens.count > 0 ? plan.tokens_of(slice)[i]
                                                : previous_tokens_.at(slice.source_slice);
      TANDEM_CHECK(token >= 0 && token < limits_.vocab_size, "a token outside the vocabulary");
      rows_.push_back({token, slice.context + i, table});
    }
  }

  void sample(const Plan& plan) {
    std::vector<std::uint32_t> last_rows;
    std::uint32_t row = 0;
    for (std::uint32_t i = 0; i < plan.slices.size(); ++i) {
      row += plan.slices[i].num_tokens;
      if (!plan.slices[i].samples) continue;
      last_rows.push_back(row - 1);
      samples_.push_back({.slice = i});
    }
    forward_.logits(last_rows, [&](std::int64_t i, std::span<float> logits) {
      auto& sample = samples_[static_cast<std::size_t>(i)];
      const auto slice = sample.slice;
      sample = samplers_[raw(plan.slices[slice].slot)].sample(logits);
      sample.slice = slice;
    });
  }

  const DeviceLimits limits_;
  ThreadPool pool_;
  Forward forward_;
  model::WeightsPtr weights_;  ///< the embedding is read from the mapped file
  const std::uint32_t layers_per_segment_;
  std::vector<model::SamplerState> samplers_;  ///< by slot
  std::vector<Forward::Row> rows_;
  std::vector<Sample> samples_;  ///< of the plan at hand
  std::vector<TokenId>
      previous_tokens_;  ///< of the plan collected last, by slice; -1: it sampled none
};

Result<const Kernels*> choose_kernels(const std::string& name) {
  std::string known;
  for (const auto* table : supported_kernels()) {
    if (name == "auto" || name == table->name) return table;
    known += std::string(known.empty() ? "" : ", ") + std::string(table->name);
  }
  return error(Errc::invalid_value,
               "kernels '" + name + "' cannot run on this CPU; allowed are auto, " + known,
               "kernels");
}

Result<HostDtype> choose_dtype(const std::string& name, const model::ModelConfig& config) {
  if (name == "float32") return HostDtype::f32;
  if (name == "bfloat16") return HostDtype::bf16;
  if (name == "auto")
    return config.num_parameters() < small_model_parameters ? HostDtype::f32 : HostDtype::bf16;
  return error(Errc::invalid_value,
               "dtype '" + name + "' is not known; allowed are auto, float32 and bfloat16",
               "dtype");
}

Result<std::int64_t> count_blocks(const HostOptions& options, std::int64_t block_bytes) {
  const auto blocks = options.kv_cache_bytes.value() / block_bytes;
  if (blocks < 2)
    return error(Errc::invalid_value,
                 "kv_cache_bytes is " + std::to_string(options.kv_cache_bytes.value()) +
                     ", but a KV block of this model takes " + std::to_string(block_bytes) +
                     " bytes and at least 2 are needed",
                 "kv_cache_bytes");
  return blocks;
}

}  // namespace

Result<std::unique_ptr<Backend>> make_host_backend(model::WeightsPtr weights,
                                                   const HostOptions& options) {
  const auto& config = weights->config;
  const auto kernels = choose_kernels(options.kernels);
  if (!kernels) return kernels.error();
  const auto dtype = choose_dtype(options.dtype, config);
  if (!dtype) return dtype.error();
  if (config.head_dim > 256)
    return error(
        Errc::unsupported,
        "head_dim " + std::to_string(config.head_dim) + " is not supported; allowed are up to 256",
        "head_dim");
  const auto blocks = count_blocks(options, kv_block_bytes(config, *dtype));
  if (!blocks) return blocks.error();

  auto context = options.max_context.is_zero()
                     ? config.max_position
                     : std::min(config.max_position, options.max_context.value());
  context = std::min(context, *blocks * kv_block_tokens);
  DeviceLimits limits{.device_name = "host",
                      .kernels = std::string((*kernels)->name) +
                                 (*dtype == HostDtype::f32 ? " float32" : " bfloat16"),
                      .kv_blocks = Blocks(*blocks),
                      .max_iteration_tokens = options.max_iteration_tokens,
                      .max_sequences = options.max_sequences,
                      .max_context = Tokens(context),
                      .vocab_size = config.vocab_size,
                      .num_layers = static_cast<std::uint32_t>(config.num_layers),
                      .row_quantum = 6};
  const auto threads =
      options.threads > 0 ? options.threads : std::max(1U, std::thread::hardware_concurrency());
  const ForwardOptions forward{*dtype, *blocks, options.max_iteration_tokens.value(), context};
  try {
    return std::unique_ptr<Backend>(
        std::make_unique<HostBackend>(std::move(weights), **kernels, threads, forward,
                                      std::move(limits), std::max(1U, options.layers_per_segment)));
  } catch (const std::bad_alloc&) {
    return error(Errc::device_failed,
                 "there is not enough memory for the weights and a KV cache of " +
                     std::to_string(options.kv_cache_bytes.value()) + " bytes",
                 "kv_cache_bytes");
  }
}

}  // namespace tandem::gpu
