// See batch_validation.hpp.
#include "actors/batch_validation.hpp"

#include <optional>
#include <spdlog/spdlog.h>

#include "api/errors.hpp"

namespace tandem {

std::optional<Endpoint> batch_endpoint(std::string_view url) {
  if (url == "/v1/chat/completions") return Endpoint::chat_completions;
  if (url == "/v1/completions") return Endpoint::completions;
  return std::nullopt;
}

BatchValidation::BatchValidation(store::BatchInfo batch, const std::filesystem::path& input,
                                 ValidationLimits limits, api::ParseLimits parse_limits)
    : batch_(std::move(batch)),
      limits_(limits),
      parse_limits_(std::move(parse_limits)),
      input_(input, std::ios::binary) {
  if (!input_) add_error("invalid_file", "the input file cannot be read", "input_file_id", 0);
}

void BatchValidation::add_error(std::string code, std::string message, std::string param,
                                std::int64_t line) {
  if (errors_.size() >= limits_.max_errors) return;
  errors_.push_back({std::move(code), std::move(message), std::move(param),
                     line > 0 ? std::optional(line) : std::nullopt});
}

/// Never holds more than the allowed length of a line, whatever the file holds.
BatchValidation::Read BatchValidation::read_line(std::string& line) {
  line.clear();
  int c = input_.get();
  if (c == std::char_traits<char>::eof()) return Read::end;
  for (; c != std::char_traits<char>::eof() && c != '\n'; c = input_.get()) {
    if (line.size() == limits_.max_line_bytes) return Read::too_long;
    line.push_back(static_cast<char>(c));
  }
  return Read::line;
}

void BatchValidation::check_line(const std::string& line, std::int64_t offset,
                                 std::vector<store::NewItem>& items) {
  const auto parsed = api::parse_batch_line(line);
  if (!parsed)
    return add_error(api::batch_error_code(parsed.error()), parsed.error().message,
                     parsed.error().param, line_no_);
  if (parsed->url != batch_.endpoint)
    return add_error("mismatched_endpoint",
                     "url is '" + parsed->url + "', but the batch is for '" + batch_.endpoint + "'",
                     "url", line_no_);
  const auto call = api::parse_call(*batch_endpoint(batch_.endpoint), parsed->body, parse_limits_);
  if (!call)
    return add_error(api::batch_error_code(call.error()), call.error().message, call.error().param,
                     line_no_);
  if (call->call.stream)
    return add_error("invalid_value", "a batch item cannot be streamed; leave `stream` out",
                     "body.stream", line_no_);
  for (const auto& name : call->ignored_fields)
    spdlog::debug("field_ignored batch={} line={} field={}", batch_.id, line_no_, name);
  num_ignored_ += call->num_ignored;
  model_ = call->call.model;
  items.push_back({line_no_, parsed->custom_id, offset, static_cast<std::int64_t>(line.size())});
}

Result<bool> BatchValidation::step(store::Store& store) {
  std::vector<store::NewItem> items;
  std::string line;
  bool at_end = !input_;
  for (std::size_t n = 0; n < limits_.lines_per_step && !at_end; ++n) {
    const auto read = read_line(line);
    at_end = read != Read::line;
    if (read == Read::end) break;
    ++line_no_;
    if (read == Read::too_long) {
      add_error("line_too_long",
                "a line is longer than " + std::to_string(limits_.max_line_bytes) + " bytes", "",
                line_no_);
      break;
    }
    const auto begin = offset_;
    offset_ += static_cast<std::int64_t>(line.size()) + 1;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (++num_items_ > limits_.max_items) {
      add_error(
          "too_many_requests",
          "the file holds more than the allowed " + std::to_string(limits_.max_items) + " requests",
          "input_file_id", line_no_);
      at_end = true;
      break;
    }
    check_line(line, begin, items);
  }
  // Once a line is bad the batch will fail: what follows is checked, not stored.
  if (errors_.empty() && !items.empty()) {
    auto added = store.add_items(batch_.id, items);
    if (!added) return added.error();
    if (added->has_value()) errors_.push_back(std::move(**added));
  }
  if (at_end && num_items_ == 0 && errors_.empty())
    add_error("empty_file", "the input file holds no request", "input_file_id", 0);
  return at_end || errors_.size() >= limits_.max_errors;
}

}  // namespace tandem
