// See logging.hpp.
#include "cli/logging.hpp"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <memory>
#include <set>
#include <spdlog/formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace tandem::cli {
namespace {

void append_json_string(std::string& out, std::string_view text) {
  static constexpr char hex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20) {
      out += "\\u00";
      out += hex[byte >> 4];
      out += hex[byte & 15];
    } else {
      out += c;
    }
  }
  out += '"';
}

bool is_name(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

/// Takes the next word off `rest`: up to a space, or, behind '="', up to the closing quote.
std::string_view take_word(std::string_view& rest) {
  while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
  auto end = std::min(rest.find(' '), rest.size());
  const auto quote = rest.substr(0, end).find("=\"");
  if (quote != std::string_view::npos) {
    const auto closing = rest.find('"', quote + 2);
    if (closing != std::string_view::npos) end = closing + 1;
  }
  const auto word = rest.substr(0, end);
  rest.remove_prefix(end);
  return word;
}

std::string utc_now(std::chrono::system_clock::time_point at) {
  const auto seconds = std::chrono::system_clock::to_time_t(at);
  const auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(at.time_since_epoch()).count() % 1000;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", parts.tm_year + 1900,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                     milliseconds);
}

class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const auto level = spdlog::level::to_string_view(message.level);
    std::string line = "{\"ts\":\"" + utc_now(message.time) + "\",\"level\":\"";
    line.append(level.data(), level.size());
    line += "\"," + json_members(std::string_view(message.payload.data(), message.payload.size())) +
            "}\n";
    out.append(line.data(), line.data() + line.size());
  }
  [[nodiscard]] std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }
};

class TextFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const auto level = spdlog::level::to_string_view(message.level);
    auto line = utc_now(message.time) + " " + std::string(level.data(), level.size()) + " ";
    // A line break inside would make one event look like two.
    for (const char c : std::string_view(message.payload.data(), message.payload.size()))
      line += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    line += '\n';
    out.append(line.data(), line.data() + line.size());
  }
  [[nodiscard]] std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<TextFormatter>();
  }
};

}  // namespace

std::string json_members(std::string_view line) {
  std::string fields;
  std::set<std::string_view> used{"ts", "level", "msg", "event"};
  auto rest = line;
  const auto event = take_word(rest);
  while (!rest.empty()) {
    const auto word = take_word(rest);
    const auto equals = word.find('=');
    const auto name = word.substr(0, equals);
    if (equals == std::string_view::npos || !is_name(name) || !used.insert(name).second) continue;
    auto value = word.substr(equals + 1);
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"')
      value = value.substr(1, value.size() - 2);
    fields += ',';
    append_json_string(fields, name);
    fields += ':';
    append_json_string(fields, value);
  }
  std::string result = "\"msg\":";
  append_json_string(result, line);
  if (is_name(event)) {
    result += ",\"event\":";
    append_json_string(result, event);
  }
  return result + fields;
}

void start_logging(const config::LogOptions& options) {
  auto logger =
      std::make_shared<spdlog::logger>("tandem", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  if (options.format == "json")
    logger->set_formatter(std::make_unique<JsonFormatter>());
  else
    logger->set_formatter(std::make_unique<TextFormatter>());
  logger->set_level(spdlog::level::from_str(options.level));
  logger->flush_on(spdlog::level::debug);
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace tandem::cli
