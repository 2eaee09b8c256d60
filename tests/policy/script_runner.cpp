// See script_runner.hpp.
#include "tests/policy/script_runner.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <optional>

#include "policy/scheduler_core.hpp"
#include "tests/support/script.hpp"

namespace tandem::test {
namespace {

using namespace tandem::policy;

class ScriptRunner {
 public:
  void run(const ScriptLine& line) {
    switch (line.kind) {
      case ScriptLine::Kind::options: return make_core(line);
      case ScriptLine::Kind::at: return happen(line);
      case ScriptLine::Kind::expect: return expect(line);
    }
  }

  /// All actions were expected.
  void settle() {
    if (next_ < actions_.size()) FAIL("not expected: " << describe(actions_[next_]));
  }

 private:
  void make_core(const ScriptLine& line) {
    SchedulerOptions options;
    options.max_iteration_tokens = Tokens(line.value("tokens", 512));
    options.max_sequences = static_cast<std::uint32_t>(line.value("sequences", 8));
    options.kv_blocks = Blocks(line.value("blocks", 64));
    options.plans_in_flight = static_cast<std::uint32_t>(line.value("in_flight", 1));
    options.offline_window = static_cast<std::uint32_t>(line.value("window", 0));
    options.prefix_cache = line.value("cache", 1) != 0;
    const auto planner = line.values.find("planner");
    const std::string name = planner == line.values.end() ? "online_first" : planner->second;
    core_.emplace(options, make_planner(name).value());
  }

  RequestPtr make_request(const ScriptLine& line, RequestClass request_class, std::int64_t id) {
    auto request = std::make_shared<Request>();
    request->id = RequestId{static_cast<std::uint64_t>(id)};
    request->request_class = request_class;
    const std::int64_t length = line.value("prompt", 16);
    const std::int64_t common = line.value("common", length);
    const auto like = line.values.find("like");
    const std::int64_t other = like == line.values.end() ? id : line.number_of(like->second, "r");
    for (std::int64_t i = 0; i < length; ++i)
      request->prompt.push_back(static_cast<TokenId>((i < common ? other : id) * 10000 + i));
    request->stop.max_tokens = Tokens(line.value("max", 16));
    if (line.values.contains("stop"))
      request->stop.stop_token_ids.push_back(static_cast<TokenId>(line.value("stop", 0)));
    request->arrival = line.at;
    return request;
  }

  void happen(const ScriptLine& line) {
    if (!core_) make_core(ScriptLine{});
    settle();
    if (line.verb == "arrive") {
      if (line.words.size() != 2) line.fail("a class and a request arrive");
      const bool online = line.words[0] == "online";
      if (!online && line.words[0] != "offline") line.fail("the class is online or offline");
      apply(line, Arrived{make_request(line, online ? RequestClass::online : RequestClass::offline,
                                       line.number_of(line.words[1], "r"))});
    } else if (line.verb == "supply") {
      Supplied supplied;
      for (const auto& word : line.words)
        supplied.items.push_back(
            make_request(line, RequestClass::offline, line.number_of(word, "r")));
      apply(line, supplied);
    } else if (line.verb == "available") {
      apply(line, Available{});
    } else if (line.verb == "cancel") {
      if (line.words.size() != 1) line.fail("one request is cancelled");
      apply(line, Cancelled{request_id(line, line.words[0])});
    } else if (line.verb == "woken") {
      apply(line, Woken{});
    } else if (line.verb == "report") {
      apply(line, Reported{make_report(line)});
    } else {
      line.fail("unknown event");
    }
  }

  static RequestId request_id(const ScriptLine& line, const std::string& word) {
    return RequestId{static_cast<std::uint64_t>(line.number_of(word, "r"))};
  }

  ReportPtr make_report(const ScriptLine& line) {
    if (line.words.empty()) line.fail("a report names its iteration");
    const auto plan = plans_.find(line.number_of(line.words[0], "i"));
    if (plan == plans_.end()) line.fail("no such iteration is in flight");
    auto report = std::make_shared<IterationReport>();
    report->id = plan->second->id;
    const std::string outcome = line.words.size() > 1 ? line.words[1] : "done";
    report->outcome = outcome == "aborted"  ? Outcome::aborted
                      : outcome == "failed" ? Outcome::failed
                                            : Outcome::done;
    if (report->outcome == Outcome::failed)
      report->error = error(Errc::device_failed, "made to fail");
    const auto& slices = plan->second->slices;
    for (std::uint32_t i = 0; i < slices.size() && report->outcome == Outcome::done; ++i) {
      const std::string key = "r" + std::to_string(raw(slices[i].id));
      if (slices[i].samples)
        report->samples.push_back({i, static_cast<TokenId>(line.value(key, 9000000)), 0, {}});
    }
    plans_.erase(plan);
    return report;
  }

  void apply(const ScriptLine& line, const Event& event) {
    actions_ = core_->on(event, line.at);
    next_ = 0;
    for (const Action& action : actions_)
      if (const auto* launch = std::get_if<Launch>(&action))
        plans_[static_cast<std::int64_t>(raw(launch->plan->id))] = launch->plan;
    core_->check();
  }

  void expect(const ScriptLine& line) {
    if (line.verb == "nothing") return settle();
    std::string wanted = line.verb;
    for (const auto& word : line.words) wanted += " " + word;
    for (const auto& [key, value] : line.values) wanted += " " + key + "=" + value;
    if (next_ == actions_.size()) FAIL("did not happen: " << wanted);
    const bool with_bindings =
        std::find(line.words.begin(), line.words.end(), "bind") != line.words.end();
    const bool with_cached = line.text.find(".cached") != std::string::npos;
    REQUIRE(describe(actions_[next_], with_bindings, with_cached) == wanted);
    ++next_;
  }

  static std::string describe(const Action& action, bool with_bindings = false,
                              bool with_cached = false) {
    if (const auto* launch = std::get_if<Launch>(&action))
      return describe_plan(*launch->plan, with_bindings);
    if (const auto* emit = std::get_if<Emit>(&action)) return describe_events(*emit, with_cached);
    if (const auto* wake = std::get_if<Wake>(&action))
      return "wake " +
             std::to_string(static_cast<std::int64_t>(to_ms(wake->at.time_since_epoch()))) + "ms";
    return "refill " + std::to_string(std::get<Refill>(action).count);
  }

  static std::string describe_plan(const Plan& plan, bool with_bindings) {
    std::string text = "launch i" + std::to_string(raw(plan.id));
    if (with_bindings) text += " bind";
    for (const auto& binding : plan.bindings)
      if (with_bindings) text += " r" + std::to_string(raw(binding.request->id));
    std::optional<RequestClass> current;
    for (const Slice& slice : plan.slices) {
      if (current != slice.request_class) text += " " + std::string(to_string(slice.request_class));
      current = slice.request_class;
      text += " r" + std::to_string(raw(slice.id)) + ":" + std::to_string(slice.num_tokens);
    }
    return text;
  }

  static std::string describe_events(const Emit& emit, bool with_cached) {
    std::string text = "emit", cached;
    for (const TokenEvent& event : emit.events) {
      const std::string id = "r" + std::to_string(raw(event.id));
      text += " " + id + ":" + std::string(event.finish ? to_string(*event.finish) : "token");
      if (with_cached)
        cached += " " + id + ".cached=" + std::to_string(event.cached_tokens.value());
    }
    return text + cached;
  }

  std::optional<SchedulerCore> core_;
  std::vector<Action> actions_;
  std::size_t next_ = 0;
  std::map<std::int64_t, PlanPtr> plans_;
};

}  // namespace

void run_script(const std::string& script) {
  ScriptRunner runner;
  for (const ScriptLine& line : parse_script(script)) {
    INFO("line " << line.number << ": " << line.text);
    runner.run(line);
  }
  runner.settle();
}

}  // namespace tandem::test
