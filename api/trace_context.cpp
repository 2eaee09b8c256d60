// See trace_context.hpp.
#include "api/trace_context.hpp"

#include <algorithm>

#include "api/ids.hpp"

namespace tandem::api {
namespace {

constexpr std::size_t version_00_size = 55;

bool is_lower_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}
bool is_zero(std::string_view text) { return text.find_first_not_of('0') == text.npos; }

}  // namespace

std::string TraceContext::header() const { return "00-" + trace_id + '-' + span_id + '-' + flags; }

std::optional<TraceContext> parse_traceparent(std::string_view text) {
  if (text.size() < version_00_size || text[2] != '-' || text[35] != '-' || text[52] != '-')
    return std::nullopt;
  const auto version = text.substr(0, 2);
  const auto trace_id = text.substr(3, 32);
  const auto span_id = text.substr(36, 16);
  const auto flags = text.substr(53, 2);
  for (const auto part : {version, trace_id, span_id, flags})
    if (!is_lower_hex(part)) return std::nullopt;
  if (version == "ff" || is_zero(trace_id) || is_zero(span_id)) return std::nullopt;
  if (text.size() > version_00_size && (version == "00" || text[version_00_size] != '-'))
    return std::nullopt;
  return TraceContext{std::string(trace_id), std::string(span_id), std::string(flags)};
}

std::string_view trace_id_of(const std::optional<TraceContext>& trace) {
  return trace ? std::string_view(trace->trace_id) : "-";
}

TraceContext new_span(const TraceContext& caller) {
  auto span = caller;
  span.span_id = random_hex(16);
  return span;
}

}  // namespace tandem::api
