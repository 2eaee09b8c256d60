// See report.hpp.
#include "bench/gpu_check/report.hpp"

#include <cmath>
#include <cstdio>
#include <fstream>

namespace tandem::gpu_check {
namespace {

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) result += c;
  }
  return result + "\"";
}

}  // namespace

void Report::check(const std::string& name, bool passed, const std::string& detail) {
  lines_.push_back({name, "check", detail, 0, passed});
  ++(passed ? passed_ : failed_);
}
void Report::figure(const std::string& name, double value, const std::string& unit) {
  lines_.push_back({name, "figure", unit, value, true});
}
void Report::note(const std::string& name, const std::string& text) {
  lines_.push_back({name, "note", text, 0, true});
}

std::string Report::table() const {
  std::string text;
  char line[512];
  for (const auto& one : lines_) {
    if (one.kind == "figure")
      std::snprintf(line, sizeof line, "%-58s %12s %s\n", one.name.c_str(),
                    number_text(one.value).c_str(), one.text.c_str());
    else
      std::snprintf(line, sizeof line, "%-58s %12s %s\n", one.name.c_str(),
                    one.kind == "note" ? ""
                    : one.passed       ? "passed"
                                       : "FAILED",
                    one.text.c_str());
    text += line;
  }
  return text + std::to_string(passed_) + " passed, " + std::to_string(failed_) + " failed\n";
}

std::string Report::json() const {
  std::string text = "{\"passed\": " + std::to_string(passed_) +
                     ", \"failed\": " + std::to_string(failed_) + ", \"lines\": [";
  for (std::size_t i = 0; i < lines_.size(); ++i) {
    const auto& one = lines_[i];
    text += std::string(i == 0 ? "" : ",") + "\n  {\"name\": " + quoted(one.name) +
            ", \"kind\": " + quoted(one.kind);
    if (one.kind == "figure")
      text += ", \"value\": " + (std::isfinite(one.value) ? number_text(one.value) : "null") +
              ", \"unit\": " + quoted(one.text);
    else
      text += ", \"passed\": " + std::string(one.passed ? "true" : "false") +
              ", \"text\": " + quoted(one.text);
    text += "}";
  }
  return text + "\n]}\n";
}

bool Report::write_json(const std::string& file) const {
  if (file.empty()) return true;
  const auto unfinished = file + ".tmp";
  std::ofstream out(unfinished, std::ios::trunc);
  out << json();
  out.close();
  return out && std::rename(unfinished.c_str(), file.c_str()) == 0;
}

}  // namespace tandem::gpu_check
