// W3C Trace Context: which trace of its caller's a request belongs to.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tandem::api {

struct TraceContext {
  std::string trace_id;  ///< 32 hexadecimal digits, not all 0
  std::string span_id;   ///< 16 of them, not all 0: of the caller's span, or of ours under it
  std::string flags;     ///< 2 of them

  [[nodiscard]] std::string header() const;  ///< as a `traceparent` of version 00
};

/// A `traceparent` header; nothing if it is not a valid one, which then counts as absent, as the
/// recommendation has it. Of versions that are not known yet the fields of version 00 are read.
std::optional<TraceContext> parse_traceparent(std::string_view text);

/// For logs; "-" without a trace.
std::string_view trace_id_of(const std::optional<TraceContext>& trace);

/// Our own span under the caller's, in the same trace.
TraceContext new_span(const TraceContext& caller);

}  // namespace tandem::api
