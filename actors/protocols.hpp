// The system on one page: which messages each actor takes, and what it answers. A wrong message is
// a compile error, and a test's own actor fills the same interface, so a fake cannot drift.
//
//  client ── bridge ──Submit──► RequestIntake ──Admit──► Scheduler ──RunIteration──► Executor
//              ▲                     ▲ RequestsEnded ───────┤ ▲ └─IterationFinished──────┘
//              │                     ├─Prepare─► Encoders   │ │
//              └──TokensEmitted──────┼──────────────────────┤ └── ModelUpdated / BudgetUpdated
//              │                     │                      ├──IterationMeasured──►
//              LatencyPredictor └──files, batches──► OfflineQueue ◄─Refill───┤
//                                        └──OfflineItems──► └──TokensObserved─────► SloProfiler
#pragma once

#include <caf/typed_actor.hpp>

#include "actors/messages.hpp"

namespace tandem {

namespace detail {
template <class Signature>
struct ProtocolEntry;
template <class In>
struct ProtocolEntry<void(In)> {
  using type = caf::reacts_to<In>;
};
template <class Out, class In>
struct ProtocolEntry<Out(In)> {
  using type = typename caf::replies_to<In>::template with<Out>;
};
}  // namespace detail

/// A typed actor interface written as signatures: Reply(Message), or void(Message).
template <class... Signatures>
using Protocol = caf::typed_actor<typename detail::ProtocolEntry<Signatures>::type...>;

/// Whoever receives tokens: the bridge of a network thread, the offline queue, a test.
using TokenSink = Protocol<void(msg::TokensEmitted)>;

namespace msg {
/// A request and where its tokens go.
struct AdmitTo {
  RequestPtr request;
  TokenSink sink;
};
/// A call and where its tokens go.
struct SubmitTo {
  Submit submit;
  TokenSink sink;
};
/// A call about text. Its sink is who abandons it; no tokens go there.
struct AskText {
  TextCallPtr call;
  std::uint32_t ignored_fields = 0;  ///< as of Submit
  std::uint64_t ticket = 0;          ///< likewise
  TokenSink sink;
};
/// The sink lost interest in a call that was not answered yet: intake drops it if it is not being
/// worked on, else does not admit it. It is answered by `cancelled`; one that was answered already
/// is for Cancel.
struct Abandon {
  std::uint64_t ticket = 0;
  TokenSink sink;
};
/// The offline queue tells the scheduler where refills come from and where items' tokens go.
struct AttachQueue;
/// Predictor and profiler are told whom to publish to; the scheduler, whom to report to.
struct AttachScheduler;
struct AttachObservers;
}  // namespace msg

using Executor =
    Protocol<msg::IterationFinished(msg::RunIteration), void(msg::Preempt), void(msg::SegmentDone)>;

using Scheduler =
    Protocol<void(msg::AdmitTo), void(msg::Cancel), void(msg::OfflineItems),
             void(msg::ItemsAvailable), void(msg::ModelUpdated), void(msg::BudgetUpdated),
             void(msg::AttachQueue), void(msg::AttachObservers), void(msg::Tick)>;

using LatencyPredictor = Protocol<void(msg::IterationMeasured), void(msg::AttachScheduler)>;

using SloProfiler = Protocol<void(msg::RequestAdmitted), void(msg::RequestsLaunched),
                             void(msg::TokensObserved), void(msg::AttachScheduler)>;

using RequestIntake =
    Protocol<msg::Reply<msg::Accepted>(msg::SubmitTo), msg::Reply<msg::TextBody>(msg::AskText),
             void(msg::Cancel), void(msg::Abandon), void(msg::RequestsEnded), void(msg::Drain)>;

/// Renders and tokenizes for request intake. A few of them, detached.
using Encoder =
    Protocol<msg::Reply<PreparedCall>(msg::Prepare), msg::Reply<msg::TextBody>(msg::AnswerText)>;

/// Owns batch jobs and items, in the durable store (store/store.hpp). Detached: it blocks on
/// SQLite.
///   REST       files and batches; every answer is a Reply whose Error the client sees
///   in         RefillOffline: claim up to `count` engine requests' worth of items, prepare them
///              (api::parse_batch_line, prepare()), remember which request ids belong to which item
///              (n > 1 and several prompts give several requests), answer with OfflineItems
///   in         TokensEmitted: collect tokens per request (api::ChoiceStream); when an item's last
///              request ended, format its body and finish it in the store, many in one transaction
///   self       Tick: validation of new batches in chunks, expiry, finalisation, file expiry
///   out        ItemsAvailable to the scheduler when the store has ready items again after it ran
///   dry Drain      claim nothing more; items in the engine are unclaimed by the store when it
///   reopens
using OfflineQueue = Protocol<
    void(msg::RefillOffline), void(msg::TokensEmitted), void(msg::Tick), void(msg::Work),
    void(msg::Drain), msg::Reply<msg::UploadPath>(msg::NewUpload),
    msg::Reply<store::FileInfo>(msg::AddFile), msg::Reply<msg::FilePage>(msg::ListFiles),
    msg::Reply<msg::FileOnDisk>(msg::GetFile), msg::Reply<msg::Nothing>(msg::RemoveFile),
    msg::Reply<store::BatchInfo>(msg::CreateBatch), msg::Reply<store::BatchInfo>(msg::GetBatch),
    msg::Reply<msg::BatchPage>(msg::ListBatches), msg::Reply<store::BatchInfo>(msg::CancelBatch),
    msg::Reply<msg::Nothing>(msg::ProbeStore)>;

namespace msg {
struct AttachQueue {
  OfflineQueue queue;
};
struct AttachScheduler {
  Scheduler scheduler;
};
struct AttachObservers {
  LatencyPredictor predictor;
  SloProfiler profiler;
  RequestIntake intake;  ///< is told which requests ended
};
}  // namespace msg

}  // namespace tandem

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(tandem::msg::AdmitTo)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(tandem::msg::SubmitTo)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(tandem::msg::AskText)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(tandem::msg::Abandon)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(tandem::msg::AttachQueue)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(tandem::msg::AttachScheduler)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(tandem::msg::AttachObservers)
