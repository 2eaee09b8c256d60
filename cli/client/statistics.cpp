// See statistics.hpp.
#include "cli/client/statistics.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <numeric>

namespace tandem::client {

double Measured::tpot_ms() const {
  return output_tokens > 1 ? (e2e_ms - ttft_ms) / static_cast<double>(output_tokens - 1) : 0;
}

Spread spread(std::vector<double> values) {
  Spread result;
  result.count = values.size();
  if (values.empty()) return result;
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    const double place = share * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(place);
    const auto above = std::min(below + 1, values.size() - 1);
    return std::lerp(values[below], values[above], place - std::floor(place));
  };
  result.mean =
      std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  result.p50 = at(0.5);
  result.p90 = at(0.9);
  result.p99 = at(0.99);
  result.max = values.back();
  return result;
}

bool Objectives::met_by(const Measured& request) const {
  if (!request.ok) return false;
  if (ttft && request.ttft_ms > *ttft) return false;
  if (tpot && request.tpot_ms() > *tpot) return false;
  if (e2e && request.e2e_ms > *e2e) return false;
  return !tbt || std::all_of(request.gaps_ms.begin(), request.gaps_ms.end(),
                             [&](float gap) { return static_cast<double>(gap) <= *tbt; });
}

Result<Objectives> parse_objectives(std::string_view text) {
  Objectives result;
  while (!text.empty()) {
    const auto end = std::min(text.find(','), text.size());
    const auto part = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const auto colon = std::min(part.find(':'), part.size());
    const auto name = part.substr(0, colon);
    const auto number = part.substr(std::min(colon + 1, part.size()));
    double value = 0;
    const auto [stop, failure] =
        std::from_chars(number.data(), number.data() + number.size(), value);
    auto* field = name == "ttft"   ? &result.ttft
                  : name == "tbt"  ? &result.tbt
                  : name == "tpot" ? &result.tpot
                  : name == "e2e"  ? &result.e2e
                                   : nullptr;
    if (!field || failure != std::errc{} || stop != number.data() + number.size() ||
        !std::isfinite(value) || value <= 0)
      return error(Errc::invalid_value,
                   "'" + std::string(part) +
                       "' is no objective; expected ttft:MS, tbt:MS, tpot:MS or e2e:MS, separated "
                       "by commas",
                   "goodput");
    *field = value;
  }
  return result;
}

Summary summarize(const std::vector<Measured>& requests, const Objectives& objectives) {
  Summary result;
  std::vector<double> ttft, tbt, tpot, e2e, lateness;
  std::map<std::string, std::size_t> failures;
  for (const auto& request : requests) {
    lateness.push_back(request.sent_ms - request.scheduled_ms);
    if (!request.ok) {
      ++result.failed;
      ++failures[request.failure];
      continue;
    }
    ++result.completed;
    if (objectives.met_by(request)) ++result.good;
    ttft.push_back(request.ttft_ms);
    e2e.push_back(request.e2e_ms);
    if (request.output_tokens > 1) tpot.push_back(request.tpot_ms());
    tbt.insert(tbt.end(), request.gaps_ms.begin(), request.gaps_ms.end());
    result.prompt_tokens += request.prompt_tokens;
    result.output_tokens += request.output_tokens;
    result.chunks += static_cast<std::int64_t>(request.gaps_ms.size()) + 1;
  }
  result.ttft = spread(std::move(ttft));
  result.tbt = spread(std::move(tbt));
  result.tpot = spread(std::move(tpot));
  result.e2e = spread(std::move(e2e));
  result.lateness = spread(std::move(lateness));
  result.failures.assign(failures.begin(), failures.end());
  std::sort(result.failures.begin(), result.failures.end(),
            [](const auto& a, const auto& b) { return a.second > b.second; });
  return result;
}

}  // namespace tandem::client
