// `tandem serve`: configuration, model, device, actors and network put together, watched, and taken
// down in the order that lets each end: network, actors, actor system.
#include <algorithm>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <optional>
#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>
#include <sstream>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

#include "actors/runtime.hpp"
#include "cli/commands.hpp"
#include "cli/load_model.hpp"
#include "cli/logging.hpp"
#include "cli/profile.hpp"
#include "cli/shutdown.hpp"
#include "core/fnv.hpp"
#include "net/server.hpp"

namespace tandem::cli {
namespace {

using SteadyClock = std::chrono::steady_clock;

/// How long network, actors and store may take to end once nothing is waited for any more.
constexpr std::chrono::seconds stop_bound{20};
/// After the engine's death: for the news to reach the clients.
constexpr std::chrono::milliseconds farewell{1000};
constexpr std::chrono::milliseconds drain_poll{10};

/// Open files: as many as the system lets us have, and a warning if connections need more.
void raise_file_limit(std::uint32_t max_connections) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  const std::uint64_t needed = std::uint64_t{max_connections} + 64;
  if (limit.rlim_cur < needed)
    spdlog::warn("open_files_limited limit={} max_connections={}", limit.rlim_cur, max_connections);
}

/// A request that cannot fit the KV cache must not be taken in: the context is what fits.
void settle_context(const config::Config& config, const gpu::DeviceLimits& limits,
                    ServedModel& served) {
  const auto wanted = config.host.max_context.is_zero()
                          ? served.config.max_position
                          : std::min(config.host.max_context.value(), served.config.max_position);
  const auto held = limits.kv_blocks.value() * kv_block_tokens;
  served.max_context = Tokens(std::min({wanted, limits.max_context.value(), held}));
  if (config.host.max_context.value() > served.config.max_position)
    spdlog::warn("max_context_lowered from={} to={} reason=\"the model's longest context\"",
                 config.host.max_context.value(), served.config.max_position);
  if (served.max_context.value() < wanted)
    spdlog::warn("max_context_lowered from={} to={} reason=\"kv_cache_bytes holds {} tokens\"",
                 wanted, served.max_context.value(), held);
}

/// The port for whoever started us with --port 0; complete or not there.
bool write_port_file(const std::filesystem::path& file, std::uint16_t port) {
  auto partial = file;
  partial += ".partial";
  {
    std::ofstream out(partial, std::ios::trunc);
    out << port << "\n";
    if (!out.flush()) return false;
  }
  std::error_code failure;
  std::filesystem::rename(partial, file, failure);
  return !failure;
}

/// What decides which tokens a seed gives.
std::string fingerprint(const std::string& model, const policy::ProfileKey& key) {
  std::uint64_t hash = fnv1a(model);
  for (const auto* part : {&key.model, &key.device, &key.dtype, &key.engine_version})
    hash = fnv1a(*part, fnv1a("\n", hash));
  return fmt::format("fp_{:016x}", hash);
}

int start_failed(const Error& reason, int exit_code) {
  spdlog::error("start_failed reason=\"{}\"", reason.message);
  return exit_code;
}

/// One service from start to end.
class Service {
 public:
  Service(const config::Config& config, StopRequest& stop) : config_(config), stop_(stop) {
    configure(caf_config_, config.actor_threads);
  }

  int run(LoadedModel model, std::unique_ptr<gpu::Backend> backend,
          const std::filesystem::path& port_file, SteadyClock::time_point began);

 private:
  int serve_until_stopped(caf::actor_system& system, LoadedModel model,
                          std::unique_ptr<gpu::Backend> backend,
                          const std::filesystem::path& port_file, SteadyClock::time_point began);
  Result<std::unique_ptr<net::Server>> start_server(caf::actor_system& system, Runtime& runtime);
  int end(Runtime& runtime, net::Server& server);
  void serve_on(net::Server& server) const;
  bool wait_for_calls(const net::Server& server, std::chrono::milliseconds bound) const;

  const config::Config& config_;
  StopRequest& stop_;
  caf::actor_system_config caf_config_;
  std::optional<Watchdog> watchdog_;  ///< outlives the actor system
};

int Service::run(LoadedModel model, std::unique_ptr<gpu::Backend> backend,
                 const std::filesystem::path& port_file, SteadyClock::time_point began) {
  int exit_code = exit_failed;
  {
    caf::actor_system system(caf_config_);
    exit_code = serve_until_stopped(system, std::move(model), std::move(backend), port_file, began);
    if (!watchdog_) watchdog_.emplace(stop_bound, exit_code);
  }
  watchdog_.reset();
  spdlog::info("stopped exit_code={}", exit_code);
  return exit_code;
}

Result<std::unique_ptr<net::Server>> Service::start_server(caf::actor_system& system,
                                                           Runtime& runtime) {
  net::ServerParts parts;
  parts.intake = runtime.intake();
  parts.queue = runtime.queue();
  parts.model = runtime.model();
  parts.metrics_text = [&runtime] { return runtime.metrics().text(); };
  parts.not_ready_reason = [&runtime] { return runtime.not_ready_reason(); };
  parts.version = version_text();
  return net::Server::start(system, config_.server, std::move(parts));
}

int Service::serve_until_stopped(caf::actor_system& system, LoadedModel model,
                                 std::unique_ptr<gpu::Backend> backend,
                                 const std::filesystem::path& port_file,
                                 SteadyClock::time_point began) {
  const auto limits = backend->limits();
  const auto parameters = model.served.config.num_parameters();
  settle_context(config_, limits, model.served);
  const auto key = profile_key(model.served.config, limits, config_);
  model.served.fingerprint = fingerprint(model.served.name, key);
  const auto served = std::make_shared<const ServedModel>(std::move(model.served));
  model.weights.reset();
  auto options = config_.runtime;
  options.store.note_crashes = true;
  options.line_limits = config_.server.call_limits;
  if (const auto applied = apply_profile(config_, key, options); !applied)
    return start_failed(applied.error(), exit_usage);
  RuntimeParts parts;
  parts.backend = std::move(backend);
  auto started = Runtime::start(system, options, served, std::move(parts));
  if (!started) return start_failed(started.error(), exit_failed);
  auto& runtime = **started;
  runtime.metrics().set_build_info(version_text(), limits.device_name,
                                   store::Store::sqlite_version());
  runtime.metrics().set_model(served->name, served->max_context);
  runtime.on_fatal([this](const std::string& reason) { stop_.engine_died(reason); });

  auto server = start_server(system, runtime);
  if (!server) {
    watchdog_.emplace(stop_bound, exit_failed);
    return start_failed(server.error(), exit_failed);
  }
  if (!port_file.empty() && !write_port_file(port_file, (*server)->port()))
    spdlog::warn("port_file_not_written path=\"{}\"", port_file.string());
  spdlog::info(
      "serving address={} model=\"{}\" parameters={} device={} kernels=\"{}\" kv_blocks={} "
      "max_context={} policy={} max_sequences={} max_iteration_tokens={} data_dir=\"{}\" "
      "version={} pid={} start_seconds={:.2f}",
      (*server)->address(), served->name, parameters, limits.device_name, limits.kernels,
      limits.kv_blocks.value(), served->max_context.value(), options.scheduling_policy,
      options.scheduler.max_sequences, options.scheduler.max_iteration_tokens.value(),
      options.store.data_dir.string(), version_text(), ::getpid(),
      std::chrono::duration<double>(SteadyClock::now() - began).count());
  notify_manager("READY=1");
  stop_.wait();
  notify_manager("STOPPING=1");
  return end(runtime, **server);
}

/// True: no call is being answered any more.
bool Service::wait_for_calls(const net::Server& server, std::chrono::milliseconds bound) const {
  const auto deadline = SteadyClock::now() + bound;
  while (server.active_calls() > 0) {
    if (SteadyClock::now() >= deadline) return false;
    std::this_thread::sleep_for(drain_poll);
  }
  return true;
}

/// Not ready, but serving: until the balancer in front has noticed.
void Service::serve_on(net::Server& server) const {
  server.announce_drain();
  const auto until = SteadyClock::now() + config_.drain_delay;
  while (SteadyClock::now() < until && !stop_.death())
    std::this_thread::sleep_for(
        std::min<SteadyClock::duration>(drain_poll, until - SteadyClock::now()));
}

int Service::end(Runtime& runtime, net::Server& server) {
  if (const auto death = stop_.death()) {
    spdlog::critical("engine_died reason=\"{}\"", *death);
    server.begin_drain();
    wait_for_calls(server, farewell);
  } else {
    spdlog::info("drain_began signal={} calls={} drain_timeout_seconds={}",
                 stop_.signal() == SIGTERM ? "SIGTERM" : "SIGINT", server.active_calls(),
                 static_cast<double>(config_.drain_timeout.count()) / 1000);
    if (stop_.signal() == SIGTERM) serve_on(server);
    runtime.drain();
    server.begin_drain();
    const bool clean = wait_for_calls(server, config_.drain_timeout);
    spdlog::info("drain_ended calls_cut_off={}", clean ? 0 : server.active_calls());
  }
  const int exit_code = stop_.death() ? exit_engine_died : exit_ok;
  watchdog_.emplace(stop_bound, exit_code == exit_ok ? exit_failed : exit_code);
  server.stop();
  runtime.stop();
  return exit_code;
}

}  // namespace

void print_error(const std::string& message) {
  std::istringstream lines(message);
  for (std::string line; std::getline(lines, line);)
    std::fprintf(stderr, "tandem: error: %s\n", line.c_str());
}

int serve(const ServeArguments& arguments) {
  if (arguments.print_defaults) {
    std::fputs(config::default_yaml().c_str(), stdout);
    return exit_ok;
  }
  const auto began = SteadyClock::now();
  const auto loaded = config::load(arguments.sources);
  if (!loaded) {
    print_error(loaded.error().message);
    return exit_usage;
  }
  if (arguments.print_config) std::fputs(config::print_config(*loaded).c_str(), stdout);
  if (arguments.print_config && !arguments.check_config) return exit_ok;

  const auto& config = loaded->config;
  StopRequest stop;
  start_logging(config.log);
  for (const auto& warning : loaded->warnings) spdlog::warn("config_note text=\"{}\"", warning);
  if (const auto device = check_device(config); !device)
    return start_failed(device.error(), exit_usage);
  auto model = load_model(config);
  if (!model) return start_failed(model.error(), exit_usage);
  if (arguments.check_config) {
    std::printf("configuration and model folder are usable: %s (%s, %lld parameters)\n",
                model->served.name.c_str(),
                std::string(to_string(model->served.config.architecture)).c_str(),
                static_cast<long long>(model->served.config.num_parameters()));
    return exit_ok;
  }
  raise_file_limit(config.server.max_connections);
  auto backend = open_device(config, model->weights);
  if (!backend) return start_failed(backend.error(), exit_usage);
  Service service(config, stop);
  return service.run(std::move(*model), std::move(*backend), arguments.port_file, began);
}

}  // namespace tandem::cli
