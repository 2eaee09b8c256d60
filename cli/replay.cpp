// `tandem replay`: traces of real traffic, made to fit, against a service in real time.
#include <algorithm>

#include "cli/commands.hpp"
#include "cli/load_run.hpp"
#include "cli/trace_workload.hpp"
#include "sim/prompt_file.hpp"

namespace tandem::cli {
namespace {

/// The same items over and over, until there are `count`.
void repeat(sim::Workload& workload, std::size_t count) {
  auto& requests = workload.requests;
  const auto known = requests.size();
  if (count < known) requests.resize(count);
  requests.reserve(count);
  for (std::size_t i = known; i < count; ++i) requests.push_back(requests[i % known]);
}

/// Text goes to the service as it is, which alone knows its length.
Result<sim::Workload> offline_prompts(const ReplayArguments& a, RequestShape& shape) {
  auto prompts = sim::read_prompts(a.offline_prompts);
  if (!prompts) return prompts.error();
  if (!a.prompt_prefix.empty())
    if (const auto done = sim::put_before(a.prompt_prefix, *prompts); !done) return done.error();
  sim::Workload workload;
  workload.name = a.offline_prompts.filename().string();
  workload.requests.resize(prompts->size());
  for (auto& request : workload.requests) request.output_tokens = Tokens(a.offline_output_tokens);
  shape.prompts = std::move(*prompts);
  return workload;
}

Result<void> add_online(const ReplayArguments& a, std::int64_t max_context, LoadPlan& plan) {
  if (a.online.file.empty()) return {};
  auto online =
      read_trace_workload(a.online, RequestClass::online, max_context, a.seed, plan.notes);
  if (!online) return online.error();
  // A file may hold both classes, by a field of its own.
  auto& requests = online->requests;
  const auto offline = std::stable_partition(
      requests.begin(), requests.end(),
      [](const auto& request) { return request.request_class == RequestClass::online; });
  plan.offline = {online->name, online->prefix_id_tokens, {offline, requests.end()}};
  requests.erase(offline, requests.end());
  plan.online = std::move(*online);
  if (!a.online_prompts.empty()) {
    auto prompts = sim::read_prompts(a.online_prompts);
    if (!prompts) return prompts.error();
    plan.online_shape.prompts = std::move(*prompts);
  }
  plan.workload =
      plan.online.name + ", " + std::to_string(plan.online.requests.size()) + " online requests";
  return {};
}

Result<void> add_offline(const ReplayArguments& a, std::int64_t max_context, LoadPlan& plan) {
  const bool given = !a.offline.file.empty() || !a.offline_prompts.empty();
  if (given && !plan.offline.requests.empty())
    return error(Errc::invalid_value, plan.online.name +
                                          ": has offline requests of its own, so "
                                          "that no other offline set can be taken");
  if (given) {
    auto offline = a.offline.file.empty()
                       ? offline_prompts(a, plan.offline_shape)
                       : read_trace_workload(a.offline, RequestClass::offline, max_context,
                                             a.seed + 1, plan.notes);
    if (!offline) return offline.error();
    plan.offline = std::move(*offline);
  }
  if (plan.offline.requests.empty()) return {};
  if (a.offline_items > 0) repeat(plan.offline, a.offline_items);
  if (!plan.workload.empty()) plan.workload += "; ";
  plan.workload +=
      plan.offline.name + ", " + std::to_string(plan.offline.requests.size()) + " offline items";
  return {};
}

Result<void> check_arguments(const ReplayArguments& a) {
  const auto wrong = [](const std::string& what) { return error(Errc::invalid_value, what); };
  if (a.online.file.empty() && a.offline.file.empty() && a.offline_prompts.empty())
    return wrong("nothing to replay: expected --trace, --offline-trace or --offline-prompts");
  if (!a.offline.file.empty() && !a.offline_prompts.empty())
    return wrong("--offline-trace and --offline-prompts are both given; expected is one of them");
  if (a.transport == "websocket" && a.online_prompts.empty())
    return wrong("--transport websocket needs --prompts: its events carry text, not token ids");
  if (!a.online_prompts.empty() && a.online.file.empty())
    return wrong("--prompts needs --trace, which says when they are sent");
  if (!a.prompt_prefix.empty() && a.offline_prompts.empty())
    return wrong("--prompt-prefix needs --offline-prompts");
  if (a.end_with_online && a.online.file.empty()) return wrong("--end-with-online needs --trace");
  return {};
}

Result<LoadPlan> make_plan(const ReplayArguments& a) {
  if (const auto checked = check_arguments(a); !checked) return checked.error();
  auto plan = begin_plan("replay", a);
  if (!plan) return plan.error();
  plan->online_shape.websocket = a.transport == "websocket";
  plan->run_seconds = a.run_seconds;
  plan->end_with_online = a.end_with_online;
  return plan;
}

}  // namespace

int replay(const ReplayArguments& arguments) {
  auto plan = make_plan(arguments);
  if (!plan) {
    print_error(plan.error().message);
    return exit_usage;
  }
  const auto service = ask_service(*plan);
  if (!service) {
    print_error(service.error().message);
    return exit_failed;
  }
  auto added = add_online(arguments, service->max_context, *plan);
  if (added) added = add_offline(arguments, service->max_context, *plan);
  if (!added) {
    print_error(added.error().message);
    return exit_usage;
  }
  return run_load(*plan);
}

}  // namespace tandem::cli
