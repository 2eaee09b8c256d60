// Offline queue: owns batch jobs and items, in the durable store. Detached in service: it waits for
// the disk.
//   in   NewUpload, AddFile, ListFiles, GetFile, RemoveFile      files; every answer is a Reply
//        CreateBatch, GetBatch, ListBatches, CancelBatch         batches; likewise
//        RefillOffline  claims items, prepares them and sends them: OfflineItems (fewer: ran dry)
//        TokensEmitted  what the engine did to them; ended items are recorded, many in one commit
//        Work           one portion of what is due: results, validation, reading the items into
//                       their order, finalisation
//        Tick           once a second: deadlines, expired files, retries after a full disk
//        Drain          hands out nothing more; what is claimed returns to the store when it closes
//   out  ItemsAvailable when there is something to claim again after a refill came up short
//        Cancel         requests whose item was cancelled, expired or met a stop string
//   A storage error never loses anything: results and returned items stay in memory and are tried
//   again at the next Tick; what is left when the actor ends is recorded then.
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <deque>

#include "actors/actor_support.hpp"
#include "actors/batch_validation.hpp"
#include "actors/item_desk.hpp"
#include "actors/item_index.hpp"
#include "actors/spawn.hpp"

namespace tandem {
namespace {

constexpr auto tick_period = std::chrono::seconds(1);
constexpr std::int64_t finalize_lines_per_step = 512;

/// Items to be given back, by the reason; many of them in one commit.
struct Returns {
  std::vector<store::ItemRef> drained, engine_failed;
};

struct QueueState {
  ~QueueState();
  static inline const char* name = "offline_queue";
  QueueOptions options;
  std::unique_ptr<store::Store> store;
  ServedModelPtr model;
  Scheduler scheduler;
  MetricsPtr metrics;
  api::ParseLimits limits;
  std::unique_ptr<ItemDesk> desk;
  std::unique_ptr<ItemIndex> index;  ///< null: items are claimed in the store's order
  std::int64_t tokens_done = 0;      ///< of items that ended since the last Tick
  double tokens_per_second = 0;      ///< forgets with a time constant of ten seconds

  std::vector<store::FinishedItem> finished;  ///< not yet in the store
  Returns returns;                            ///< likewise
  std::deque<std::string> to_validate;
  std::unique_ptr<BatchValidation> validation;
  std::deque<std::string> to_finalize;
  bool ran_dry = false;  ///< the last refill came up short: the scheduler waits for ItemsAvailable
  bool working = false;  ///< a Work message is under way
  bool store_fails = false;  ///< wait for the next Tick before trying again
  bool draining = false;

  [[nodiscard]] std::int64_t unix_now() const { return options.unix_clock(); }
};
using Self = OfflineQueue::stateful_pointer<QueueState>;

/// Gives items back, to run again; those that could not be stay in `returns`.
Result<void> return_items(store::Store& store, ItemIndex* index, Returns& returns,
                          std::int64_t now) {
  for (const auto reason : {store::ReturnReason::drained, store::ReturnReason::engine_failed}) {
    auto& items = reason == store::ReturnReason::drained ? returns.drained : returns.engine_failed;
    if (items.empty()) continue;
    if (auto returned = store.return_items(items, reason, now); !returned) return returned.error();
    if (index) index->add_returned(items);
    items.clear();
  }
  return {};
}

/// An orderly end keeps what the engine has done; should it fail, the items run again.
QueueState::~QueueState() {
  if (!store) return;
  (void)return_items(*store, nullptr, returns, unix_now());
  if (!finished.empty()) (void)store->finish(finished, unix_now());
}

void work_soon(Self self) {
  if (std::exchange(self->state.working, true)) return;
  self->send(self, msg::Work{});
}

/// Logs a storage error once per bad spell; what was to be done is tried again at the next Tick.
void storage_failed(Self self, const char* what, const Error& reason) {
  if (!std::exchange(self->state.store_fails, true))
    spdlog::error("store_failed what={} reason=\"{}\"", what, reason.message);
}

/// Tells the scheduler that a refill is worth asking for again.
void announce_items(Self self) {
  auto& state = self->state;
  if (!state.ran_dry || state.draining) return;
  const auto claimable = state.index ? state.index->has_claimable(*state.store, state.unix_now())
                                     : state.store->has_claimable(state.unix_now());
  if (!claimable) return storage_failed(self, "claim", claimable.error());
  if (!*claimable) return;
  state.ran_dry = false;
  self->send(state.scheduler, msg::ItemsAvailable{});
}

// ---- items: out to the engine, and back ----

/// Opens claimed items until `count` requests are prepared, and gives the others back. Items that
/// are wrong by themselves become results at once.
void open_items(Self self, const std::vector<store::ClaimedItem>& items, std::size_t count,
                std::vector<RequestPtr>& requests) {
  auto& state = self->state;
  for (const auto& item : items) {
    if (requests.size() >= count) {
      state.returns.drained.push_back(item.ref);
      continue;
    }
    auto opened = state.desk->open(item, now(self));
    if (opened)
      requests.insert(requests.end(), opened->begin(), opened->end());
    else
      state.finished.push_back(ItemDesk::rejected(item.ref, opened.error()));
  }
}

/// Claims until `count` requests are prepared, nothing is left, or many items were refused: the
/// rest of a bad batch waits for its next turn. The last item may add more requests than asked for.
std::vector<RequestPtr> claim_requests(Self self, std::uint32_t count) {
  auto& state = self->state;
  std::vector<RequestPtr> requests;
  while (requests.size() < count && state.finished.size() < state.options.max_prepared) {
    const auto wanted = static_cast<std::int64_t>(count - requests.size());
    auto items = state.index ? state.index->claim(*state.store, wanted, state.unix_now())
                             : state.store->claim(wanted, state.unix_now());
    if (!items) {
      storage_failed(self, "claim", items.error());
      break;
    }
    if (items->empty()) break;
    open_items(self, *items, count, requests);
    if (items->front().alone) break;
  }
  if (!state.returns.drained.empty() || !state.finished.empty()) work_soon(self);
  return requests;
}

void refill(Self self, std::uint32_t count) {
  auto& state = self->state;
  msg::OfflineItems items;
  if (!state.draining)
    items.items = claim_requests(self, std::min(count, state.options.max_prepared));
  state.ran_dry = items.items.size() < count;
  if (state.ran_dry) work_soon(self);  // there may be more than one refill was allowed to take
  self->send(state.scheduler, std::move(items));
}

void take_events(Self self, const std::vector<TokenEvent>& events) {
  auto& state = self->state;
  msg::Cancel cancel;
  bool items_ended = false;
  for (const auto& event : events) {
    auto step = state.desk->push(event, state.unix_now());
    items_ended = items_ended || step.finished || step.returned;
    cancel.ids.insert(cancel.ids.end(), step.cancel.begin(), step.cancel.end());
    if (step.finished) {
      state.tokens_done += step.finished->prompt_tokens + step.finished->completion_tokens;
      state.finished.push_back(std::move(*step.finished));
    }
    if (step.returned)
      (step.return_reason == store::ReturnReason::drained ? state.returns.drained
                                                          : state.returns.engine_failed)
          .push_back(*step.returned);
  }
  if (!cancel.ids.empty()) self->send(state.scheduler, std::move(cancel));
  // At once: an engine that failed may take this actor with it before the next message.
  if (!state.returns.engine_failed.empty())
    if (const auto returned =
            return_items(*state.store, state.index.get(), state.returns, state.unix_now());
        !returned)
      storage_failed(self, "return", returned.error());
  if (items_ended) work_soon(self);
}

// ---- portions of work ----

/// Records what has ended or comes back. Batches that are complete now are finalised next.
bool record_results(Self self) {
  auto& state = self->state;
  if (const auto returned =
          return_items(*state.store, state.index.get(), state.returns, state.unix_now());
      !returned)
    return storage_failed(self, "return", returned.error()), false;
  if (!state.finished.empty()) {
    const auto fenced = state.store->finish(state.finished, state.unix_now());
    if (!fenced) return storage_failed(self, "finish", fenced.error()), false;
    if (*fenced > 0) spdlog::warn("results_fenced count={}", *fenced);
    state.metrics->fenced(static_cast<std::uint64_t>(*fenced));
    for (const auto& item : state.finished)
      state.metrics->batch_item(item.error_code.empty() && item.status_code < 400);
    state.finished.clear();
  }
  auto ready = state.store->finalizable_batches();
  if (!ready) return storage_failed(self, "finalize", ready.error()), false;
  state.to_finalize.assign(ready->begin(), ready->end());
  return true;
}

void finish_validation(Self self) {
  auto& state = self->state;
  const auto validation = std::move(state.validation);
  const auto id = validation->batch().id;
  const auto batch = state.store->finish_validation(id, validation->model(), validation->errors(),
                                                    state.unix_now());
  if (batch) {
    state.metrics->fields_ignored(validation->num_ignored());
    spdlog::info("batch_validated id={} state={} items={}", id, to_string(batch->state),
                 batch->total);
    if (state.index && batch->state == store::BatchState::in_progress)
      state.index->add_batch(*batch);
    state.to_validate.pop_front();
  } else if (batch.error().code == Errc::storage_failed) {
    storage_failed(self, "validate", batch.error());  // and once more from the first line
  } else {
    state.to_validate.pop_front();  // cancelled meanwhile
  }
}

/// The validation at hand, or that of the next batch; null if there is none.
BatchValidation* current_validation(Self self) {
  auto& state = self->state;
  while (!state.validation && !state.to_validate.empty()) {
    const auto batch = state.store->get_batch(state.to_validate.front());
    const auto begun = state.store->begin_validation(state.to_validate.front());
    if (!begun && begun.error().code == Errc::storage_failed)
      return storage_failed(self, "validate", begun.error()), nullptr;
    if (!batch && batch.error().code == Errc::storage_failed)
      return storage_failed(self, "validate", batch.error()), nullptr;
    if (!batch || !begun) {  // it was cancelled before its turn came
      state.to_validate.pop_front();
      continue;
    }
    const auto path = state.store->file_path(batch->input_file_id);
    state.validation = std::make_unique<BatchValidation>(
        *batch, path ? *path : std::filesystem::path(),
        ValidationLimits{.max_items = state.options.max_batch_items}, state.options.line_limits);
  }
  return state.validation.get();
}

bool validate_some(Self self) {
  auto* validation = current_validation(self);
  if (!validation) return false;
  const auto done = validation->step(*self->state.store);
  if (!done && done.error().code == Errc::storage_failed) {
    self->state.validation.reset();
    return storage_failed(self, "validate", done.error()), false;
  }
  if (!done || *done) finish_validation(self);
  return true;
}

bool index_some(Self self) {
  auto& state = self->state;
  if (!state.index || state.draining || !state.index->reading()) return false;
  if (const auto read = state.index->read_some(*state.store); !read)
    return storage_failed(self, "index", read.error()), false;
  return true;
}

bool finalize_some(Self self) {
  auto& state = self->state;
  if (state.to_finalize.empty()) return false;
  const auto id = state.to_finalize.front();
  const auto done = state.store->finalize_some(id, finalize_lines_per_step, state.unix_now());
  if (!done && done.error().code == Errc::storage_failed)
    return storage_failed(self, "finalize", done.error()), false;
  if (!done || *done) {
    if (state.index) state.index->drop_batch(id);
    state.to_finalize.pop_front();
    const auto batch = state.store->get_batch(id);
    if (batch)
      spdlog::info("batch_ended id={} state={} completed={} failed={}", id, to_string(batch->state),
                   batch->completed, batch->failed);
  }
  return true;
}

void work(Self self) {
  auto& state = self->state;
  state.working = false;
  if (state.store_fails || !record_results(self)) return;
  const bool validated = validate_some(self);
  const bool indexed = index_some(self);
  const bool finalized = finalize_some(self);
  announce_items(self);
  if (!state.store_fails && (validated || indexed || finalized)) work_soon(self);
}

/// Which items are urgent depends on how fast offline work gets done. While there is none the rate
/// stays what it was.
void watch_deadlines(Self self) {
  auto& state = self->state;
  const auto done = static_cast<double>(std::exchange(state.tokens_done, 0));
  if (done > 0 || state.desk->size() > 0)
    state.tokens_per_second =
        state.tokens_per_second == 0 ? done : 0.9 * state.tokens_per_second + 0.1 * done;
  if (state.index) state.index->set_clock(state.unix_now(), state.tokens_per_second);
}

void tick(Self self) {
  auto& state = self->state;
  state.store_fails = false;
  watch_deadlines(self);
  const auto expired = state.store->expire_batches(state.unix_now());
  if (!expired) storage_failed(self, "expire", expired.error());
  msg::Cancel cancel;
  if (expired)
    for (const auto& id : *expired) {
      spdlog::info("batch_expired id={}", id);
      if (state.index) state.index->drop_batch(id);
      const auto requests = state.desk->give_up_batch(id);
      cancel.ids.insert(cancel.ids.end(), requests.begin(), requests.end());
    }
  if (!cancel.ids.empty()) self->send(state.scheduler, std::move(cancel));
  const auto swept = state.store->sweep(state.unix_now());
  if (!swept) storage_failed(self, "sweep", swept.error());
  state.store_fails = false;
  work_soon(self);
  self->delayed_send(self, tick_period, msg::Tick{});
}

// ---- REST ----

msg::Reply<store::BatchInfo> create_batch(Self self, const msg::CreateBatch& create) {
  auto& state = self->state;
  state.metrics->fields_ignored(create.ignored_fields);
  if (state.draining)
    return {error(Errc::shutting_down, "the service is shutting down; create the batch elsewhere")};
  if (!batch_endpoint(create.endpoint))
    return {error(Errc::invalid_value,
                  "endpoint '" + create.endpoint +
                      "' is not allowed; use /v1/chat/completions or /v1/completions",
                  "endpoint")};
  auto batch = state.store->create_batch(
      {.input_file_id = create.input_file_id,
       .endpoint = create.endpoint,
       .completion_window = create.completion_window,
       .window_seconds = create.window_seconds,
       .metadata = create.metadata,
       .idempotency_key = create.idempotency_key,
       .takes_over_key = create.takes_over_key,
       .output_expires_after_seconds = create.output_expires_after_seconds},
      state.unix_now());
  if (!batch) return {batch.error()};
  const bool waits = std::find(state.to_validate.begin(), state.to_validate.end(), batch->id) !=
                     state.to_validate.end();
  if (batch->state == store::BatchState::validating && !waits) {
    spdlog::info("batch_created id={} input={}", batch->id, batch->input_file_id);
    state.to_validate.push_back(batch->id);
    work_soon(self);
  }
  return {*batch};
}

msg::Reply<store::BatchInfo> cancel_batch(Self self, const msg::CancelBatch& cancel) {
  auto& state = self->state;
  auto batch = state.store->cancel_batch(cancel.id, state.unix_now());
  if (!batch) return {batch.error()};
  spdlog::info("batch_cancelled id={}", cancel.id);
  if (state.index) state.index->drop_batch(cancel.id);
  if (state.validation && state.validation->batch().id == cancel.id) {
    state.validation.reset();
    state.to_validate.pop_front();
  }
  if (auto requests = state.desk->give_up_batch(cancel.id); !requests.empty())
    self->send(state.scheduler, msg::Cancel{std::move(requests)});
  work_soon(self);
  return {*batch};
}

msg::Reply<msg::FileOnDisk> get_file(Self self, const std::string& id) {
  const auto info = self->state.store->get_file(id);
  if (!info) return {info.error()};
  const auto path = self->state.store->file_path(id);
  if (!path) return {path.error()};
  return {msg::FileOnDisk{*info, path->string()}};
}

msg::Reply<msg::FilePage> list_files(Self self, const msg::ListFiles& list) {
  auto page = self->state.store->list_files({.purpose = list.purpose,
                                             .limit = list.limit,
                                             .ascending = list.ascending,
                                             .after = list.after});
  if (!page) return {page.error()};
  return {msg::FilePage{std::move(page->files), page->has_more}};
}

msg::Reply<msg::BatchPage> list_batches(Self self, const msg::ListBatches& list) {
  auto page = self->state.store->list_batches(list.limit, list.after);
  if (!page) return {page.error()};
  return {msg::BatchPage{std::move(page->batches), page->has_more}};
}

template <class T>
msg::Reply<T> reply(Result<T> result) {
  return {std::move(result)};
}

msg::Reply<msg::Nothing> reply(const Result<void>& result) {
  if (!result) return {result.error()};
  return {msg::Nothing{}};
}

/// What the last process left: validations begin anew, items are read into their order again,
/// complete batches are finalised.
void resume_batches(Self self) {
  auto& state = self->state;
  const auto batches = state.store->unfinished_batches();
  if (!batches) return storage_failed(self, "resume", batches.error());
  for (const auto& batch : *batches) {
    if (batch.state == store::BatchState::validating) state.to_validate.push_back(batch.id);
    if (state.index && batch.state == store::BatchState::in_progress) state.index->add_batch(batch);
  }
  if (!batches->empty()) spdlog::info("batches_resumed count={}", batches->size());
}

/// Everything the queue needs to be born; boxed, since a store cannot be copied.
struct Birth {
  QueueOptions options;
  std::unique_ptr<store::Store> store;
  ServedModelPtr model;
  Scheduler scheduler;
  MetricsPtr metrics;
};

void initialise(Self self, Birth& birth) {
  auto& state = self->state;
  state.options = birth.options;
  state.store = std::move(birth.store);
  state.model = std::move(birth.model);
  state.scheduler = std::move(birth.scheduler);
  state.metrics = std::move(birth.metrics);
  state.options.line_limits = limits_for(*state.model, state.options.line_limits);
  // A line that was accepted once stays accepted, whatever the configuration has become since.
  state.limits = limits_for(*state.model,
                            {.max_choices = api::most_choices, .max_prompts = api::most_prompts});
  state.desk = std::make_unique<ItemDesk>(state.model, state.limits);
  if (state.options.order.rule != policy::OrderRule::fcfs)
    state.index = std::make_unique<ItemIndex>(state.model, state.limits, state.options.order);
  resume_batches(self);
  self->send(self, msg::Tick{});
}

OfflineQueue::behavior_type offline_queue(Self self, const std::shared_ptr<Birth>& birth) {
  install_handlers(self);
  initialise(self, *birth);
  return {
      [self](const msg::RefillOffline& ask) { refill(self, ask.count); },
      [self](const msg::TokensEmitted& emitted) { take_events(self, *emitted.events); },
      [self](const msg::Tick&) { tick(self); },
      [self](const msg::Work&) { work(self); },
      [self](const msg::Drain&) { self->state.draining = true; },
      [self](const msg::NewUpload&) {
        return msg::Reply<msg::UploadPath>{
            msg::UploadPath{self->state.store->new_upload_path().string()}};
      },
      [self](const msg::AddFile& add) {
        return reply(
            self->state.store->add_file({.uploaded = add.uploaded_path,
                                         .filename = add.filename,
                                         .purpose = add.purpose,
                                         .expires_after_seconds = add.expires_after_seconds},
                                        self->state.unix_now()));
      },
      [self](const msg::ListFiles& list) { return list_files(self, list); },
      [self](const msg::GetFile& get) { return get_file(self, get.id); },
      [self](const msg::RemoveFile& remove) {
        return reply(self->state.store->remove_file(remove.id));
      },
      [self](const msg::CreateBatch& create) { return create_batch(self, create); },
      [self](const msg::GetBatch& get) { return reply(self->state.store->get_batch(get.id)); },
      [self](const msg::ListBatches& list) { return list_batches(self, list); },
      [self](const msg::CancelBatch& cancel) { return cancel_batch(self, cancel); },
      [self](const msg::ProbeStore&) { return reply(self->state.store->writable()); },
  };
}

}  // namespace

OfflineQueue spawn_offline_queue(caf::actor_system& system, bool detached,
                                 const QueueOptions& options, std::unique_ptr<store::Store> store,
                                 ServedModelPtr model, Scheduler scheduler, MetricsPtr metrics) {
  auto birth = std::make_shared<Birth>(
      Birth{options, std::move(store), std::move(model), std::move(scheduler), std::move(metrics)});
  return spawn_actor(system, detached, offline_queue, birth);
}

}  // namespace tandem
