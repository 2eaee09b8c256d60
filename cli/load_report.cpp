// See load_report.hpp.
#include "cli/load_report.hpp"

#include <boost/json.hpp>
#include <spdlog/fmt/fmt.h>

namespace tandem::cli {
namespace json = boost::json;
namespace {

using client::Spread;

constexpr std::string_view definitions =
    "TTFT: sent to first chunk. TBT: every gap between chunks, pooled (vLLM: ITL). TPOT: (E2E - "
    "TTFT) / (tokens - 1), per request. E2E: sent to last chunk. Goodput: requests/s that met "
    "every "
    "objective, tbt in each gap. Lateness: sent after the scheduled time.";

double per_second(double count, double seconds) { return seconds > 0 ? count / seconds : 0; }

std::string row(std::string_view name, const Spread& s) {
  return fmt::format("{:<14}{:>10.2f}{:>10.2f}{:>10.2f}{:>10.2f}{:>10.2f}\n", name, s.mean, s.p50,
                     s.p90, s.p99, s.max);
}

std::string pair(std::string_view name, const std::string& value) {
  return fmt::format("{:<34}{}\n", name, value);
}

std::string failures(const client::Summary& online) {
  std::string text = std::to_string(online.failed);
  for (std::size_t i = 0; i < online.failures.size(); ++i)
    text += fmt::format("{}{} x {}", i == 0 ? " (" : ", ", online.failures[i].second,
                        online.failures[i].first.empty() ? "not ended" : online.failures[i].first);
  return online.failures.empty() ? text : text + ")";
}

std::string online_table(const LoadReport& report) {
  const auto& online = report.online;
  const auto seconds = report.online_seconds;
  auto text =
      pair("completed", std::to_string(online.completed)) + pair("failed", failures(online)) +
      pair("unfinished at the end", std::to_string(report.online_unfinished)) +
      pair("seconds", fmt::format("{:.2f}", seconds)) +
      pair("requests/s",
           fmt::format("{:.2f}", per_second(static_cast<double>(online.completed), seconds)));
  if (report.objectives.any())
    text += pair("goodput, requests/s",
                 fmt::format("{:.2f} ({} of {} requests)",
                             per_second(static_cast<double>(online.good), seconds), online.good,
                             online.completed + online.failed));
  text +=
      pair("prompt tokens", std::to_string(online.prompt_tokens)) +
      pair("output tokens", std::to_string(online.output_tokens)) +
      pair("output tokens/s",
           fmt::format("{:.2f}", per_second(static_cast<double>(online.output_tokens), seconds)));
  text += fmt::format("{:<14}{:>10}{:>10}{:>10}{:>10}{:>10}\n", "ms", "mean", "p50", "p90", "p99",
                      "max");
  text += row("TTFT", online.ttft) + row("TBT", online.tbt) + row("TPOT", online.tpot) +
          row("E2E", online.e2e) + row("lateness", online.lateness);
  if (online.lateness.p99 > 10)
    text += "Requests were sent late: this machine or --max-concurrency held them back.\n";
  if (online.output_tokens > 0 &&
      static_cast<double>(online.chunks) < 0.9 * static_cast<double>(online.output_tokens))
    text += fmt::format(
        "{} tokens came in {} chunks, so gaps are longer than tokens took; --every-token shows "
        "tokens without text as well.\n",
        online.output_tokens, online.chunks);
  return text;
}

std::string offline_table(const OfflineResult& offline) {
  const auto speed = [](std::int64_t tokens, double seconds) {
    return fmt::format("{:.2f}", per_second(static_cast<double>(tokens), seconds));
  };
  auto text =
      pair("mode", offline.mode + (offline.batch_id.empty() ? "" : ", ") + offline.batch_id);
  if (!offline.failure.empty()) return text + pair("failure", offline.failure);
  text += pair("status", offline.status) +
          pair("items completed", fmt::format("{} of {}", offline.completed, offline.total)) +
          pair("items failed", std::to_string(offline.failed)) +
          pair("seconds", fmt::format("{:.2f}", offline.seconds)) +
          pair("output tokens/s", speed(offline.output_tokens, offline.seconds)) +
          pair("all tokens/s (prompt + output)",
               speed(offline.prompt_tokens + offline.output_tokens, offline.seconds));
  if (offline.online_seconds > 0)
    text += pair("beside online, items completed", std::to_string(offline.online_completed)) +
            pair("beside online, all tokens/s",
                 speed(offline.online_prompt_tokens + offline.online_output_tokens,
                       offline.online_seconds));
  return text;
}

json::object spread_object(const Spread& s) {
  return {{"count", s.count}, {"mean", s.mean}, {"p50", s.p50},
          {"p90", s.p90},     {"p99", s.p99},   {"max", s.max}};
}

json::object objectives_object(const client::Objectives& objectives) {
  json::object result;
  if (objectives.ttft) result["ttft_ms"] = *objectives.ttft;
  if (objectives.tbt) result["tbt_ms"] = *objectives.tbt;
  if (objectives.tpot) result["tpot_ms"] = *objectives.tpot;
  if (objectives.e2e) result["e2e_ms"] = *objectives.e2e;
  return result;
}

json::object online_object(const LoadReport& report) {
  const auto& online = report.online;
  const auto rate = [&](auto count) {
    return per_second(static_cast<double>(count), report.online_seconds);
  };
  json::object reasons;
  for (const auto& [name, count] : online.failures)
    reasons[name.empty() ? "not ended" : name] = count;
  json::object result{{"seconds", report.online_seconds},
                      {"completed", online.completed},
                      {"failed", online.failed},
                      {"failures", std::move(reasons)},
                      {"unfinished", report.online_unfinished},
                      {"requests_per_second", rate(online.completed)},
                      {"prompt_tokens", online.prompt_tokens},
                      {"output_tokens", online.output_tokens},
                      {"output_tokens_per_second", rate(online.output_tokens)},
                      {"chunks", online.chunks},
                      {"ttft_ms", spread_object(online.ttft)},
                      {"tbt_ms", spread_object(online.tbt)},
                      {"tpot_ms", spread_object(online.tpot)},
                      {"e2e_ms", spread_object(online.e2e)},
                      {"lateness_ms", spread_object(online.lateness)}};
  if (report.objectives.any()) {
    result["objectives"] = objectives_object(report.objectives);
    result["good"] = online.good;
    result["goodput_requests_per_second"] = rate(online.good);
  }
  return result;
}

json::object offline_object(const OfflineResult& offline) {
  return {{"mode", offline.mode},
          {"batch_id", offline.batch_id},
          {"status", offline.status},
          {"failure", offline.failure},
          {"total", offline.total},
          {"completed", offline.completed},
          {"failed", offline.failed},
          {"seconds", offline.seconds},
          {"prompt_tokens", offline.prompt_tokens},
          {"output_tokens", offline.output_tokens},
          {"output_tokens_per_second",
           per_second(static_cast<double>(offline.output_tokens), offline.seconds)},
          {"tokens_per_second",
           per_second(static_cast<double>(offline.prompt_tokens + offline.output_tokens),
                      offline.seconds)},
          {"beside_online", json::object{{"seconds", offline.online_seconds},
                                         {"completed", offline.online_completed},
                                         {"prompt_tokens", offline.online_prompt_tokens},
                                         {"output_tokens", offline.online_output_tokens}}}};
}

}  // namespace

std::string report_table(const LoadReport& report) {
  auto text = pair("service", report.url + ", model " + report.model) +
              pair("workload", report.workload + ", seed " + std::to_string(report.seed));
  for (const auto& note : report.notes) text += pair("note", note);
  if (report.interrupted) text += "Interrupted: the figures are of what had ended.\n";
  if (report.online.completed + report.online.failed > 0)
    text += "\n-- online --\n" + online_table(report);
  if (report.offline) text += "\n-- offline --\n" + offline_table(*report.offline);
  return text + "\n" + std::string(definitions) + "\n";
}

std::string report_json(const LoadReport& report) {
  json::object result{{"service", report.url},
                      {"model", report.model},
                      {"workload", report.workload},
                      {"notes", json::array(report.notes.begin(), report.notes.end())},
                      {"seed", report.seed},
                      {"interrupted", report.interrupted},
                      {"definitions", definitions},
                      {"online", online_object(report)}};
  if (report.offline) result["offline"] = offline_object(*report.offline);
  return json::serialize(result) + "\n";
}

}  // namespace tandem::cli
