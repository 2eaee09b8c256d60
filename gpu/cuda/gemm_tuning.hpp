// The file in which measured choices of GEMM algorithms are kept: text, one shape a line, under a
// head that names the device and the library they were measured with. A choice is the library's own
// opaque description, or the word `own`: our kernel was faster than all of the library's. Under
// another device or version it means nothing, so such a file is refused.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "core/result.hpp"
#include "gpu/cuda/gemm.hpp"

namespace tandem::gpu::cuda {

/// The library's description of an algorithm (cublasLtMatmulAlgo_t).
using GemmAlgorithm = std::array<std::uint64_t, 8>;

struct TunedGemm {
  GemmAlgorithm algorithm{};
  std::uint64_t workspace_bytes = 0;
  double microseconds = 0;  ///< when it was measured

  friend bool operator==(const TunedGemm&, const TunedGemm&) = default;
};

struct GemmTuning {
  std::string device;         ///< its name, without line breaks
  std::uint64_t library = 0;  ///< version number
  std::map<GemmKey, TunedGemm> choices;
  /// Shapes that our own kernel computes (skinny_gemm.hpp), and the microseconds it took. No shape
  /// is in both.
  std::map<GemmKey, double> own;
};

std::string to_text(const GemmTuning& tuning);
/// Errors name `file`, the line and what is allowed there.
Result<GemmTuning> parse_tuning(std::string_view text, const std::string& file);
/// Fails with both heads if the file was made with another device or library.
Result<void> check_tuning(const GemmTuning& tuning, const std::string& device,
                          std::uint64_t library, const std::string& file);

}  // namespace tandem::gpu::cuda
