// What enters the engine in a run, and when: the one form that every trace, prompt file and
// generator is brought into. Lengths suffice to simulate; prompts are there where a file has them,
// and prefix ids where a trace knows which requests begin alike.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/request.hpp"
#include "core/result.hpp"
#include "core/units.hpp"

namespace tandem::sim {

struct WorkloadRequest {
  Duration arrival{};  ///< since the run's start; an offline item is in the queue from then on
  RequestClass request_class = RequestClass::online;
  std::vector<TokenId> prompt;  ///< the prompt itself, if it is known
  Tokens prompt_tokens{0};      ///< its length, at least 1; the size of `prompt` where that is set
  /// Without a prompt: one id for each leading Workload::prefix_id_tokens tokens. Two requests
  /// whose first n ids are equal begin with the same n * prefix_id_tokens tokens. What no id covers
  /// is like nothing else. May be empty.
  std::vector<std::uint64_t> prefix_ids;
  Tokens output_tokens{0};           ///< how many it generates, at least 1
  std::optional<Duration> deadline;  ///< since the run's start
};

struct Workload {
  std::string name;              ///< for tables: the file, or what a generator was told
  Tokens prefix_id_tokens{512};  ///< of one prefix id
  /// By arrival. Offline requests with equal arrival stay in their order, which is the queue's.
  std::vector<WorkloadRequest> requests;
};

/// The first broken rule of the above (order, lengths, negative times), naming the request's place.
Result<void> check(const Workload& workload);

/// The prompt of requests[index]: its own, or one made up from its prefix ids; a function of its
/// arguments alone. Token ids lie in 0 .. vocab_size - 1. Where a run goes over a workload again,
/// `repetition` makes the tokens that no prefix id covers differ from those of the times before.
std::vector<TokenId> prompt_of(const Workload& workload, std::size_t index, std::int64_t vocab_size,
                               std::uint64_t repetition = 0);

/// Both, ordered by arrival; `online` stands before `offline` where arrivals are equal. Both must
/// have the same prefix_id_tokens, or one of them no prefix ids.
Workload merge(Workload online, Workload offline);

}  // namespace tandem::sim
