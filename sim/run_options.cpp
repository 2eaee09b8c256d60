// See run_options.hpp.
#include "sim/run_options.hpp"

#include <string>

namespace tandem::sim {

Result<void> check_fits(const Workload& workload, const RunOptions& options) {
  for (std::size_t i = 0; i < workload.requests.size(); ++i) {
    const WorkloadRequest& request = workload.requests[i];
    const Tokens longest = request.prompt_tokens + request.output_tokens - Tokens(1);
    if (blocks_for(longest) > options.scheduler.kv_blocks)
      return error(Errc::context_length_exceeded,
                   workload.name + ": request " + std::to_string(i + 1) + " has " +
                       std::to_string(request.prompt_tokens.value()) + " prompt and " +
                       std::to_string(request.output_tokens.value()) +
                       " output tokens; the KV cache holds " +
                       std::to_string(options.scheduler.kv_blocks.value() * kv_block_tokens));
  }
  return {};
}

}  // namespace tandem::sim
