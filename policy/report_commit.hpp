// What a report means: progress and tokens of a finished plan, or that nothing happened.
#pragma once

#include <vector>

#include "core/plan.hpp"
#include "core/request.hpp"
#include "policy/scheduler_books.hpp"

namespace tandem::policy {

/// Books the report of the oldest plan in flight and appends what its requests are to be told.
///   done     progress is committed, filled blocks become shareable, ended sequences end
///   aborted  its sequences are where they were before; so are those of the plans behind it, which
///            were planned on top of it and are void: they commit nothing, whatever is reported
///   failed   every request in it ends with the report's error; the plans behind it are void
void commit_report(SchedulerBooks& books, const IterationReport& report,
                   std::vector<TokenEvent>& events);

/// The one event that ends a request without a token.
TokenEvent ending(const Sequence& sequence, FinishReason reason);

}  // namespace tandem::policy
