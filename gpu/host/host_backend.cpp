// See host_backend.hpp: plans in, samples out, over Forward.
#include "gpu/host/host_backend.hpp"

#include <algorithm>
#include <new>
#include <optional>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include "core/check.hpp"
#include "gpu/host/forward.hpp"
#include "gpu/host/kernels.hpp"
#include "gpu/host/thread_pool.hpp"
#include "gpu/option_checks.hpp"
#include "model/sampler.hpp"

namespace tandem::gpu {
namespace {

constexpr TokenId no_token = -1;

class HostBackend final : public Backend {
 public:
  HostBackend(model::WeightsPtr weights, const Kernels& kernels, std::uint32_t threads,
              const ForwardOptions& forward, DeviceLimits limits, std::uint32_t layers_per_segment)
      : limits_(std::move(limits)),
        layers_per_segment_(layers_per_segment),
        pool_(threads),
        forward_(std::move(weights), kernels, pool_, forward),
        samplers_(limits_.max_sequences),
        slot_used_(limits_.max_sequences) {
    chunks_.reserve(limits_.max_sequences);
    sampled_rows_.reserve(limits_.max_sequences);
    collected_tokens_.reserve(limits_.max_sequences);
    source_tokens_.reserve(limits_.max_sequences);
  }

  [[nodiscard]] const DeviceLimits& limits() const override { return limits_; }

  [[nodiscard]] std::uint32_t num_segments(const Plan& plan) const override {
    // Mixed plans are kept short by their budget and run whole; offline ones may be long, and can
    // be stopped.
    if (!plan.offline_only()) return 1;
    return (limits_.num_layers + layers_per_segment_ - 1) / layers_per_segment_;
  }

  void start_segment(const PlanPtr& plan, std::uint32_t index, SegmentCallback done) override {
    const auto segments = num_segments(*plan);
    if (index == 0) begin(*plan);
    TANDEM_CHECK(running_ == plan->id && index == next_segment_ && index < segments,
                 "segments run in order, one plan at a time");
    ++next_segment_;
    const std::int64_t layers = limits_.num_layers;
    const std::int64_t stride = segments == 1 ? layers : layers_per_segment_;
    forward_.run_layers(index * stride, std::min(layers, (index + 1) * stride));
    if (next_segment_ == segments) sample(*plan);
    done({});
  }

  Result<std::vector<Sample>> collect(const Plan& plan) override {
    TANDEM_CHECK(running_ == plan.id && next_segment_ == num_segments(plan),
                 "a plan is collected once, after its last segment");
    running_.reset();
    collected_tokens_.assign(plan.slices.size(), no_token);
    for (const auto& sample : samples_) collected_tokens_[sample.slice] = sample.token;
    return std::exchange(samples_, {});
  }

  void abort(const Plan& plan) override {
    // What was written lies beyond every committed length; the rerun overwrites it.
    TANDEM_CHECK(running_ == plan.id && next_segment_ < num_segments(plan),
                 "a plan is aborted between its segments");
    running_.reset();
  }

 private:
  void begin(const Plan& plan) {
    TANDEM_CHECK(!running_, "a plan starts after the one before was collected or aborted");
    TANDEM_CHECK(!plan.slices.empty(), "a plan without slices");
    TANDEM_CHECK(plan.slices.size() <= limits_.max_sequences, "more slices than slots");
    running_ = plan.id;
    next_segment_ = 0;
    for (const auto& binding : plan.bindings) {
      TANDEM_CHECK(raw(binding.slot) < limits_.max_sequences, "a binding beyond the slots");
      samplers_[raw(binding.slot)] =
          model::SamplerState(binding.request->sampling, binding.request->prompt, binding.output);
    }
    std::fill(slot_used_.begin(), slot_used_.end(), std::uint8_t{0});
    chunks_.clear();
    source_tokens_.clear();
    for (const auto& slice : plan.slices) add_chunk(plan, slice);
    forward_.begin(chunks_);
  }

  void add_chunk(const Plan& plan, const Slice& slice) {
    const auto within = [](const Range& range, std::size_t size) {
      return range.first <= size && range.count <= size - range.first;
    };
    TANDEM_CHECK(within(slice.tokens, plan.token_ids.size()), "a slice's tokens are in the plan");
    TANDEM_CHECK(slice.blocks != nullptr, "a slice has a block table");
    TANDEM_CHECK(raw(slice.slot) < limits_.max_sequences, "a slice beyond the slots");
    TANDEM_CHECK(slot_used_[raw(slice.slot)]++ == 0, "a slot that has two slices");
    auto tokens = plan.tokens_of(slice);
    if (tokens.empty()) {
      TANDEM_CHECK(slice.source_slice < collected_tokens_.size() &&
                       collected_tokens_[slice.source_slice] != no_token,
                   "the source slice sampled a token in the plan collected last");
      source_tokens_.push_back(collected_tokens_[slice.source_slice]);  // room was reserved
      tokens = std::span(&source_tokens_.back(), 1);
    }
    TANDEM_CHECK(tokens.size() == slice.num_tokens, "a slice has all of its tokens or none");
    chunks_.push_back({tokens, slice.context, *slice.blocks});
  }

  void sample(const Plan& plan) {
    sampled_rows_.clear();
    samples_.clear();
    std::uint32_t row = 0;
    for (std::uint32_t i = 0; i < plan.slices.size(); ++i) {
      row += plan.slices[i].num_tokens;
      if (!plan.slices[i].samples) continue;
      sampled_rows_.push_back(row - 1);
      samples_.push_back({.slice = i});
    }
    forward_.logits(sampled_rows_, [&](std::int64_t i, std::span<float> logits) {
      auto& sample = samples_[static_cast<std::size_t>(i)];
      const auto slice = sample.slice;
      sample = samplers_[raw(plan.slices[slice].slot)].sample(logits);
      sample.slice = slice;
    });
  }

  const DeviceLimits limits_;
  const std::uint32_t layers_per_segment_;
  ThreadPool pool_;
  Forward forward_;
  std::vector<model::SamplerState> samplers_;  ///< by slot

  // The plan at hand; what is kept only from segment to segment is reused, not allocated anew.
  std::optional<IterationId> running_;
  std::uint32_t next_segment_ = 0;
  std::vector<Chunk> chunks_;
  std::vector<TokenId> source_tokens_;   ///< what chunks without tokens of their own point to
  std::vector<std::uint8_t> slot_used_;  ///< by slot: has a slice in this plan
  std::vector<std::uint32_t> sampled_rows_;
  std::vector<Sample> samples_;
  std::vector<TokenId> collected_tokens_;  ///< of the plan collected last, by slice
};

// ---- options -----------------------------------------------------------------------------------

Result<const Kernels*> choose_kernels(const std::string& name) {
  std::string known;
  for (const auto* table : supported_kernels()) {
    if (name == "auto" || name == table->name) return table;
    known += std::string(", ") + table->name;
  }
  return refused("kernels", "is '" + name +
                                "', which is not known or cannot run on this CPU; "
                                "allowed here are auto" +
                                known);
}

/// auto: float32 for a float32 file that is small enough to live in the cache, where exactness
/// costs little; else bfloat16, which halves the bytes that decoding waits for. The portable set
/// has no fast way from bfloat16 to float32 and computes in float32.
HostDtype auto_dtype(const model::Weights& weights, const Kernels& kernels) {
  const bool small = weights.config.num_parameters() * 4 <= auto_float32_bytes.value();
  const bool exact_file = weights.embedding.dtype == model::Dtype::f32;
  if ((exact_file && small) || &kernels == &portable_kernels) return HostDtype::f32;
  return HostDtype::bf16;
}

Result<HostDtype> choose_dtype(const std::string& name, const model::Weights& weights,
                               const Kernels& kernels) {
  if (name == "float32") return HostDtype::f32;
  if (name == "bfloat16") return HostDtype::bf16;
  if (name == "auto") return auto_dtype(weights, kernels);
  return refused("dtype", "is '" + name + "'; allowed are auto, float32 and bfloat16");
}

Result<std::uint32_t> choose_threads(std::uint32_t wanted) {
  if (wanted > max_host_threads)
    return refused("threads", "is " + std::to_string(wanted) +
                                  "; allowed are 0 (one per core) to " +
                                  std::to_string(max_host_threads));
  if (wanted > 0) return wanted;
  return std::clamp(std::thread::hardware_concurrency(), 1U, max_host_threads);
}

Result<std::int64_t> count_blocks(const HostOptions& options, std::int64_t block_bytes) {
  const auto blocks = options.kv_cache_bytes.value() / block_bytes;
  if (options.kv_cache_bytes.value() < 0 || blocks < 2)
    return refused("kv_cache_bytes", "is " + std::to_string(options.kv_cache_bytes.value()) +
                                         ", but a KV block of this model takes " +
                                         std::to_string(block_bytes) +
                                         " bytes and at least 2 are needed");
  return std::min<std::int64_t>(blocks, 1LL << 31);
}

/// Memory that is reserved is not yet there: better to refuse than to be killed while serving.
Result<void> check_memory(const model::ModelConfig& config, const ForwardOptions& options) {
  const auto needed = Forward::bytes_of(config, options);
  const auto present = static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) *
                       static_cast<std::int64_t>(::sysconf(_SC_PAGESIZE));
  if (needed <= present) return {};
  return refused("kv_cache_bytes",
                 "is too large: with weights and workspaces the host device "
                 "would take " +
                     std::to_string(needed) + " bytes, and this machine has " +
                     std::to_string(present));
}

DeviceLimits limits_of(const HostOptions& options, const model::ModelConfig& config,
                       const Kernels& kernels, const ForwardOptions& forward) {
  return {.device_name = "host",
          .kernels = std::string(kernels.name) +
                     (forward.dtype == HostDtype::f32 ? " float32" : " bfloat16"),
          .kv_blocks = Blocks(forward.num_blocks),
          .max_iteration_tokens = options.max_iteration_tokens,
          .max_sequences = options.max_sequences,
          .max_context = Tokens(forward.max_context),
          .vocab_size = config.vocab_size,
          .num_layers = static_cast<std::uint32_t>(config.num_layers),
          .row_quantum = static_cast<std::uint32_t>(kernels.tile_rows)};
}

}  // namespace

Result<std::unique_ptr<Backend>> make_host_backend(model::WeightsPtr weights,
                                                   const HostOptions& options) {
  const auto& config = weights->config;
  if (auto r = check_shared_ranges(options, config, "the host device takes", max_head_dim); !r)
    return r.error();
  const auto kernels = choose_kernels(options.kernels);
  if (!kernels) return kernels.error();
  const auto dtype = choose_dtype(options.dtype, *weights, **kernels);
  if (!dtype) return dtype.error();
  const auto threads = choose_threads(options.threads);
  if (!threads) return threads.error();
  const auto blocks = count_blocks(options, KvLayout(config, *dtype).block_bytes());
  if (!blocks) return blocks.error();
  const auto context =
      options.max_context.is_zero() ? config.max_position : options.max_context.value();
  const ForwardOptions forward{.dtype = *dtype,
                               .num_blocks = *blocks,
                               .max_rows = options.max_iteration_tokens.value(),
                               .max_sequences = options.max_sequences,
                               .max_context = std::min(context, *blocks * kv_block_tokens)};
  if (auto memory = check_memory(config, forward); !memory) return memory.error();
  auto limits = limits_of(options, config, **kernels, forward);
  try {
    return std::unique_ptr<Backend>(
        std::make_unique<HostBackend>(std::move(weights), **kernels, *threads, forward,
                                      std::move(limits), options.layers_per_segment));
  } catch (const std::bad_alloc&) {
    return refused("kv_cache_bytes",
                   "is too large: the system gave no memory for weights, "
                   "workspaces and a KV cache of " +
                       std::to_string(options.kv_cache_bytes.value()) + " bytes");
  }
}

}  // namespace tandem::gpu
