// Attention by FlashInfer's kernels. Prefill rows are theirs; decode rows stay with our own kernel,
// whose captured graphs read everything from the device, except where a measurement asks for FA2.
// What its planners refuse runs on our own kernels, which every iteration is planned for anyway.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "gpu/cuda/attention.hpp"
#include "gpu/cuda/flashinfer/batch.hpp"
#include "gpu/cuda/flashinfer/functions.hpp"
#include "gpu/cuda/resources.hpp"

namespace tandem::gpu::cuda {

struct FlashInferChoice {
  flashinfer::Kernel prefills = flashinfer::Kernel::fa2;
  /// FA2 for decode rows as well. Its plan is made anew for every iteration, so that no graph can
  /// be captured of it: for gpu_check alone.
  bool decodes = false;

  /// For prefill rows alone.
  static FlashInferChoice best(const flashinfer::Functions& functions, const ModelShape& shape,
                               const IterationCapacity& capacity, const DeviceProperties& device);
};

/// Memory of plans and partial results, allocated at start.
struct FlashInferMemory {
  static Result<FlashInferMemory> make(Driver& driver, const ModelShape& shape,
                                       const IterationCapacity& capacity,
                                       const FlashInferChoice& choice);

  /// One kind of rows. Stagings in turns: while the copy of a plan may still be read, the next is
  /// written to another.
  struct Part {
    flashinfer::BatchLayout layout;
    std::array<MappedBuffer, max_on_device> staging;
    DeviceBuffer device;
  };
  Part prefills, decodes;
  DeviceBuffer partials;
};

class FlashInferAttention final : public Attention {
 public:
  FlashInferAttention(Driver& driver, const flashinfer::Functions& functions,
                      const AttentionParts& parts, FlashInferMemory memory,
                      const FlashInferChoice& choice);

  [[nodiscard]] std::string name() const override;
  Result<void> plan(const IterationView& host, const PackedIteration& packed,
                    Stream stream) override;
  Result<void> run(std::int64_t layer, const PassSizes& sizes, Stream stream) override;
  std::optional<std::string> take_warning() override { return std::exchange(warning_, {}); }

 private:
  /// What was planned for one kind of rows; without `batch`, our own kernel runs them.
  struct Planned {
    flashinfer::Kernel kernel = flashinfer::Kernel::fa2;
    std::optional<flashinfer::Batch> batch;
    flashinfer::Fa2Plan fa2;
    flashinfer::Fa3Plan fa3;
  };

  Result<void> plan_part(const IterationView& host, std::span<const std::int32_t> slices,
                         FlashInferMemory::Part& part, Planned& planned, Stream stream);
  Result<std::int64_t> plan_batch(const flashinfer::Batch& batch, std::byte* staging,
                                  const FlashInferMemory::Part& part, Planned& planned) const;
  Result<void> run_part(std::int64_t layer, const FlashInferMemory::Part& part,
                        const Planned& planned, Stream stream) const;

  Driver& driver_;
  const flashinfer::Functions& functions_;
  const AttentionParts parts_;
  OwnAttention own_;
  FlashInferMemory memory_;
  const FlashInferChoice choice_;
  Planned prefills_, decodes_;
  std::size_t staging_ = 0;
  std::optional<std::string> warning_;
};

}  // namespace tandem::gpu::cuda
