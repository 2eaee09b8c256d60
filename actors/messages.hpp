// Every message that actors exchange. Commands are imperatives, facts are participles. Plain named
// structs; what is large and shared travels as shared_ptr<const T>, so that sending copies nothing.
#pragma once

#include <caf/allowed_unsafe_message_type.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "actors/prepared_call.hpp"
#include "core/plan.hpp"
#include "core/request.hpp"
#include "core/result.hpp"
#include "core/text_call.hpp"
#include "core/units.hpp"
#include "policy/snapshots.hpp"
#include "store/store.hpp"

namespace tandem::msg {

/// The answer to a request that can fail in an expected way: the whole Error travels, since its
/// reader is the caller at the other end of a socket.
template <class T>
struct Reply {
  Result<T> value;
};
struct Nothing {};

// ---- front -> request intake ----
/// One call of a client. Answered by Accepted before any of its tokens is emitted.
struct Submit {
  GenerateCallPtr call;
  std::string tenant;                ///< whose cache namespace and limits; empty: the only one
  std::string request_id;            ///< the caller's X-Request-Id, for logs
  std::uint32_t ignored_fields = 0;  ///< fields of the call that nobody knows, for the metric
  std::uint64_t ticket = 0;          ///< the sink's own number for it, for Abandon; 0: none
};
struct Accepted {
  std::vector<AcceptedChoice> choices;  ///< prompt 0's n choices, prompt 1's n choices, …
};
/// The caller lost interest. Ids that have ended are ignored.
struct Cancel {
  std::vector<RequestId> ids;
};
/// Refuse new calls from now on (they get shutting_down); what runs goes on.
struct Drain {};

// ---- request intake -> encoder ----
/// Answered by a PreparedCall without ids and arrival.
struct Prepare {
  GenerateCallPtr call;
  std::string tenant;
  std::uint64_t default_seed = 0;  ///< see prepare()
};

/// Answered by a TextBody.
struct AnswerText {
  TextCallPtr call;
};
/// The body of the reply to a call about text, ready to be sent.
struct TextBody {
  std::shared_ptr<const std::string> json;
};

// ---- request intake, offline queue -> scheduler ----
struct OfflineItems {
  std::vector<RequestPtr> items;  ///< fewer than asked for: the queue is empty
};
struct ItemsAvailable {};

// ---- scheduler -> everybody ----
/// All that one report (or cancel) meant to the receiver's requests.
struct TokensEmitted {
  std::shared_ptr<const std::vector<TokenEvent>> events;
};
struct RefillOffline {
  std::uint32_t count = 0;
};
struct RequestsEnded {
  std::vector<RequestId> ids;
};

// ---- scheduler <-> executor ----
struct RunIteration {
  PlanPtr plan;
};
struct IterationFinished {
  ReportPtr report;
};
/// Stop at the next safepoint: iteration `id` and every later one in the executor's hands.
struct Preempt {
  IterationId id{};
};
/// From the device to the executor itself.
struct SegmentDone {
  IterationId id{};
  std::uint32_t segment = 0;
  std::optional<Error> error;
  TimePoint at{};  ///< when the device told, however long the mailbox is
};

// ---- measurements and snapshots ----
struct RequestAdmitted {
  RequestId id{};
  RequestClass request_class = RequestClass::online;
  TimePoint arrival{};
  Tokens prompt_tokens{0};
};
struct RequestsLaunched {
  std::vector<RequestId> ids;  ///< with their first iteration, or a further one after a preemption
  TimePoint at{};
};
struct IterationMeasured {
  PlanPtr plan;
  ReportPtr report;
};
struct TokensObserved {
  std::shared_ptr<const std::vector<TokenEvent>> events;
  TimePoint at{};
};
struct ModelUpdated {
  policy::LatencySnapshotPtr model;
};
struct BudgetUpdated {
  policy::BudgetSnapshotPtr budget;
};

// ---- front -> offline queue ----
struct AddFile {
  std::string
      uploaded_path;  ///< complete, under the store's incoming folder; the queue takes it over
  std::string filename, purpose;
  std::optional<std::int64_t> expires_after_seconds;
};
struct ListFiles {
  std::string purpose;  ///< empty: all
  std::int64_t limit = 10000;
  bool ascending = false;
  std::string after;
};
struct FilePage {
  std::vector<store::FileInfo> files;
  bool has_more = false;
};
struct GetFile {
  std::string id;
};
struct FileOnDisk {
  store::FileInfo info;
  std::string path;  ///< open it at once: the file may be deleted later
};
struct RemoveFile {
  std::string id;
};
struct CreateBatch {
  std::string input_file_id, endpoint, completion_window;
  std::int64_t window_seconds = 86400;
  std::map<std::string, std::string> metadata;
  std::string idempotency_key;  ///< empty: none
  bool takes_over_key = false;  ///< see store::NewBatch
  std::optional<std::int64_t> output_expires_after_seconds = std::nullopt;
  std::uint32_t ignored_fields = 0;  ///< that nobody knows, for the metric
};
struct GetBatch {
  std::string id;
};
struct ListBatches {
  std::int64_t limit = 20;
  std::string after;
};
struct BatchPage {
  std::vector<store::BatchInfo> batches;
  bool has_more = false;
};
struct CancelBatch {
  std::string id;
};
/// Where uploads may be written: a fresh path on the store's file system.
struct NewUpload {};
struct UploadPath {
  std::string path;
};
/// Is the store writable right now?
struct ProbeStore {};

/// A periodic look at deadlines and housekeeping; every actor that needs one sends it to itself.
struct Tick {};
/// From an actor to itself: there is a portion of its own work left; other messages go in between.
struct Work {};

}  // namespace tandem::msg

namespace caf {
template <class T>
struct allowed_unsafe_message_type<tandem::msg::Reply<T>> : std::true_type {};
}  // namespace caf

#define TANDEM_MESSAGE(name) CAF_ALLOW_UNSAFE_MESSAGE_TYPE(tandem::msg::name)
TANDEM_MESSAGE(Nothing)
TANDEM_MESSAGE(Accepted)
TANDEM_MESSAGE(Cancel)
TANDEM_MESSAGE(Drain)
TANDEM_MESSAGE(Prepare)
TANDEM_MESSAGE(AnswerText)
TANDEM_MESSAGE(OfflineItems)
TANDEM_MESSAGE(ItemsAvailable)
TANDEM_MESSAGE(TokensEmitted)
TANDEM_MESSAGE(RefillOffline)
TANDEM_MESSAGE(RequestsEnded)
TANDEM_MESSAGE(RunIteration)
TANDEM_MESSAGE(IterationFinished)
TANDEM_MESSAGE(Preempt)
TANDEM_MESSAGE(SegmentDone)
TANDEM_MESSAGE(RequestAdmitted)
TANDEM_MESSAGE(RequestsLaunched)
TANDEM_MESSAGE(IterationMeasured)
TANDEM_MESSAGE(TokensObserved)
TANDEM_MESSAGE(ModelUpdated)
TANDEM_MESSAGE(BudgetUpdated)
TANDEM_MESSAGE(AddFile)
TANDEM_MESSAGE(ListFiles)
TANDEM_MESSAGE(GetFile)
TANDEM_MESSAGE(RemoveFile)
TANDEM_MESSAGE(CreateBatch)
TANDEM_MESSAGE(GetBatch)
TANDEM_MESSAGE(ListBatches)
TANDEM_MESSAGE(CancelBatch)
TANDEM_MESSAGE(NewUpload)
TANDEM_MESSAGE(ProbeStore)
TANDEM_MESSAGE(Tick)
TANDEM_MESSAGE(Work)
#undef TANDEM_MESSAGE
