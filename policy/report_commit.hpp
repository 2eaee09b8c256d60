// What a report means: progress and tokens of a finished plan, or that nothing happened.
#pragma once

#include <optional>
#include <vector>

#include "core/plan.hpp"
#include "core/request.hpp"
#include "policy/scheduler_books.hpp"

namespace tandem::policy {

/// Takes one report in, in two halves, so that the next plan is launched between them: the first
/// does what a plan depends on, the second what nobody waits for on the device.
class ReportCommit {
 public:
  /// Books the report of the oldest plan in flight.
  ///   done     progress is committed, filled blocks of prompts become shareable, ended sequences
  ///            end
  ///   aborted  its sequences are where they were before; so are those of the plans behind it,
  ///            which were planned on top of it and are void: they commit nothing, whatever is
  ///            reported
  ///   failed   every request in it ends with the report's error; the plans behind it are void
  void commit(SchedulerBooks& books, const IterationReport& report);

  /// Appends what the requests of the committed report are to be told, and makes the blocks that
  /// decodes filled shareable. The report must live until here.
  void tell(SchedulerBooks& books, std::vector<TokenEvent>& events);

 private:
  /// A token that is still to be put into words.
  struct Yield {
    RequestId id{};
    const Sample* sample = nullptr;
    Sequence* decode = nullptr;  ///< goes on, and its filled blocks are not published yet
    std::optional<FinishReason> finish;
    Tokens cached_tokens{0};
  };

  void commit_done(SchedulerBooks& books, const PlanInFlight& done, const IterationReport& report);
  void commit_slice(SchedulerBooks& books, Sequence& sequence, const Slice& slice,
                    const Sample* sample);
  void fail(SchedulerBooks& books, const PlanInFlight& failed, const IterationReport& report);

  std::vector<Yield> yields_;
  std::vector<TokenEvent> failures_;
};

/// The one event that ends a request without a token.
TokenEvent ending(const Sequence& sequence, FinishReason reason);

}  // namespace tandem::policy
