// See ready_device.hpp.
#include "gpu/cuda/ready_device.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "gpu/cuda/attention_trial.hpp"
#include "gpu/cuda/buckets.hpp"
#include "gpu/cuda/flashinfer/flashinfer_attention.hpp"
#include "gpu/cuda/start_checks.hpp"

namespace tandem::gpu::cuda {
namespace {

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

  Result<ReadyDevice> build() {
    for (const auto step :
         {&Builder::make_memory, &Builder::upload_angles, &Builder::choose_attention,
          &Builder::make_pool, &Builder::make_copies, &Builder::make_attention,
          &Builder::prepare_forward, &Builder::capture_graphs})
      if (auto r = (this->*step)(); !r) return r.error();
    made_.shape = shape_;
    made_.capacity = capacity_;
    made_.workspace = workspace_;
    made_.logit_stride = plan_.logit_stride();
    made_.limits = limits_of();
    return std::move(made_);
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
    made_.workspace_memory = std::move(*workspace);
    workspace_ = plan_.carve(made_.workspace_memory.data());
    for (auto& staging : made_.staging) {
      auto memory = MappedBuffer::make(driver(), IterationLayout(capacity_).bytes());
      if (!memory) return memory.error();
      staging = std::move(*memory);
    }
    const auto output_bytes =
        max_on_device * static_cast<std::size_t>(capacity_.sequences) * sizeof(SampleOutput);
    auto outputs = MappedBuffer::make(driver(), Bytes(static_cast<std::int64_t>(output_bytes)));
    if (!outputs) return outputs.error();
    made_.outputs = std::move(*outputs);
    std::memset(made_.outputs.host(), 0, output_bytes);
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
    auto forward = std::make_unique<DeviceForward>(shape_, pass);
    if (auto r = forward->prepare(bucket_of(capacity_.rows),
                                  std::min(capacity_.sequences, capacity_.rows));
        !r)
      return r;
    made_.forward = std::move(forward);
    return {};
  }

  Result<void> capture_graphs() {
    auto graphs =
        capture_decode_graphs(driver(), stream(), *made_.forward, shape_.layers, capacity_);
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
  ReadyDevice made_;
  Workspace workspace_;
  Blocks blocks_{0};
  std::optional<FlashInferChoice> flashinfer_;
  std::optional<FlashInferMemory> flashinfer_memory_;
  std::string remark_;
};

}  // namespace

Result<ReadyDevice> make_ready(BackendParts parts, const model::Weights& weights,
                               const CudaOptions& options) {
  return Builder(std::move(parts), weights, options).build();
}

}  // namespace tandem::gpu::cuda
