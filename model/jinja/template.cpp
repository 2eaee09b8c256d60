#include "model/jinja/template.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "model/jinja/evaluator.hpp"
#include "model/jinja/parser.hpp"
#include "model/utf8.hpp"

namespace tandem::model::jinja {
namespace {

Error named(const std::string& name, int line, const std::string& message, Errc code) {
  return error(code, "chat template " + name + ", line " + std::to_string(line) + ": " + message,
               "messages");
}

}  // namespace

struct Template::Tree {
  Block block;
};

Result<Template> Template::parse(std::string_view source, std::string name, const Limits& limits) {
  Template made;
  made.limits_ = limits;
  made.name_ = std::move(name);
  made.source_ = well_formed(source);
  Parser parser(made.source_);
  auto tree = std::make_shared<Tree>();
  tree->block = parser.parse_template();
  if (const auto& problem = parser.problem()) {
    auto reason = named(made.name_, problem->line, problem->message, Errc::unsupported);
    reason.param = "chat_template";
    return reason;
  }
  made.tree_ = std::move(tree);
  return made;
}

Result<Text> Template::render(const Variables& variables, std::time_t now,
                              const Limits& limits) const {
  Evaluator evaluator(limits, now);
  Text text = evaluator.run(tree_->block, variables);
  if (const auto& failure = evaluator.failure())
    return named(name_, failure->line, failure->message, failure->code);
  return text;
}

Value from_json(const boost::json::value& json, bool from_outside) {
  if (json.is_bool()) return Value(json.get_bool());
  if (json.is_int64()) return Value(json.get_int64());
  if (json.is_double()) return Value(json.get_double());
  if (json.is_uint64()) return Value(static_cast<double>(json.get_uint64()));
  if (json.is_string()) return Value::text(std::string(json.get_string()), from_outside);
  if (const auto* array = json.if_array()) {
    std::vector<Value> items;
    for (const auto& item : *array) items.push_back(from_json(item, from_outside));
    return make_list(std::move(items)).value_or(None());
  }
  if (const auto* object = json.if_object()) {
    std::vector<std::pair<Value, Value>> entries;
    for (const auto& [key, value] : *object)
      entries.emplace_back(Value::text(std::string(key), from_outside),
                           from_json(value, from_outside));
    return make_dict(std::move(entries)).value_or(None());
  }
  return None();
}

}  // namespace tandem::model::jinja
