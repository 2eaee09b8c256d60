// JSONL traces: Mooncake's fields, whose hash ids name blocks of 512 prompt tokens, and our own.
#include <boost/json.hpp>
#include <cmath>
#include <limits>

#include "sim/trace_builder.hpp"

namespace tandem::sim {
namespace json = boost::json;
namespace {

constexpr std::string_view mooncake_fields = "timestamp, input_length, output_length, hash_ids";
constexpr std::string_view own_fields =
    "arrival, prompt_tokens or prompt, output_tokens, prefix_ids, class, deadline";

std::optional<double> number(const json::value& value) {
  if (value.is_double() && std::isfinite(value.get_double())) return value.get_double();
  if (value.is_int64()) return static_cast<double>(value.get_int64());
  if (value.is_uint64()) return static_cast<double>(value.get_uint64());
  return std::nullopt;
}

/// One line taken apart field by field; the first thing wrong is kept.
class Fields {
 public:
  explicit Fields(const json::object& object) : object_(object) {}

  double seconds(std::string_view name, double per_second) {
    const auto* value = find(name);
    if (!value) return 0;
    const auto read = number(*value);
    if (!read) wrong(name, "is no number");
    return read.value_or(0) / per_second;
  }
  Tokens tokens(std::string_view name) {
    const auto* value = find(name);
    if (!value) return {};
    if (!value->is_int64()) wrong(name, "is no whole number of tokens");
    return Tokens(value->is_int64() ? value->get_int64() : 0);
  }
  /// Empty if the field is not there.
  template <class Element>
  std::vector<Element> ids(std::string_view name) {
    std::vector<Element> result;
    const auto* value = object_.if_contains(name);
    if (!value) return result;
    if (!value->is_array()) {
      wrong(name, "is no list");
      return result;
    }
    for (const auto& id : value->get_array()) {
      const bool whole =
          id.is_int64() && id.get_int64() >= 0 &&
          (sizeof(Element) > 4 || id.get_int64() <= std::numeric_limits<std::int32_t>::max());
      if (!whole) {
        wrong(name, "holds something that is no id: " + excerpt(json::serialize(id)));
        return result;
      }
      result.push_back(static_cast<Element>(id.get_int64()));
    }
    return result;
  }
  std::optional<RequestClass> request_class() {
    const auto* value = object_.if_contains("class");
    if (!value) return std::nullopt;
    if (value->is_string() && value->get_string() == "online") return RequestClass::online;
    if (value->is_string() && value->get_string() == "offline") return RequestClass::offline;
    wrong("class", "is neither \"online\" nor \"offline\"");
    return std::nullopt;
  }
  [[nodiscard]] bool has(std::string_view name) const { return object_.contains(name); }
  void wrong(std::string_view name, const std::string& what) {
    if (rule_.empty()) rule_ = "'" + std::string(name) + "' " + what;
  }
  [[nodiscard]] const std::string& rule() const { return rule_; }

 private:
  const json::value* find(std::string_view name) {
    const auto* value = object_.if_contains(name);
    if (!value) wrong(name, "is missing");
    return value;
  }

  const json::object& object_;
  std::string rule_;
};

std::string add_mooncake(Fields& fields, TraceBuilder& builder) {
  WorkloadRequest request;
  request.request_class = builder.options().request_class;
  const double seconds = fields.seconds("timestamp", 1000);
  request.prompt_tokens = fields.tokens("input_length");
  request.output_tokens = fields.tokens("output_length");
  request.prefix_ids = fields.ids<std::uint64_t>("hash_ids");
  return fields.rule().empty() ? builder.add(seconds, std::move(request)) : fields.rule();
}

std::string add_own(Fields& fields, TraceBuilder& builder) {
  WorkloadRequest request;
  request.request_class = fields.request_class().value_or(builder.options().request_class);
  const bool online = request.request_class == RequestClass::online;
  const double seconds = online || fields.has("arrival") ? fields.seconds("arrival", 1) : 0;
  request.prompt = fields.ids<TokenId>("prompt");
  if (!request.prompt.empty())
    request.prompt_tokens = Tokens(static_cast<std::int64_t>(request.prompt.size()));
  if (request.prompt.empty() || fields.has("prompt_tokens")) {
    const auto stated = fields.tokens("prompt_tokens");
    if (!request.prompt.empty() && stated != request.prompt_tokens)
      fields.wrong("prompt_tokens", "is not the length of 'prompt'");
    request.prompt_tokens = stated;
  }
  request.output_tokens = fields.tokens("output_tokens");
  request.prefix_ids = fields.ids<std::uint64_t>("prefix_ids");
  if (!request.prompt.empty() && !request.prefix_ids.empty())
    fields.wrong("prefix_ids", "stands beside 'prompt'; one of them is enough");
  if (fields.has("deadline")) {
    const double deadline = fields.seconds("deadline", 1);
    if (!(deadline >= 0 && deadline < 1e9))
      fields.wrong("deadline", "is no time between 0 and a billion seconds");
    else
      request.deadline =
          std::chrono::duration_cast<Duration>(std::chrono::duration<double>(deadline));
  }
  return fields.rule().empty() ? builder.add(seconds, std::move(request)) : fields.rule();
}

}  // namespace

Result<Trace> read_jsonl_trace(const std::filesystem::path& file, const TraceOptions& options) {
  auto lines = LineReader::open(file);
  if (!lines) return lines.error();
  TraceBuilder builder(file, options);
  std::optional<bool> mooncake;
  std::string line;
  while (!builder.full()) {
    const auto more = lines->next(line);
    if (!more) return more.error();
    if (!*more) break;
    json::error_code failure;
    const auto value = json::parse(line, failure);
    if (failure || !value.is_object()) return lines->wrong(excerpt(line) + " is no JSON object");
    Fields fields(value.get_object());
    if (!mooncake) mooncake = fields.has("input_length");
    const auto rule = *mooncake ? add_mooncake(fields, builder) : add_own(fields, builder);
    if (!rule.empty())
      return lines->wrong(rule + "; the fields are " +
                          std::string(*mooncake ? mooncake_fields : own_fields));
  }
  return std::move(builder).finish();
}

}  // namespace tandem::sim
