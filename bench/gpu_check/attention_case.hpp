// A random pool, random queries and block tables, attention over them by the kernels, and the same
// written out in double precision.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "bench/gpu_check/lab.hpp"
#include "gpu/cuda/iteration.hpp"

namespace tandem::gpu_check {

struct AttentionPart {
  std::uint32_t context = 0, tokens = 1;
};

std::vector<float> random_floats(std::mt19937& random, std::int64_t count);
std::vector<std::uint16_t> random_halves(std::mt19937& random, std::int64_t count);

class AttentionCase {
 public:
  AttentionCase(const Lab& lab, std::int64_t kv_heads, std::int64_t group, std::int64_t head_dim,
                const std::vector<AttentionPart>& parts, std::mt19937& random);

  /// Queues attention of all rows.
  void run(const Lab& lab) const;
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
  Plan plan_;
  gpu::cuda::IterationHeader header_;
  gpu::cuda::KvStrides strides_;
  std::vector<std::uint16_t> query_, pool_;
  std::unique_ptr<gpu::cuda::IterationLayout> layout_;
  std::unique_ptr<DeviceArray<std::byte>> input_;
  std::unique_ptr<DeviceArray<std::uint16_t>> query_there_, pool_there_, out_;
  std::unique_ptr<DeviceArray<float>> partial_out_, partial_lse_;
};

}  // namespace tandem::gpu_check
