// See cuda_backend.hpp.
#include "gpu/cuda/cuda_backend.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "core/check.hpp"
#include "gpu/cuda/attention_trial.hpp"
#include "gpu/cuda/buckets.hpp"
#include "gpu/cuda/decode_graphs.hpp"
#include "gpu/cuda/device_forward.hpp"
#include "gpu/cuda/device_model.hpp"
#include "gpu/cuda/flashinfer/flashinfer_attention.hpp"
#include "gpu/cuda/iteration.hpp"
#include "gpu/cuda/memory_plan.hpp"
#include "gpu/cuda/resources.hpp"
#include "gpu/cuda/start_checks.hpp"

namespace tandem::gpu::cuda {
namespace {

constexpr TokenId no_token = -1;
/// Two: while a plan runs, the next one is written to the other.
constexpr std::size_t num_stagings = 2;

/// Everything that is made at start and lives as long as the backend; destroyed from the end.
struct Resources {
  BackendParts parts;
  OwnedStream stream;
  std::shared_ptr<const DeviceModel> model;
  DeviceBuffer workspace, pool;
  std::array<MappedBuffer, num_stagings> staging;
  MappedBuffer outputs;
  std::unique_ptr<Attention> attention;
  DecodeGraphs graphs;
  std::unique_ptr<KvCopies> copies;  ///< none without host_kv_bytes
};

class CudaBackend final : public DeviceBackend {
 public:
  CudaBackend(Resources resources, DeviceLimits limits, const ModelShape& shape,
              const IterationCapacity& capacity, const DeviceForward& forward, Workspace workspace,
              std::int64_t logit_stride, std::uint32_t layers_per_segment)
      : limits_(std::move(limits)),
        layers_per_segment_(layers_per_segment),
        shape_(shape),
        resources_(std::move(resources)),
        driver_(*resources_.parts.driver),
        stream_(resources_.stream.get()),
        layout_(capacity),
        seen_capacity_(capacity.seen_entries()),
        workspace_(workspace),
        logit_stride_(logit_stride),
        device_view_(layout_.view(workspace.iteration)),
        forward_(forward),
        packer_(shape, capacity, limits_.kv_blocks.value()),
        slots_(limits_.max_sequences) {
    collected_tokens_.reserve(limits_.max_sequences);
  }

  ~CudaBackend() override {
    // What still runs writes to memory that is about to go; a failure was reported already.
    static_cast<void>(driver_.make_current());
    static_cast<void>(driver_.synchronize(stream_));
  }

  [[nodiscard]] const DeviceLimits& limits() const override { return limits_; }
  [[nodiscard]] Driver& driver() override { return driver_; }
  [[nodiscard]] Stream compute_stream() const override { return stream_; }
  [[nodiscard]] DeviceLogits logits() const override { return {workspace_.logits, logit_stride_}; }
  [[nodiscard]] KvPool kv_pool() const override {
    return {resources_.pool.data(), shape_, limits_.kv_blocks};
  }
  [[nodiscard]] KvCopies* kv_copies() override { return resources_.copies.get(); }

  [[nodiscard]] std::uint32_t num_segments(const Plan& plan) const override {
    if (!plan.offline_only() || replays_graph(plan)) return 1;
    return (limits_.num_layers + layers_per_segment_ - 1) / layers_per_segment_;
  }

  void start_segment(const PlanPtr& plan, std::uint32_t index, SegmentCallback done) override {
    if (index == 0) begin(*plan);
    const auto segments = num_segments(*plan);
    TANDEM_CHECK(running_ == plan->id && index == next_segment_ && index < segments,
                 "segments run in order, one plan at a time");
    ++next_segment_;
    if (failed_) return done(*failed_);
    const bool last = next_segment_ == segments;
    // A segment that others follow is reported done when what was queued before it is: so the
    // caller's next look at its mailbox falls into the time in which this segment runs.
    if (!last) driver_.notify(stream_, done);
    if (auto r = enqueue(*plan, index, segments); !r) {
      failed_ = r.error();
      if (last) done(*failed_);
      return;
    }
    if (last) driver_.notify(stream_, std::move(done));
  }

  Result<std::vector<Sample>> collect(const Plan& plan) override {
    TANDEM_CHECK(running_ == plan.id && next_segment_ == num_segments(plan),
                 "a plan is collected once, after its last segment");
    running_.reset();
    std::vector<Sample> samples;
    samples.reserve(packed_->sampled_slices.size());
    collected_tokens_.assign(plan.slices.size(), no_token);
    auto* outputs = reinterpret_cast<SampleOutput*>(resources_.outputs.host());
    for (std::size_t i = 0; i < packed_->sampled_slices.size(); ++i) {
      const auto slice = packed_->sampled_slices[i];
      auto& output = outputs[i];
      if (std::atomic_ref(output.ticket).load(std::memory_order_acquire) != ticket_)
        return error(Errc::device_failed,
                     "the device finished iteration " + std::to_string(raw(plan.id)) +
                         " without having written the token of slice " + std::to_string(slice),
                     "device");
      if (output.token < 0 || output.token >= limits_.vocab_size)
        return error(Errc::device_failed,
                     "the device drew token " + std::to_string(output.token) +
                         "; allowed are 0 to " + std::to_string(limits_.vocab_size - 1),
                     "device");
      samples.push_back(sample_of(slice, output));
      collected_tokens_[slice] = output.token;
      ++slots_[raw(plan.slices[slice].slot)].drawn;
    }
    return samples;
  }

  void abort(const Plan& plan) override {
    // What is queued still runs; it writes beyond every committed length, and before the rerun.
    TANDEM_CHECK(running_ == plan.id && next_segment_ < num_segments(plan),
                 "a plan is aborted between its segments");
    running_.reset();
  }

  std::optional<std::string> take_warning() override {
    return resources_.attention->take_warning();
  }

 private:
  [[nodiscard]] bool replays_graph(const Plan& plan) const {
    if (resources_.graphs.empty()) return false;
    const auto rows = static_cast<std::int64_t>(plan.slices.size());
    return rows <= resources_.graphs.rbegin()->first &&
           std::all_of(plan.slices.begin(), plan.slices.end(),
                       [](const Slice& slice) { return slice.num_tokens == 1; });
  }

  static Sample sample_of(std::uint32_t slice, const SampleOutput& output) {
    Sample sample{.slice = slice, .token = output.token, .logprob = output.logprob};
    const auto count = std::min<std::size_t>(output.num_top, max_top_logprobs);
    for (std::size_t i = 0; i < count; ++i)
      sample.top_logprobs.push_back({output.top[i].token, output.top[i].logprob});
    return sample;
  }

  /// Binds slots, writes the plan to pinned memory and queues its copy.
  void begin(const Plan& plan) {
    TANDEM_CHECK(!running_, "a plan starts after the one before was collected or aborted");
    running_ = plan.id;
    next_segment_ = 0;
    staging_ = (staging_ + 1) % num_stagings;
    ++ticket_;
    for (const auto& binding : plan.bindings) {
      TANDEM_CHECK(raw(binding.slot) < limits_.max_sequences, "a binding beyond the slots");
      slots_[raw(binding.slot)] = SlotState(binding.request->sampling, binding.output.size());
    }
    const auto view = layout_.view(resources_.staging[staging_].host());
    packed_ = &packer_.pack(plan, collected_tokens_, slots_, ticket_, view);
    sizes_ = PassSizes::of(*view.header);
    if (failed_) return;
    auto queued = driver_.make_current();
    if (queued) queued = copy_iteration();
    if (queued) queued = bind_counts(plan);
    if (queued) queued = resources_.attention->plan(view, *packed_, stream_);
    if (!queued) failed_ = queued.error();
  }

  Result<void> copy_part(std::int64_t at, std::int64_t bytes) {
    if (bytes == 0) return {};
    return driver_.copy_to_device(workspace_.iteration + at,
                                  resources_.staging[staging_].host() + at, Bytes(bytes), stream_);
  }

  Result<void> copy_iteration() {
    if (auto r = copy_part(0, layout_.fixed_bytes); !r) return r;
    if (auto r = copy_part(layout_.tables_at, packed_->table_entries * 4); !r) return r;
    return copy_part(layout_.biases_at,
                     packed_->biases * static_cast<std::int64_t>(sizeof(BiasEntry)));
  }

  /// What penalties of newly bound slots know. Few requests have any.
  Result<void> bind_counts(const Plan& plan) {
    std::int64_t used = 0;
    for (const auto& binding : plan.bindings) {
      const auto& request = *binding.request;
      if (!slots_[raw(binding.slot)].penalizes()) continue;
      auto* row = workspace_.counts + raw(binding.slot) * shape_.vocab;
      if (auto r = driver_.fill(row, 0, Bytes(shape_.vocab * 4), stream_); !r) return r;
      auto entries = seen_entries(binding.slot, request.sampling, request.prompt, binding.output);
      std::erase_if(entries, [&](const SeenEntry& entry) {
        return entry.token < 0 || entry.token >= shape_.vocab;
      });
      for (std::size_t first = 0; first < entries.size();) {
        if (used == seen_capacity_) {
          // Many long prompts with penalties at once: their entries go in turns.
          if (auto r = flush_seen(used); !r) return r;
          if (auto r = driver_.synchronize(stream_); !r) return r;
          used = 0;
        }
        const auto count =
            std::min(static_cast<std::int64_t>(entries.size() - first), seen_capacity_ - used);
        auto* to = layout_.view(resources_.staging[staging_].host()).seen + used;
        std::copy_n(entries.begin() + static_cast<std::ptrdiff_t>(first), count, to);
        first += static_cast<std::size_t>(count);
        used += count;
      }
    }
    return flush_seen(used);
  }

  Result<void> flush_seen(std::int64_t count) {
    if (auto r = copy_part(layout_.seen_at, count * static_cast<std::int64_t>(sizeof(SeenEntry)));
        !r)
      return r;
    resources_.parts.kernels->remember({.entries = device_view_.seen,
                                        .counts = workspace_.counts,
                                        .num_entries = static_cast<std::int32_t>(count),
                                        .vocab = static_cast<std::int32_t>(shape_.vocab)},
                                       stream_);
    return {};
  }

  Result<void> enqueue(const Plan& plan, std::uint32_t index, std::uint32_t segments) {
    if (auto r = driver_.make_current(); !r) return r;
    if (replays_graph(plan))
      return driver_.launch(resources_.graphs.at(bucket_of(sizes_.rows)).get(), stream_);
    const std::int64_t layers = limits_.num_layers;
    const std::int64_t stride = segments == 1 ? layers : layers_per_segment_;
    if (index == 0) forward_.embed(sizes_, stream_);
    if (auto r = forward_.run_layers(index * stride, std::min(layers, (index + 1) * stride), sizes_,
                                     stream_);
        !r)
      return r;
    if (index + 1 == segments)
      if (auto r = forward_.sample(sizes_, stream_); !r) return r;
    return driver_.launch_errors();
  }

  const DeviceLimits limits_;
  const std::uint32_t layers_per_segment_;
  const ModelShape shape_;
  Resources resources_;
  Driver& driver_;
  const Stream stream_;
  const IterationLayout layout_;
  const std::int64_t seen_capacity_;
  const Workspace workspace_;
  const std::int64_t logit_stride_;
  const IterationView device_view_;
  const DeviceForward forward_;
  IterationPacker packer_;
  std::vector<SlotState> slots_;

  // The plan at hand.
  std::optional<IterationId> running_;
  std::uint32_t next_segment_ = 0;
  std::size_t staging_ = 0;
  std::uint32_t ticket_ = 0;
  const PackedIteration* packed_ = nullptr;
  PassSizes sizes_;
  std::vector<TokenId> collected_tokens_;  ///< of the plan collected last, by slice
  std::optional<Error> failed_;            ///< of a segment whose report was given already
};

// ---- start -------------------------------------------------------------------------------------

/// Puts a backend together, one resource after another.
class Builder {
 public:
  Builder(BackendParts parts, const model::Weights& weights, const CudaOptions& options)
      : weights_(weights),
        options_(options),
        shape_(weights.config),
        capacity_{.rows = options.max_iteration_tokens.value(),
                  .sequences = options.max_sequences,
                  .context = options.max_context.is_zero() ? weights.config.max_position
                                                           : options.max_context.value(),
                  .extra_items = extra_items_for(parts.driver->properties().multiprocessors,
                                                 weights.config.num_kv_heads),
                  .group = shape_.group()},
        plan_(shape_, capacity_) {
    made_.parts = std::move(parts);
  }

  Result<std::unique_ptr<DeviceBackend>> build() {
    for (const auto step :
         {&Builder::make_memory, &Builder::upload_angles, &Builder::choose_attention,
          &Builder::make_pool, &Builder::make_copies, &Builder::make_attention,
          &Builder::prepare_forward, &Builder::capture_graphs})
      if (auto r = (this->*step)(); !r) return r.error();
    auto limits = limits_of();
    return std::unique_ptr<DeviceBackend>(std::make_unique<CudaBackend>(
        std::move(made_), std::move(limits), shape_, capacity_, *forward_, workspace_,
        plan_.logit_stride(), options_.layers_per_segment));
  }

 private:
  Driver& driver() { return *made_.parts.driver; }
  Stream stream() const { return made_.stream.get(); }

  Result<void> make_memory() {
    if (auto r = driver().make_current(); !r) return r;
    auto made_stream = make_stream(driver(), StreamPriority::normal);
    if (!made_stream) return made_stream.error();
    made_.stream = std::move(*made_stream);
    const auto weights = DeviceModel::bytes_of(weights_);
    if (auto r = check_room(driver(), weights, plan_.bytes(), capacity_); !r) return r;
    auto model = DeviceModel::upload(driver(), stream(), weights_);
    if (!model) return model.error();
    made_.model = std::make_shared<const DeviceModel>(std::move(*model));
    auto workspace = DeviceBuffer::make(driver(), plan_.bytes());
    if (!workspace) return workspace.error();
    made_.workspace = std::move(*workspace);
    workspace_ = plan_.carve(made_.workspace.data());
    for (auto& staging : made_.staging) {
      auto memory = MappedBuffer::make(driver(), IterationLayout(capacity_).bytes());
      if (!memory) return memory.error();
      staging = std::move(*memory);
    }
    auto outputs = MappedBuffer::make(
        driver(), Bytes(capacity_.sequences * static_cast<std::int64_t>(sizeof(SampleOutput))));
    if (!outputs) return outputs.error();
    made_.outputs = std::move(*outputs);
    std::memset(made_.outputs.host(), 0,
                static_cast<std::size_t>(capacity_.sequences) * sizeof(SampleOutput));
    return {};
  }

  Result<void> upload_angles() {
    const auto angles = angle_table(weights_.config, capacity_.context);
    if (auto r =
            driver().copy_to_device(workspace_.angles, angles.data(),
                                    Bytes(static_cast<std::int64_t>(angles.size() * 4)), stream());
        !r)
      return r;
    return clear_header();
  }

  Result<void> make_pool() {
    const auto memory = driver().memory();
    if (!memory) return memory.error();
    const auto blocks =
        kv_blocks_for(*memory, options_.gpu_memory_fraction, kv_block_bytes(shape_));
    if (!blocks) return blocks.error();
    blocks_ = *blocks;
    auto pool =
        DeviceBuffer::make(driver(), Bytes(blocks_.value() * kv_block_bytes(shape_).value()));
    if (!pool) return pool.error();
    made_.pool = std::move(*pool);
    return {};
  }

  /// Before the pool, which takes what is left.
  Result<void> choose_attention() {
    if (options_.attention != "flashinfer") return {};
    const auto& device = driver().properties();
    // The block stride does not depend on how many blocks there will be.
    if (auto reason = flashinfer::refusal(shape_, capacity_, KvStrides(shape_, 1), device)) {
      remark_ = "attention: flashinfer was asked for: " + *reason;
      return {};
    }
    flashinfer_ = FlashInferChoice::best(*made_.parts.flashinfer, shape_, capacity_, device);
    auto memory = FlashInferMemory::make(driver(), shape_, capacity_, *flashinfer_);
    if (!memory) return memory.error();
    flashinfer_memory_ = std::move(*memory);
    return {};
  }

  Result<void> make_attention() {
    const AttentionParts parts{.shape = shape_,
                               .kernels = made_.parts.kernels,
                               .iteration = IterationLayout(capacity_).view(workspace_.iteration),
                               .query = workspace_.query,
                               .out = workspace_.attended,
                               .pool = reinterpret_cast<std::uint16_t*>(made_.pool.data()),
                               .strides = KvStrides(shape_, blocks_.value()),
                               .partial_out = workspace_.partial_out,
                               .partial_lse = workspace_.partial_lse};
    made_.attention = std::make_unique<OwnAttention>(parts);
    if (!flashinfer_) return {};
    auto chosen = std::make_unique<FlashInferAttention>(
        driver(), *made_.parts.flashinfer, parts, std::move(*flashinfer_memory_), *flashinfer_);
    const auto works = try_attention(*chosen, {.driver = driver(),
                                               .shape = shape_,
                                               .capacity = capacity_,
                                               .num_blocks = blocks_.value(),
                                               .host = made_.staging.front().host(),
                                               .device = workspace_.iteration,
                                               .stream = stream()});
    if (works) {
      made_.attention = std::move(chosen);
    } else {
      if (driver().lost()) return works;
      static_cast<void>(driver().launch_errors());  // what it left behind is told of here
      remark_ = "attention: flashinfer was asked for: " + works.error().message;
    }
    return clear_header();
  }

  /// For the passes that are only made to be captured.
  Result<void> clear_header() {
    if (auto r = driver().fill(workspace_.iteration, 0, Bytes(sizeof(IterationHeader)), stream());
        !r)
      return r;
    return driver().synchronize(stream());
  }

  Result<void> make_copies() {
    if (options_.host_kv_bytes == Bytes(0)) return {};
    auto copies =
        KvCopies::make(driver(), {made_.pool.data(), shape_, blocks_}, options_.host_kv_bytes);
    if (!copies) return copies.error();
    made_.copies = std::move(*copies);
    return {};
  }

  Result<void> prepare_forward() {
    made_.parts.gemm->set_workspace(workspace_.gemm, Bytes(gemm_workspace_bytes));
    PassParts pass{.model = made_.model,
                   .kernels = made_.parts.kernels,
                   .gemm = made_.parts.gemm.get(),
                   .attention = made_.attention.get(),
                   .workspace = workspace_,
                   .iteration = IterationLayout(capacity_).view(workspace_.iteration),
                   .outputs = reinterpret_cast<SampleOutput*>(made_.outputs.device()),
                   .pool = reinterpret_cast<std::uint16_t*>(made_.pool.data()),
                   .strides = KvStrides(shape_, blocks_.value()),
                   .logit_stride = plan_.logit_stride(),
                   .logit_rows = plan_.logit_rows_at_once(),
                   .epsilon = static_cast<float>(weights_.config.rms_norm_eps)};
    forward_.emplace(shape_, pass);
    return forward_->prepare(bucket_of(capacity_.rows),
                             std::min(capacity_.sequences, capacity_.rows));
  }

  Result<void> capture_graphs() {
    auto graphs = capture_decode_graphs(driver(), stream(), *forward_, shape_.layers, capacity_);
    if (!graphs) return graphs.error();
    made_.graphs = std::move(*graphs);
    return {};
  }

  [[nodiscard]] DeviceLimits limits_of() {
    const auto context = std::min(capacity_.context, blocks_.value() * kv_block_tokens);
    return {.device_name = driver().properties().name,
            .kernels = made_.attention->name() + "+" + made_.parts.gemm->name() + " bfloat16",
            .remark = remark_,
            .kv_blocks = blocks_,
            .max_iteration_tokens = options_.max_iteration_tokens,
            .max_sequences = options_.max_sequences,
            .max_context = Tokens(context),
            .vocab_size = shape_.vocab,
            .num_layers = static_cast<std::uint32_t>(shape_.layers),
            .row_quantum = static_cast<std::uint32_t>(row_quantum)};
  }

  const model::Weights& weights_;
  const CudaOptions& options_;
  const ModelShape shape_;
  const IterationCapacity capacity_;
  const WorkspacePlan plan_;
  Resources made_;
  Workspace workspace_;
  Blocks blocks_{0};
  std::optional<FlashInferChoice> flashinfer_;
  std::optional<FlashInferMemory> flashinfer_memory_;
  std::string remark_;
  std::optional<DeviceForward> forward_;
};

}  // namespace

Result<std::unique_ptr<DeviceBackend>> make_backend(BackendParts parts,
                                                    const model::Weights& weights,
                                                    const CudaOptions& options) {
  if (auto r = check_ranges(options, weights.config); !r) return r.error();
  if (auto r = check_attention(options.attention, parts.flashinfer); !r) return r.error();
  if (auto r = check_device(parts.driver->properties()); !r) return r.error();
  return Builder(std::move(parts), weights, options).build();
}

}  // namespace tandem::gpu::cuda
