// See workload_scaling.hpp.
#include "sim/workload_scaling.hpp"

#include <algorithm>
#include <cmath>
#include <random>

#include "sim/trace_reader.hpp"

namespace tandem::sim {
namespace {

Error wrong(const Workload& workload, const std::string& what) {
  return error(Errc::invalid_value, workload.name + ": " + what);
}

std::string broken_rule(const Scaling& scaling) {
  const auto positive = [](double factor) { return factor > 0 && factor <= 1e6; };
  if (scaling.start < Duration{} || scaling.length < Duration{})
    return "a window begins at 0 or later and has no negative length";
  if (!(scaling.keep > 0 && scaling.keep <= 1))
    return "the share of requests to keep is over 0 and at most 1";
  if (!positive(scaling.speed)) return "a speed is over 0 and at most 1000000";
  if (!positive(scaling.prompt_scale) || !positive(scaling.output_scale))
    return "a scale of lengths is over 0 and at most 1000000";
  return {};
}

Duration faster(Duration time, double speed) {
  return Duration(std::llround(static_cast<double>(time.count()) / speed));
}

/// Rounded, at least 1, at most what a trace may name.
Tokens resized(Tokens length, double scale) {
  const double size = std::round(static_cast<double>(length.value()) * scale);
  return Tokens(
      static_cast<std::int64_t>(std::clamp(size, 1.0, static_cast<double>(longest_length))));
}

void resize(WorkloadRequest& request, const Scaling& scaling, Tokens prefix_id_tokens) {
  request.output_tokens = resized(request.output_tokens, scaling.output_scale);
  if (scaling.prompt_scale == 1) return;
  const auto size = resized(request.prompt_tokens, scaling.prompt_scale);
  if (!request.prompt.empty()) {
    // A prompt grows by repeating itself: it must stay one that the file could have held.
    const auto known = request.prompt.size();
    request.prompt.resize(static_cast<std::size_t>(size.value()));
    for (std::size_t i = known; i < request.prompt.size(); ++i)
      request.prompt[i] = request.prompt[i % known];
  }
  request.prompt_tokens = size;
  const auto per_id = prefix_id_tokens.value();
  const auto blocks = static_cast<std::size_t>((size.value() + per_id - 1) / per_id);
  if (request.prefix_ids.size() > blocks) request.prefix_ids.resize(blocks);
}

}  // namespace

Result<Workload> scaled(Workload workload, const Scaling& scaling,
                        std::vector<std::string>& notes) {
  if (const auto rule = broken_rule(scaling); !rule.empty()) return wrong(workload, rule);
  auto& requests = workload.requests;
  std::mt19937_64 random(scaling.seed);
  std::erase_if(requests, [&](const WorkloadRequest& request) {
    // Drawn for each, so that a window does not change who is chosen in it.
    const bool chosen = std::uniform_real_distribution<double>(0, 1)(random) < scaling.keep;
    return !chosen || request.arrival < scaling.start ||
           (scaling.length > Duration{} && request.arrival >= scaling.start + scaling.length);
  });
  if (scaling.max_requests > 0 && requests.size() > scaling.max_requests)
    requests.resize(scaling.max_requests);
  workload.prefix_id_tokens = resized(workload.prefix_id_tokens, scaling.prompt_scale);
  std::size_t too_long = 0;
  std::string longest;
  for (auto& request : requests) {
    request.arrival = faster(request.arrival - scaling.start, scaling.speed);
    if (request.deadline)
      request.deadline =
          faster(std::max(*request.deadline - scaling.start, Duration{}), scaling.speed);
    resize(request, scaling, workload.prefix_id_tokens);
  }
  if (scaling.max_context > Tokens(0))
    std::erase_if(requests, [&](const WorkloadRequest& request) {
      if (request.prompt_tokens + request.output_tokens <= scaling.max_context) return false;
      if (++too_long == 1)
        longest = std::to_string(request.prompt_tokens.value()) + " + " +
                  std::to_string(request.output_tokens.value());
      return true;
    });
  const auto told = std::to_string(too_long) + (too_long == 1 ? " request is" : " requests are") +
                    " longer than the context of " + std::to_string(scaling.max_context.value()) +
                    " tokens, the first with " + longest;
  if (too_long > 0 && !scaling.drop_too_long) return wrong(workload, told);
  if (too_long > 0) notes.push_back(told + "; left out");
  if (requests.empty()) return wrong(workload, "no request is left of it");
  return workload;
}

}  // namespace tandem::sim
