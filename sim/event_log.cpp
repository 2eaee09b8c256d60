// See event_log.hpp.
#include "sim/event_log.hpp"

#include <array>

namespace tandem::sim {
namespace {

constexpr std::array<std::string_view, 3> outcomes = {"done", "aborted", "failed"};

}  // namespace

void EventLog::begin(TimePoint now, std::string_view verb) {
  line_ = std::to_string(now.time_since_epoch().count());
  line_ += ' ';
  line_ += verb;
}

void EventLog::field(std::string_view name, std::uint64_t value) {
  line_ += ' ';
  line_ += name;
  line_ += '=';
  line_ += std::to_string(value);
}

void EventLog::end() {
  line_ += '\n';
  sink_(line_);
}

void EventLog::arrived(const Request& request, std::size_t /*index*/, TimePoint now) {
  begin(now, "arrived");
  field("id", raw(request.id));
  line_ += " class=";
  line_ += to_string(request.request_class);
  field("prompt", request.prompt.size());
  field("output", static_cast<std::uint64_t>(request.stop.max_tokens.value()));
  end();
}

void EventLog::launched(const Plan& plan, TimePoint now) {
  begin(now, "launched");
  field("plan", raw(plan.id));
  field("rows", plan.num_rows());
  for (const Slice& slice : plan.slices) {
    line_ += ' ';
    line_ += std::to_string(raw(slice.id));
    line_ += '@';
    line_ += std::to_string(slice.context);
    line_ += '+';
    line_ += std::to_string(slice.num_tokens);
  }
  end();
}

void EventLog::reported(const Plan& plan, const IterationReport& report, TimePoint now) {
  begin(now, "reported");
  field("plan", raw(plan.id));
  line_ += ' ';
  line_ += outcomes.at(static_cast<std::size_t>(report.outcome));
  end();
}

void EventLog::emitted(const std::vector<TokenEvent>& events, TimePoint now) {
  begin(now, "emitted");
  for (const TokenEvent& event : events) {
    line_ += ' ';
    line_ += std::to_string(raw(event.id));
    if (event.token) {
      line_ += ':';
      line_ += std::to_string(*event.token);
    }
    if (!event.finish) continue;
    line_ += '/';
    line_ += to_string(*event.finish);
  }
  end();
}

void EventLog::given_back(RequestId id, TimePoint now) {
  begin(now, "given_back");
  field("id", raw(id));
  end();
}

void EventLog::given_up(std::size_t index, TimePoint now) {
  begin(now, "given_up");
  field("item", index);
  end();
}

void EventLog::died(TimePoint now) {
  begin(now, "died");
  end();
}

void EventLog::settled(const policy::SchedulerCore& /*core*/, TimePoint /*now*/) {}

void EventLog::finished(bool drained, TimePoint now) {
  begin(now, drained ? "drained" : "ended");
  end();
}

void LogDigest::add(std::string_view line) { hash_ = fnv1a(line, hash_); }

}  // namespace tandem::sim
