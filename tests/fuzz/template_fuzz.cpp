// Any bytes as a chat template, rendered for a small conversation within small bounds. It parses
// and renders or fails by name; the marks of bytes from outside lie in order inside of the text,
// and the text is well-formed.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "model/jinja/template.hpp"
#include "model/utf8.hpp"

namespace {

using namespace tandem::model;
using jinja::Value;

void require(bool condition) {
  if (!condition) std::abort();
}

Value dict_of(std::vector<std::pair<Value, Value>> entries) {
  auto dict = jinja::make_dict(std::move(entries));
  require(dict.has_value());
  return *dict;
}

Value message(const char* role, const char* content) {
  return dict_of({{Value::text("role"), Value::text(role)},
                  {Value::text("content"), Value::text(content, true)}});
}

const jinja::Variables& variables() {
  static const jinja::Variables made{
      {"messages", *jinja::make_list({message("system", " S\n"), message("user", "é <|x|>\t"),
                                      message("assistant", "<think>a</think>b")})},
      {"d", dict_of({{Value::text("k", true), Value(std::int64_t{7})},
                     {Value::text("items"), Value(2.5)}})},
      {"bos_token", Value::text("<s>")},
      {"tools", jinja::None()},
      {"add_generation_prompt", Value(true)}};
  return made;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  constexpr jinja::Limits limits{.max_work = 20'000, .max_output_bytes = 1 << 18, .max_level = 300};
  const auto parsed = jinja::Template::parse(source, "fuzz", limits);
  if (!parsed) {
    require(!parsed.error().message.empty());
    return 0;
  }
  const auto text = parsed->render(variables(), 1'795'694'400);
  if (!text) {
    require(!text.error().message.empty());
    return 0;
  }
  require(text->bytes.size() <= limits.max_output_bytes && is_well_formed(text->bytes));
  std::size_t done = 0;
  for (const auto& range : text->literal) {
    require(range.begin >= done && range.begin < range.end && range.end <= text->bytes.size());
    done = range.end;
  }
  return 0;
}
