// Attention over the paged pool, behind one interface. An implementation plans an iteration on the
// host once and is launched for every layer of it; decode and prefill rows, which are ranges of
// their own (PackedIteration), are planned and launched separately. Our own kernels are planned
// with the iteration itself (attend_schedule.hpp); flashinfer/attention.hpp is the other one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/result.hpp"
#include "gpu/cuda/driver.hpp"
#include "gpu/cuda/iteration.hpp"
#include "gpu/cuda/kernels/kernels.hpp"

namespace tandem::gpu::cuda {

/// Where attention finds things on the device.
struct AttentionParts {
  ModelShape shape;
  const KernelTable* kernels = nullptr;
  IterationView iteration;
  const std::uint16_t* query = nullptr;  ///< (rows, heads, stored_head_dim)
  std::uint16_t* out = nullptr;          ///< (rows, heads * head_dim)
  const std::uint16_t* pool = nullptr;
  KvStrides strides;
  float *partial_out = nullptr, *partial_lse = nullptr;  ///< of split walks: see Workspace
};

class Attention {
 public:
  virtual ~Attention() = default;
  /// For the log: one word.
  [[nodiscard]] virtual std::string name() const = 0;
  /// Before the first layer of an iteration, whose copy to the device is queued. `host` is the
  /// iteration in pinned memory. What is planned holds until the next call, which may come
  /// before the iteration has run.
  virtual Result<void> plan(const IterationView& host, const PackedIteration& packed,
                            Stream stream) = 0;
  /// Queues attention of all rows over the keys of `layer`. `sizes` without prefill items mean
  /// decode rows alone, planned or yet to be: what is queued may be captured then.
  virtual Result<void> run(std::int64_t layer, const PassSizes& sizes, Stream stream) = 0;
  /// What went otherwise than asked for since the last call, if anything did.
  virtual std::optional<std::string> take_warning() { return std::nullopt; }
};

class OwnAttention final : public Attention {
 public:
  explicit OwnAttention(const AttentionParts& parts) : parts_(parts) {}

  [[nodiscard]] std::string name() const override { return "paged_mma"; }
  Result<void> plan(const IterationView&, const PackedIteration&, Stream) override { return {}; }
  Result<void> run(std::int64_t layer, const PassSizes& sizes, Stream stream) override;

  void run_decodes(std::int64_t layer, const PassSizes& sizes, Stream stream) const;
  void run_prefills(std::int64_t layer, const PassSizes& sizes, Stream stream) const;

 private:
  /// What decode and prefill items differ in.
  struct ItemKind {
    void (*attend)(const AttendArgs&, std::int64_t items, Stream);
    const std::uint32_t* num_items;
    const AttendItem* items;
    const std::uint32_t* num_merges;
    const MergeItem* merges;
    std::int64_t tile_rows;
  };
  void run_items(std::int64_t layer, const ItemKind& kind, std::int64_t items, std::int64_t merges,
                 Stream stream) const;

  const AttentionParts parts_;
};

}  // namespace tandem::gpu::cuda
