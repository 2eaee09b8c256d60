// Matrix products as the backend asks for them: out (rows, n) = a (rows, k) times weights (n, k)
// transposed, a and weights bf16 row-major, sums f32. Rows are a bucket (buckets.hpp); everything
// that depends on a shape is prepared at start.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "core/result.hpp"
#include "gpu/cuda/driver.hpp"

namespace tandem::gpu::cuda {

enum class GemmOutput : std::uint8_t {
  bf16,
  f32,
  f32_added,  ///< out += the product: the residual stream
};

/// What a plan depends on.
struct GemmKey {
  std::int64_t rows = 0, n = 0, k = 0;
  GemmOutput output = GemmOutput::bf16;

  friend auto operator<=>(const GemmKey&, const GemmKey&) = default;
};

/// For messages.
inline std::string text_of(const GemmKey& key) {
  return "a product of " + std::to_string(key.rows) + " rows, n " + std::to_string(key.n) + ", k " +
         std::to_string(key.k);
}

struct GemmOperands {
  const std::uint16_t* a = nullptr;
  const std::uint16_t* weights = nullptr;
  void* out = nullptr;
  std::int64_t out_stride = 0;  ///< elements from row to row; a function of the key in a model
};

class Gemm {
 public:
  virtual ~Gemm() = default;
  /// For the log: the library and its version, one word.
  [[nodiscard]] virtual std::string name() const = 0;
  /// Device memory that the products may use while they run; before anything is prepared.
  virtual void set_workspace(std::byte* memory, Bytes size) = 0;
  /// Chooses how to compute products of this shape. Cheap if it was done before.
  virtual Result<void> prepare(const GemmKey& key, std::int64_t out_stride) = 0;
  /// Queues a product whose shape was prepared.
  virtual Result<void> run(const GemmKey& key, const GemmOperands& operands, Stream stream) = 0;
};

}  // namespace tandem::gpu::cuda
