// See runtime.hpp. Spawning goes from the device upwards, so that every actor is born with the
// handles of those below it; the few links upwards are sent as Attach messages. Stopping goes the
// other way.
#include "actors/runtime.hpp"

#include <caf/actor_system_config.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <random>

#include "actors/spawn.hpp"
#include "actors/supervisor.hpp"
#include "core/check.hpp"
#include "store/store.hpp"

namespace tandem {

std::int64_t system_unix_clock() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

/// The handles of one runtime. Shared with the respawn functions that the supervisor holds; cleared
/// by stop(), since a surviving handle to a detached actor would keep the actor system from ending.
struct Runtime::State {
  caf::actor_system& system;
  RuntimeOptions options;
  ServedModelPtr model;
  MetricsPtr metrics = std::make_shared<Metrics>();
  EngineStatusPtr status = std::make_shared<EngineStatus>();
  std::atomic<bool> draining{false};
  bool stopped = false;

  Executor executor;
  Scheduler scheduler;
  LatencyPredictor predictor;
  SloProfiler profiler;
  RequestIntake intake;
  std::vector<Encoder> encoders;
  OfflineQueue queue;
  Supervisor supervisor;

  State(caf::actor_system& s, const RuntimeOptions& o, ServedModelPtr m)
      : system(s), options(o), model(std::move(m)) {}

  void spawn(RuntimeParts parts, std::unique_ptr<store::Store> store);
  void watch(caf::strong_actor_ptr actor, const char* role,
             std::function<caf::strong_actor_ptr()> respawn = {});
  void send_exits();
};

namespace {

std::uint64_t random_key() {
  std::random_device device;
  return (static_cast<std::uint64_t>(device()) << 32) ^ device();
}

TimePoint clock_now(caf::actor_system& system) {
  return TimePoint(std::chrono::duration_cast<Duration>(system.clock().now().time_since_epoch()));
}

template <class Handle>
caf::strong_actor_ptr strong(const Handle& actor) {
  return caf::actor_cast<caf::strong_actor_ptr>(actor);
}

/// What a respawned observer needs; touched by the supervisor's thread alone once handed over.
struct Observers {
  caf::actor_system& system;
  MetricsPtr metrics;
  policy::LearnerOptions learner;
  policy::SloOptions slo;
  Scheduler scheduler;
  msg::AttachObservers attached;

  void publish() const {
    caf::anon_send(attached.predictor, msg::AttachScheduler{scheduler});
    caf::anon_send(attached.profiler, msg::AttachScheduler{scheduler});
    caf::anon_send(scheduler, attached);
  }
};

/// Builds and announces the successor of a dead predictor.
caf::strong_actor_ptr respawn_predictor(Observers& observers) {
  observers.metrics->observer_restarted();
  observers.attached.predictor =
      spawn_latency_predictor(observers.system, observers.learner, observers.metrics);
  observers.publish();
  return strong(observers.attached.predictor);
}

caf::strong_actor_ptr respawn_profiler(Observers& observers) {
  observers.metrics->observer_restarted();
  observers.attached.profiler =
      spawn_slo_profiler(observers.system, observers.slo, observers.metrics);
  observers.publish();
  return strong(observers.attached.profiler);
}

IntakeOptions intake_options(const RuntimeOptions& options) {
  return {.max_online_requests = options.max_online_requests,
          .max_flex_requests = options.max_flex_requests,
          .seed = random_key(),
          .inline_encode_bytes = options.inline_encode_bytes,
          .max_encode_queue = options.max_encode_queue};
}

/// start() has looked at the name of the order.
QueueOptions queue_options(const RuntimeOptions& options, UnixClock unix_clock) {
  const auto margin =
      std::chrono::duration_cast<std::chrono::seconds>(options.offline_deadline_margin);
  return {.max_batch_items = options.max_batch_items,
          .order = {.rule = policy::parse_order_rule(options.offline_order).value(),
                    .utility_ratio = options.offline_utility_ratio,
                    .deadline_margin_seconds = margin.count()},
          .line_limits = options.line_limits,
          .unix_clock = unix_clock ? std::move(unix_clock) : system_unix_clock};
}

/// The scheduler's options with what only the device and the process know.
policy::SchedulerOptions scheduler_options(const RuntimeOptions& options,
                                           const gpu::Backend* backend) {
  auto result = options.scheduler;
  if (backend) {
    const auto& limits = backend->limits();
    result.kv_blocks = limits.kv_blocks;
    result.row_quantum = limits.row_quantum;
    result.max_sequences = std::min(result.max_sequences, limits.max_sequences);
    result.max_iteration_tokens =
        std::min(result.max_iteration_tokens, limits.max_iteration_tokens);
  }
  if (result.hash_key == 0) result.hash_key = random_key();
  return result;
}

}  // namespace

Runtime::Runtime(std::unique_ptr<State> state) : state_(std::move(state)) {}
Runtime::~Runtime() { stop(); }

Result<std::unique_ptr<Runtime>> Runtime::start(caf::actor_system& system,
                                                const RuntimeOptions& options, ServedModelPtr model,
                                                RuntimeParts parts) {
  TANDEM_CHECK(parts.backend || parts.executor, "a runtime needs a device or an executor");
  if (!parts.planner) {
    auto planner = policy::make_planner(options.scheduling_policy, options.planner);
    if (!planner) return planner.error();
    parts.planner = std::move(*planner);
  }
  if (const auto rule = policy::parse_order_rule(options.offline_order); !rule) return rule.error();
  std::unique_ptr<store::Store> store;
  if (!parts.queue) {
    auto opened = store::Store::open(options.store);
    if (!opened) return opened.error();
    store = std::move(*opened);
  }
  auto state = std::make_unique<State>(system, options, std::move(model));
  state->spawn(std::move(parts), std::move(store));
  return std::unique_ptr<Runtime>(new Runtime(std::move(state)));
}

void Runtime::State::spawn(RuntimeParts parts, std::unique_ptr<store::Store> store) {
  const auto core_options = scheduler_options(options, parts.backend.get());
  executor = parts.executor ? *parts.executor
                            : spawn_executor(system, options.detached, std::move(parts.backend));
  scheduler = parts.scheduler ? *parts.scheduler
                              : spawn_scheduler(system, core_options, std::move(parts.planner),
                                                executor, metrics, status, std::move(parts.watch));
  predictor = parts.predictor ? *parts.predictor
                              : spawn_latency_predictor(system, options.learner, metrics);
  profiler = parts.profiler ? *parts.profiler : spawn_slo_profiler(system, options.slo, metrics);
  encoders = std::move(parts.encoders);
  if (encoders.empty() && !parts.intake)
    for (std::uint32_t i = 0; i < options.encoder_threads; ++i)
      encoders.push_back(spawn_encoder(system, options.detached, options.encoder_niceness, model));
  intake = parts.intake ? *parts.intake
                        : spawn_request_intake(system, options.detached, intake_options(options),
                                               model, scheduler, encoders, metrics);
  queue = parts.queue ? *parts.queue
                      : spawn_offline_queue(system, options.detached,
                                            queue_options(options, std::move(parts.unix_clock)),
                                            std::move(store), model, scheduler, metrics);
  supervisor = spawn_supervisor(system, status, options.max_observer_restarts);
  const auto observers = std::make_shared<Observers>(Observers{
      system, metrics, options.learner, options.slo, scheduler, {predictor, profiler, intake}});
  observers->publish();
  caf::anon_send(scheduler, msg::AttachQueue{queue});
  watch(strong(executor), "executor");
  watch(strong(scheduler), "scheduler");
  watch(strong(intake), "request_intake");
  watch(strong(queue), "offline_queue");
  for (const auto& encoder : encoders) watch(strong(encoder), "encoder");
  watch(strong(predictor), "latency_predictor",
        [observers] { return respawn_predictor(*observers); });
  watch(strong(profiler), "slo_profiler", [observers] { return respawn_profiler(*observers); });
}

void Runtime::State::watch(caf::strong_actor_ptr actor, const char* role,
                           std::function<caf::strong_actor_ptr()> respawn) {
  caf::anon_send(supervisor, msg::WatchActor{std::move(actor), role, std::move(respawn)});
}

const RequestIntake& Runtime::intake() const { return state_->intake; }
const OfflineQueue& Runtime::queue() const { return state_->queue; }
const Scheduler& Runtime::scheduler() const { return state_->scheduler; }
msg::AttachObservers Runtime::observers() const {
  return {state_->predictor, state_->profiler, state_->intake};
}
Metrics& Runtime::metrics() { return *state_->metrics; }
const ServedModelPtr& Runtime::model() const { return state_->model; }
std::uint64_t Runtime::in_flight() const { return state_->status->in_flight(); }
std::uint64_t Runtime::online_in_flight() const { return state_->status->online_in_flight(); }

std::string Runtime::not_ready_reason() const {
  const auto& status = *state_->status;
  if (const auto* dead = status.dead()) return std::string(dead) + " died";
  if (state_->draining) return "draining";
  if (status.stalled(clock_now(state_->system), state_->options.stall_after))
    return "no iteration has finished for " +
           std::to_string(
               std::chrono::duration_cast<std::chrono::seconds>(state_->options.stall_after)
                   .count()) +
           " s although work waits";
  return {};
}

bool Runtime::ready() const { return not_ready_reason().empty(); }

void Runtime::on_fatal(std::function<void(std::string)> handler) {
  caf::anon_send(state_->supervisor, msg::OnFatal{std::move(handler)});
}

void Runtime::drain() {
  state_->draining = true;
  caf::anon_send(state_->intake, msg::Drain{});
  caf::anon_send(state_->queue, msg::Drain{});
}

void Runtime::State::send_exits() {
  // The supervisor goes first: what it would see next is not a failure.
  caf::anon_send_exit(supervisor, caf::exit_reason::user_shutdown);
  for (const auto& actor : {strong(intake), strong(queue), strong(scheduler), strong(executor),
                            strong(predictor), strong(profiler)})
    caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
  for (const auto& encoder : encoders)
    caf::anon_send_exit(encoder, caf::exit_reason::user_shutdown);
}

void Runtime::stop() {
  auto& state = *state_;
  if (std::exchange(state.stopped, true)) return;
  if (state.options.detached) {
    caf::scoped_actor self(state.system);
    caf::anon_send_exit(state.supervisor, caf::exit_reason::user_shutdown);
    self->wait_for(state.supervisor);
    state.send_exits();
    self->wait_for(state.intake, state.queue, state.scheduler, state.executor);
    for (const auto& encoder : state.encoders) self->wait_for(encoder);
  } else {
    state.send_exits();  // the test's driver delivers them
  }
  state.executor = Executor();
  state.scheduler = Scheduler();
  state.predictor = LatencyPredictor();
  state.profiler = SloProfiler();
  state.intake = RequestIntake();
  state.encoders.clear();
  state.queue = OfflineQueue();
  state.supervisor = Supervisor();
}

void configure(caf::actor_system_config& config, std::size_t threads) {
  // An atom: a string is ignored in silence, and the default policy costs a quarter of a core.
  config.set("scheduler.policy", caf::atom("sharing"));
  config.set("scheduler.max-threads", threads);
  config.set("scheduler.max-throughput", std::size_t{64});
}

}  // namespace tandem
