// A random pool, random queries and block tables, attention over them by each implementation, and
// the same written out in double precision.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "bench/gpu_check/lab.hpp"
#include "gpu/cuda/attention.hpp"
#include "gpu/cuda/flashinfer/flashinfer_attention.hpp"
#include "gpu/cuda/iteration.hpp"

namespace tandem::gpu_check {

struct AttentionPart {
  std::uint32_t context = 0, tokens = 1;
};

std::vector<float> random_floats(std::mt19937& random, std::int64_t count);
std::vector<std::uint16_t> random_halves(std::mt19937& random, std::int64_t count);

/// An implementation of attention; without a choice of FlashInfer's kernels, our own.
struct AttentionKind {
  std::string name;  ///< goes before the names of what is found; empty for our own
  std::optional<gpu::cuda::FlashInferChoice> flashinfer;
};

/// Those that can run heads of this width here: our own, FA2 for all rows, and FA3 for prefills.
std::vector<AttentionKind> attention_kinds(const Lab& lab, std::int64_t head_dim);

class AttentionCase {
 public:
  AttentionCase(const Lab& lab, std::int64_t kv_heads, std::int64_t group, std::int64_t head_dim,
                const std::vector<AttentionPart>& parts, std::mt19937& random);

  /// Chooses the implementation, plans, and poisons the output; before `run`.
  void prepare(const Lab& lab, const AttentionKind& kind);
  /// Queues attention of all rows.
  void run(const Lab& lab);
  /// The largest difference of the outputs from the truth; slow for long contexts.
  [[nodiscard]] double worst() const;
  /// Bytes of K and V that the rows see, each once.
  [[nodiscard]] double key_bytes() const;
  /// Multiplications and additions of both products.
  [[nodiscard]] double operations() const;

 private:
  [[nodiscard]] std::vector<double> truth(std::int64_t row, std::int64_t head,
                                          std::int64_t position, const BlockTable& table) const;

  gpu::cuda::ModelShape shape_;
  gpu::cuda::IterationCapacity capacity_;
  Plan plan_;
  gpu::cuda::PackedIteration packed_;
  gpu::cuda::PassSizes sizes_;
  gpu::cuda::KvStrides strides_;
  std::vector<std::uint16_t> query_, pool_;
  std::unique_ptr<gpu::cuda::IterationLayout> layout_;
  std::vector<std::byte> input_here_;
  std::unique_ptr<DeviceArray<std::byte>> input_;
  std::unique_ptr<DeviceArray<std::uint16_t>> query_there_, pool_there_, out_;
  std::unique_ptr<DeviceArray<float>> partial_out_, partial_lse_;
  std::unique_ptr<gpu::cuda::Attention> attention_;
};

}  // namespace tandem::gpu_check
