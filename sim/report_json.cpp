// The JSON of a simulation. See report.hpp.
#include <boost/json.hpp>

#include "sim/report.hpp"

namespace tandem::sim {
namespace {

namespace json = boost::json;

json::object latency(const Latency& of) {
  return {
      {"count", of.count}, {"mean", of.mean}, {"p50", of.p50}, {"p99", of.p99}, {"max", of.max}};
}

json::object totals(const ClassTotals& of) {
  return {{"requests", of.requests},
          {"finished", of.finished},
          {"failed", of.failed},
          {"cancelled", of.cancelled},
          {"tokens_served", of.served},
          {"tokens_cached", of.cached},
          {"tokens_generated", of.generated},
          {"tokens_wasted", of.wasted}};
}

json::object curves(const Measured& m) {
  json::array online, offline, arrivals, tbt_mean, tbt_p99, ttft_p99;
  for (const Interval& interval : m.intervals) {
    online.emplace_back(static_cast<double>(interval.online) / m.interval_seconds);
    offline.emplace_back(static_cast<double>(interval.offline) / m.interval_seconds);
    arrivals.emplace_back(interval.arrivals);
    tbt_mean.emplace_back(interval.tbt_ms_mean);
    tbt_p99.emplace_back(interval.tbt_ms_p99);
    ttft_p99.emplace_back(interval.ttft_ms_p99);
  }
  return {{"interval_seconds", m.interval_seconds},     {"online_tokens_per_s", std::move(online)},
          {"offline_tokens_per_s", std::move(offline)}, {"arrivals", std::move(arrivals)},
          {"tbt_ms_mean", std::move(tbt_mean)},         {"tbt_ms_p99", std::move(tbt_p99)},
          {"ttft_ms_p99", std::move(ttft_p99)}};
}

json::object policy_of(const SimulationReport& report, const PolicyRow& row) {
  const Measured& m = *row.measured;
  json::object object = {{"policy", row.trial.policy},
                         {"searched", row.searched},
                         {"runs", row.runs},
                         {"objectives_met", objectives_met(report, m)},
                         {"seconds", m.seconds},
                         {"end_seconds", m.end_seconds},
                         {"ttft_ms", latency(m.ttft)},
                         {"tbt_ms", latency(m.tbt)},
                         {"online", totals(m.online)},
                         {"offline", totals(m.offline)},
                         {"online_tokens_per_s", m.online_tokens_per_s()},
                         {"offline_tokens_per_s", m.offline_tokens_per_s()},
                         {"total_tokens_per_s", m.total_tokens_per_s()},
                         {"unanswered", m.unanswered},
                         {"deadlines_missed", m.deadlines_missed},
                         {"iterations", m.iterations},
                         {"preemptions", m.preemptions},
                         {"busy_share", m.busy_share},
                         {"curves", curves(m)}};
  if (row.searched) object["met"] = row.met;
  if (row.trial.controlled) object["controlled"] = true;
  if (row.trial.budget_ms > 0) object["budget_ms"] = row.trial.budget_ms;
  if (row.trial.rate > 0) object["rate_tokens_per_s"] = row.trial.rate;
  if (report.ceiling > 0) object["share_of_ceiling"] = m.offline_tokens_per_s() / report.ceiling;
  return object;
}

}  // namespace

std::string report_json(const SimulationReport& report) {
  json::array objectives, policies;
  for (const auto& objective : report.objectives)
    objectives.push_back(
        json::object{{"name", policy::name_of(objective.quantity, objective.statistic)},
                     {"asked", policy::to_string(objective)},
                     {"limit_ms", policy::limit_ms(objective, report.baseline)}});
  for (const PolicyRow& row : report.rows) policies.push_back(policy_of(report, row));
  return json::serialize(json::object{{"mode", report.mode == RunMode::full ? "full" : "fast"},
                                      {"device", report.device},
                                      {"model", report.model},
                                      {"workload", report.workload},
                                      {"seed", report.seed},
                                      {"kv_blocks", report.kv_blocks.value()},
                                      {"max_iteration_tokens", report.max_iteration_tokens.value()},
                                      {"latency_model_mape", report.model_mape},
                                      {"objectives", std::move(objectives)},
                                      {"ceiling_offline_tokens_per_s", report.ceiling},
                                      {"policies", std::move(policies)}}) +
         "\n";
}

}  // namespace tandem::sim
