// See trace_workload.hpp.
#include "cli/trace_workload.hpp"

#include <utility>

#include "sim/trace_reader.hpp"
#include "sim/workload_scaling.hpp"

namespace tandem::cli {
namespace {

Duration seconds(double value) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(value));
}

}  // namespace

Result<sim::Workload> read_trace_workload(const TraceArguments& a, RequestClass request_class,
                                          std::int64_t max_context, std::uint64_t seed,
                                          std::vector<std::string>& notes) {
  sim::TraceOptions options{.request_class = request_class, .sort = a.sort, .seed = seed};
  if (a.window_seconds > 0) options.span = seconds(a.start_seconds + a.window_seconds);
  auto trace = sim::read_trace(a.file, options);
  if (!trace) return trace.error();
  for (auto& note : trace->notes) notes.push_back(trace->workload.name + ": " + note);
  std::vector<std::string> changes;
  const auto name = trace->workload.name;
  auto workload =
      sim::scaled(std::move(trace->workload),
                  {.start = seconds(a.start_seconds),
                   .length = seconds(a.window_seconds),
                   .keep = a.keep,
                   .speed = a.speed,
                   .prompt_scale = a.prompt_scale,
                   .output_scale = a.output_scale,
                   .max_requests = a.max_requests,
                   .max_context = Tokens(a.max_context > 0 ? a.max_context : max_context),
                   .drop_too_long = a.drop_too_long,
                   .seed = seed},
                  changes);
  for (auto& change : changes) notes.push_back(name + ": " + change);
  return workload;
}

}  // namespace tandem::cli
