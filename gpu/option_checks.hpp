// The ranges of options that every device has, and how one that is outside is refused.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "core/result.hpp"
#include "model/model_config.hpp"

namespace tandem::gpu {

inline Error refused(std::string key, std::string what) {
  return error(Errc::invalid_value, key + " " + std::move(what), key);
}

inline Result<void> check_range(const char* key, std::int64_t value, std::int64_t least,
                                std::int64_t most) {
  if (value >= least && value <= most) return {};
  return refused(key, "is " + std::to_string(value) + "; allowed are " + std::to_string(least) +
                          " to " + std::to_string(most));
}

/// Of HostOptions or CudaOptions; `takes` is the device's name with its verb.
template <class Options>
Result<void> check_shared_ranges(const Options& options, const model::ModelConfig& config,
                                 const char* takes, std::int64_t widest_head) {
  if (auto r =
          check_range("max_iteration_tokens", options.max_iteration_tokens.value(), 1, 1 << 20);
      !r)
    return r;
  if (auto r = check_range("max_sequences", options.max_sequences, 1, 1 << 16); !r) return r;
  if (auto r = check_range("layers_per_segment", options.layers_per_segment, 1, 1 << 16); !r)
    return r;
  if (!options.max_context.is_zero())
    if (auto r = check_range("max_context", options.max_context.value(), 1, config.max_position);
        !r)
      return r;
  if (config.head_dim % 2 != 0 || config.head_dim > widest_head)
    return error(Errc::unsupported,
                 "head_dim is " + std::to_string(config.head_dim) + "; " + takes +
                     " even ones up to " + std::to_string(widest_head),
                 "head_dim");
  return {};
}

}  // namespace tandem::gpu
