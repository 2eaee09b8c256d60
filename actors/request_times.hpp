// The stages of one request, as the scheduler sees them: waiting, prompt, answer.
#pragma once

#include <cstdint>
#include <optional>

#include "core/request.hpp"
#include "core/units.hpp"

namespace tandem {

struct RequestTimes {
  RequestClass request_class = RequestClass::online;
  TimePoint arrival{};
  std::optional<TimePoint>
      started;  ///< its first iteration was launched; preemptions change nothing
  std::optional<TimePoint> first_token;
  std::uint64_t num_tokens = 0;
};

}  // namespace tandem
