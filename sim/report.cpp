// The table of a simulation. See report.hpp.
#include "sim/report.hpp"

#include <algorithm>
#include <cstdio>

namespace tandem::sim {
namespace {

std::string whole(double value) { return fixed(value, 0); }

std::string percent(double part, double all) {
  return all > 0 ? fixed(100 * part / all, 1) + " %" : "-";
}

std::string setting(const Trial& trial) {
  if (trial.policy == "hygen")
    return trial.controlled      ? "adjusted"
           : trial.budget_ms > 0 ? fixed(trial.budget_ms, 2) + " ms"
                                 : "no budget";
  if (trial.policy == "fixed_rate") return whole(trial.rate) + " tok/s";
  return "";
}

std::vector<std::string> row_of(const SimulationReport& report, const PolicyRow& row) {
  const Measured& m = *row.measured;
  std::string met = "-";
  if (!report.objectives.empty() && m.ttft.count > 0)
    met =
        std::to_string(objectives_met(report, m)) + "/" + std::to_string(report.objectives.size());
  return {row.trial.policy,
          setting(row.trial),
          fixed(m.ttft.mean, 1),
          fixed(m.ttft.p50, 1),
          fixed(m.ttft.p99, 1),
          fixed(m.tbt.mean, 2),
          fixed(m.tbt.p50, 2),
          fixed(m.tbt.p99, 2),
          met,
          whole(m.online_tokens_per_s()),
          whole(m.offline_tokens_per_s()),
          whole(m.total_tokens_per_s()),
          percent(m.offline_tokens_per_s(), report.ceiling),
          std::to_string(m.online.wasted + m.offline.wasted)};
}

std::string objective_lines(const SimulationReport& report) {
  std::string text;
  for (const auto& objective : report.objectives) {
    const double limit = policy::limit_ms(objective, report.baseline);
    text += "  " + policy::name_of(objective.quantity, objective.statistic) + " at most " +
            fixed(limit, 2) + " ms";
    if (objective.relative)
      text +=
          " (" + policy::to_string(objective) + " of " +
          fixed(policy::statistic_of(report.baseline, objective.quantity, objective.statistic), 2) +
          " ms when online is alone)";
    text += '\n';
  }
  return text;
}

/// The user's question in one sentence.
std::string answer(const SimulationReport& report) {
  for (const PolicyRow& row : report.rows) {
    const bool adjusted = row.trial.controlled && !report.objectives.empty();
    if ((!row.searched && !adjusted) || row.trial.policy != "hygen") continue;
    const Measured& m = *row.measured;
    const std::size_t met = objectives_met(report, m), all = report.objectives.size();
    const std::string missed = std::to_string(all - met) + " of " + std::to_string(all);
    if (!row.met)
      return "No budget meets the objectives: with the least, " + fixed(row.trial.budget_ms, 2) +
             " ms, hygen still misses " + missed + ".\n";
    const std::string where =
        met == all ? "Within the objectives" : "Missing " + missed + " objectives,";
    return where + " hygen harvests " + whole(m.offline_tokens_per_s()) +
           " offline tokens/s beside this traffic: " +
           percent(m.offline_tokens_per_s(), report.ceiling) + " of what the device does alone, " +
           fixed(m.total_tokens_per_s() / std::max(m.online_tokens_per_s(), 1.0), 2) +
           " times the tokens of online service alone.\n";
  }
  return {};
}

}  // namespace

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string text_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i == widths.size()) widths.push_back(0);
      widths[i] = std::max(widths[i], row[i].size());
    }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string blanks(widths[i] - row[i].size(), ' ');
      line += i == 0 ? row[i] + blanks : "  " + blanks + row[i];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  }
  return text;
}

std::size_t objectives_met(const SimulationReport& report, const Measured& measured) {
  const auto statistics = statistics_of(measured);
  return static_cast<std::size_t>(std::count_if(
      report.objectives.begin(), report.objectives.end(), [&](const policy::Objective& each) {
        return policy::slack({each}, statistics, report.baseline) >= 0;
      }));
}

std::string report_table(const SimulationReport& report) {
  std::string text =
      report.device + ", " + report.model + ", KV cache of " +
      std::to_string(report.kv_blocks.value() * kv_block_tokens) + " tokens, iterations of up to " +
      std::to_string(report.max_iteration_tokens.value()) + " tokens\n" + report.workload + "\n";
  if (!report.rows.empty())
    text += fixed(report.rows.front().measured->seconds, 0) + " s of traffic, seed " +
            std::to_string(report.seed) + (report.mode == RunMode::full ? ", full mode" : "") +
            "; latency model off by " + fixed(100 * report.model_mape, 1) + " % on average\n";
  if (!report.objectives.empty()) text += "Objectives\n" + objective_lines(report);
  if (report.ceiling > 0)
    text += "Offline work alone, steady state: " + whole(report.ceiling) + " tokens/s\n";
  std::vector<std::vector<std::string>> rows = {
      {"", "", "TTFT ms", "", "", "TBT ms", "", "", "", "tokens/s", "", "", "of", "wasted"},
      {"policy", "setting", "mean", "p50", "p99", "mean", "p50", "p99", "met", "online", "offline",
       "total", "ceiling", "tokens"}};
  for (const PolicyRow& row : report.rows) rows.push_back(row_of(report, row));
  text += "\n" + text_table(rows);
  for (const PolicyRow& row : report.rows)
    if (row.measured->unanswered > 0)
      text += row.trial.policy + ": " + std::to_string(row.measured->unanswered) +
              " online requests had no token by the end; their wait until then is in TTFT\n";
  const std::string sentence = answer(report);
  return sentence.empty() ? text : text + "\n" + sentence;
}

}  // namespace tandem::sim
