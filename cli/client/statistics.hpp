// What a load test measures, by the definitions of `vllm bench serve`, so that figures can be laid
// side by side. Times are milliseconds.
//   TTFT  from sending a request to its first chunk
//   TBT   every gap between two chunks of one request, all requests pooled (vLLM: ITL)
//   TPOT  per request: (end - first chunk) / (tokens - 1)
//   E2E   per request: from sending to the last chunk
//   goodput  requests per second that met every limit; a tbt limit holds for each of its gaps
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"

namespace tandem::client {

/// One finished or failed request.
struct Measured {
  bool ok = false;
  std::string failure;      ///< a short class of failures: "status 503", "connection"
  double scheduled_ms = 0;  ///< since the start of the run
  double sent_ms = 0;       ///< since the start of the run; later than scheduled if held back
  double ttft_ms = 0;
  double e2e_ms = 0;
  std::vector<float> gaps_ms;
  std::int64_t prompt_tokens = 0;
  std::int64_t output_tokens = 0;

  [[nodiscard]] double tpot_ms() const;
};

/// Mean and percentiles of a set; zeros if it is empty.
struct Spread {
  std::size_t count = 0;
  double mean = 0, p50 = 0, p90 = 0, p99 = 0, max = 0;
};
/// Percentiles interpolate linearly between neighbours, as numpy does.
Spread spread(std::vector<double> values);

/// Limits in milliseconds.
struct Objectives {
  std::optional<double> ttft, tbt, tpot, e2e;
  [[nodiscard]] bool any() const { return ttft || tbt || tpot || e2e; }
  [[nodiscard]] bool met_by(const Measured& request) const;
};
/// "ttft:500,tbt:50"; also tpot and e2e.
Result<Objectives> parse_objectives(std::string_view text);

struct Summary {
  std::size_t completed = 0, failed = 0, good = 0;
  std::vector<std::pair<std::string, std::size_t>> failures;  ///< by class, most frequent first
  Spread ttft, tbt, tpot, e2e, lateness;
  std::int64_t prompt_tokens = 0, output_tokens = 0, chunks = 0;
};
Summary summarize(const std::vector<Measured>& requests, const Objectives& objectives);

}  // namespace tandem::client
