// See full_run.hpp. The driver knows of everything that happens from outside (arrivals, cancels,
// pushes, the device's ends, restarts), moves virtual time to the next of these or to the actors'
// next timer, and lets the actors run until every mailbox is empty.
#include "sim/full_run.hpp"

#include <algorithm>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <limits>
#include <queue>
#include <string>
#include <utility>

#include "actors/runtime.hpp"
#include "actors/spawn.hpp"
#include "core/check.hpp"
#include "sim/ask.hpp"
#include "sim/batch_client.hpp"
#include "sim/run_recorder.hpp"
#include "sim/scratch_folder.hpp"
#include "sim/simulated_backend.hpp"
#include "sim/virtual_runtime.hpp"

namespace tandem::sim {
namespace {

using AcceptedReply = msg::Reply<msg::Accepted>;

constexpr TimePoint never = TimePoint::max();
constexpr std::uint64_t steps_per_progress = 4096;
constexpr const char* model_name = "simulated";
/// Ids for observers of calls that got none.
constexpr std::uint64_t first_refused_id = 1ULL << 62;
/// The wall clock at virtual time 0.
constexpr std::int64_t unix_start = 1'700'000'000;
/// The queue looks after its batches once a second: so often without anything else happening, and
/// nothing will.
constexpr int last_looks = 2;

ServedModelPtr served_model(const RunOptions& options) {
  ServedModel model{.name = model_name};
  model.config.vocab_size = options.vocab_size;
  // check_fits() has seen that the KV cache holds each request but for its last token.
  model.max_context = Tokens(options.scheduler.kv_blocks.value() * kv_block_tokens + 1);
  return std::make_shared<const ServedModel>(std::move(model));
}

RuntimeOptions runtime_options(const RunOptions& options, const std::filesystem::path& folder) {
  RuntimeOptions runtime;
  runtime.scheduler = options.scheduler;
  runtime.learner = options.learner;
  runtime.slo = options.slo;
  runtime.offline_order = policy::to_string(options.offline_order.rule);
  runtime.offline_utility_ratio = options.offline_order.utility_ratio;
  // Traffic decides how much is in the engine, in both modes.
  runtime.max_online_requests = std::numeric_limits<std::uint32_t>::max();
  runtime.max_batch_items = OfflineBatches::max_items;
  runtime.store.data_dir = folder / "store";
  runtime.store.durable = false;
  runtime.detached = false;
  return runtime;
}

/// Where calls' tokens go: it counts what arrives.
TokenSink spawn_counter(caf::actor_system& system, std::shared_ptr<std::uint64_t> count) {
  return system.spawn(
      [](TokenSink::pointer,
         const std::shared_ptr<std::uint64_t>& events) -> TokenSink::behavior_type {
        return {[events](const msg::TokensEmitted& emitted) { *events += emitted.events->size(); }};
      },
      std::move(count));
}

class FullRun {
 public:
  FullRun(const Workload& workload, const RunOptions& options,
          const std::vector<RunObserver*>& observers, const std::filesystem::path& folder)
      : workload_(workload),
        options_(options),
        runtime_options_(runtime_options(options, folder)),
        model_(served_model(options)),
        faults_(options.faults, options.seed),
        batches_(workload, options.endless_offline),
        // Whether an item that failed comes again is for the store to say.
        books_(observers, [](const LiveRequest&) { return true; }),
        recorder_(std::make_shared<RunRecorder>(workload, books_)),
        sink_(virtual_time_.own(spawn_counter(virtual_time_.system(), delivered_))),
        client_(virtual_time_, workload, options.vocab_size, model_name) {
    TANDEM_CHECK(!options.endless_offline || options.horizon > Duration{},
                 "what never ends needs a horizon");
    end_ = options.horizon > Duration{} ? TimePoint(2 * options.horizon) : never;
    skip_to_online();
  }
  ~FullRun() { stop_process(); }
  FullRun(const FullRun&) = delete;
  FullRun& operator=(const FullRun&) = delete;

  Result<TimePoint> run() {
    start_process();
    note_device();
    std::uint64_t steps = 0;
    bool stopped = false;
    while (!failure_ && !stopped && !over()) {
      const TimePoint next = next_time();
      if (next == never || next > end_ || nothing_is_left()) break;
      virtual_time_.move_to(next);
      const std::uint64_t before = recorder_->events();
      step();
      note_device();
      if (fatal_) die();
      if (recorder_->events() != before) last_event_ = now();
      if (++steps % steps_per_progress == 0 && options_.progress)
        stopped = !options_.progress(now().time_since_epoch());
    }
    if (!failure_) collect();
    if (failure_) return *failure_;
    TANDEM_CHECK(*delivered_ == recorder_->online_events(),
                 "what the scheduler says of a call reaches its caller");
    books_.finished(!stopped && is_done(), last_event_);
    return last_event_;
  }

 private:
  // ---- time ----

  [[nodiscard]] TimePoint now() const { return virtual_time_.now(); }
  [[nodiscard]] bool is_down() const { return restart_at_ != never; }

  [[nodiscard]] bool past_horizon(TimePoint at) const {
    return options_.horizon > Duration{} && at > TimePoint(options_.horizon);
  }
  [[nodiscard]] bool over() const { return past_horizon(now()) && books_.live_online() == 0; }

  [[nodiscard]] TimePoint arrival_time() const {
    if (next_online_ == workload_.requests.size()) return never;
    const TimePoint at(workload_.requests[next_online_].arrival);
    return past_horizon(at) ? never : at;
  }

  /// Items that were pushed and not taken.
  [[nodiscard]] bool some_wait() const {
    return client_.items_pushed() + books_.given_back() >
           recorder_->items_supplied() + books_.given_up();
  }

  [[nodiscard]] TimePoint push_time() const {
    if (is_down()) return never;
    if (batches_.is_due(now().time_since_epoch(), some_wait())) return now();
    const auto next = batches_.next_arrival();
    return next ? TimePoint(*next) : never;
  }

  /// Of all that the driver knows of.
  [[nodiscard]] TimePoint next_event() {
    while (!cancels_.empty() && !books_.lives(recorder_->seen(cancels_.top().second)))
      cancels_.pop();
    const TimePoint cancel = cancels_.empty() ? never : cancels_.top().first;
    return std::min({device_ends_, cancel, arrival_time(), push_time(), restart_at_});
  }

  [[nodiscard]] TimePoint next_time() {
    const TimePoint event = next_event();
    const auto timer = virtual_time_.next_timer();
    return timer ? std::min(event, std::max(*timer, now())) : event;
  }

  /// Carries out what is due now; of several, the one named first. The order is that of fast mode.
  void step() {
    looks_ = 0;
    if (device_ends_ == now()) return end_iteration();
    if (restart_at_ == now()) return start_process();
    if (!cancels_.empty() && cancels_.top().first == now()) return cancel();
    if (arrival_time() == now()) return arrive();
    if (push_time() == now()) return push();
    virtual_time_.advance(Duration{});
    looks_ = next_event() == never && !recorder_->waits_for_wake() ? looks_before_ + 1 : 0;
  }

  // ---- the end ----

  [[nodiscard]] bool nothing_is_left() {
    looks_before_ = looks_;
    if (next_event() != never || recorder_->waits_for_wake()) return false;
    if (looks_ >= last_looks) return true;
    collect();
    return is_done();
  }

  [[nodiscard]] bool is_done() const {
    return books_.live() == 0 && client_.all_ended() && !batches_.next_arrival() &&
           next_online_ == workload_.requests.size() && !is_down();
  }

  void collect() {
    if (is_down()) return;
    const auto given_up = client_.collect();
    if (!given_up) return fail(given_up.error());
    for (const OfflineItem& item : *given_up) books_.given_up(item.index, last_event_);
  }

  void fail(const Error& reason) {
    if (!failure_) failure_ = reason;
  }

  // ---- the process ----

  void start_process() {
    restart_at_ = never;
    recorder_->begin_life(life_);
    RuntimeParts parts;
    parts.planner = options_.make_planner();
    parts.executor = executor_ = spawn_executor(
        virtual_time_.system(), false,
        make_simulated_backend(options_, life_, RunRecorder::id_offset(life_), running_));
    parts.watch = recorder_;
    parts.unix_clock = [this] {
      return unix_start +
             std::chrono::duration_cast<std::chrono::seconds>(now().time_since_epoch()).count();
    };
    auto started =
        Runtime::start(virtual_time_.system(), runtime_options_, model_, std::move(parts));
    if (!started) return fail(started.error());
    runtime_ = std::move(*started);
    fatal_ = false;
    runtime_->on_fatal([this](const std::string&) { fatal_ = true; });
    client_.attach(runtime_->queue());
    virtual_time_.run();
    push();
  }

  /// What it held is lost, but for what its store has.
  void die() {
    recorder_->end_life(now());
    last_event_ = now();
    stop_process();
    device_ends_ = never;
    cancels_ = {};
    ++life_;
    restart_at_ = now() + faults_.restart();
  }

  void stop_process() {
    if (!runtime_) return;
    client_.attach(OfflineQueue());
    executor_ = Executor();
    runtime_->stop();
    virtual_time_.run();
    runtime_.reset();
    running_->reset();
  }

  // ---- the device ----

  /// A plan that started since the last look started now: time stands still while actors run.
  void note_device() {
    if (running_->has_value() && device_ends_ == never) device_ends_ = now() + (*running_)->takes;
  }

  void end_iteration() {
    const DeviceJob job = std::move(**running_);
    running_->reset();
    device_ends_ = never;
    if (job.fate == Fate::died) return die();
    if (job.fate == Fate::failed) {
      job.done(error(Errc::device_failed, "made to fail"));
    } else {
      if (job.fate == Fate::aborted) caf::anon_send(executor_, msg::Preempt{job.plan->id});
      job.done({});
    }
    virtual_time_.run();
  }

  // ---- calls ----

  void skip_to_online() {
    while (next_online_ < workload_.requests.size() &&
           workload_.requests[next_online_].request_class == RequestClass::offline)
      ++next_online_;
  }

  void arrive() {
    const std::size_t index = next_online_++;
    skip_to_online();
    if (is_down())
      return refuse(index, error(Errc::shutting_down, "the process is being restarted"));
    GenerateCall call{.endpoint = Endpoint::completions, .model = model_name};
    call.prompts.emplace_back(prompt_of(workload_, index, options_.vocab_size));
    call.max_tokens = workload_.requests[index].output_tokens;
    call.sampling.seed = index;  // by which the recorder knows it
    call.has_seed = call.ignore_eos = true;
    const auto answer = ask<AcceptedReply>(
        virtual_time_, runtime_->intake(),
        msg::SubmitTo{{.call = std::make_shared<const GenerateCall>(std::move(call))}, sink_});
    virtual_time_.run();
    TANDEM_CHECK(answer->value.has_value(), "intake answers");
    const auto& accepted = answer->value->value;
    if (!accepted) return refuse(index, accepted.error());
    if (const auto after = faults_.cancelled_after(index))
      cancels_.emplace(now() + *after, accepted->choices.front().id);
  }

  void refuse(std::size_t index, const Error& reason) {
    const WorkloadRequest& from = workload_.requests[index];
    auto request = std::make_shared<Request>();
    request->id = RequestId(first_refused_id + refused_++);
    request->prompt = prompt_of(workload_, index, options_.vocab_size);
    request->stop.max_tokens = from.output_tokens;
    request->arrival = last_event_ = now();
    books_.arrived({request, {index, 0}}, now());
    TokenEvent event{.id = request->id, .finish = FinishReason::failed};
    event.error = reason;
    books_.emitted({event}, now());
  }

  void cancel() {
    const RequestId id = cancels_.top().second;
    cancels_.pop();
    caf::anon_send(runtime_->intake(), msg::Cancel{{id}});
    virtual_time_.run();
  }

  // ---- batches ----

  void push() {
    bool first = true;
    for (;;) {
      const auto items = batches_.next(now().time_since_epoch(), some_wait());
      if (items.empty()) return;
      if (std::exchange(first, false)) collect();
      if (auto pushed = client_.push(items); !pushed) return fail(pushed.error());
    }
  }

  using Cancel = std::pair<TimePoint, RequestId>;

  const Workload& workload_;
  const RunOptions& options_;
  RuntimeOptions runtime_options_;
  ServedModelPtr model_;
  VirtualRuntime virtual_time_;
  Faults faults_;
  OfflineBatches batches_;
  RunBooks books_;
  std::shared_ptr<RunRecorder> recorder_;
  std::shared_ptr<std::uint64_t> delivered_ = std::make_shared<std::uint64_t>(0);
  TokenSink sink_;
  BatchClient client_;
  RunningJob running_ = std::make_shared<std::optional<DeviceJob>>();
  Executor executor_;
  std::unique_ptr<Runtime> runtime_;  ///< null while the process is down
  bool fatal_ = false;
  std::optional<Error> failure_;

  TimePoint end_ = never, device_ends_ = never, restart_at_ = never;
  TimePoint last_event_{};
  std::uint64_t life_ = 0, refused_ = 0;
  std::size_t next_online_ = 0;
  std::priority_queue<Cancel, std::vector<Cancel>, std::greater<>> cancels_;  ///< of this life
  int looks_ = 0, looks_before_ = 0;
};

}  // namespace

Result<void> check_full(const Workload& workload) {
  for (std::size_t i = 0; i < workload.requests.size(); ++i)
    if (workload.requests[i].request_class == RequestClass::offline &&
        workload.requests[i].deadline)
      return error(Errc::unsupported,
                   workload.name + ": request " + std::to_string(i + 1) +
                       " has a deadline; full mode does not offer deadlines, use --mode fast",
                   "mode");
  return {};
}

Result<TimePoint> run_full(const Workload& workload, const RunOptions& options,
                           const std::vector<RunObserver*>& observers) {
  const auto folder = ScratchFolder::make(options.scratch);
  if (!folder) return folder.error();
  return FullRun(workload, options, observers, folder->path()).run();
}

}  // namespace tandem::sim
