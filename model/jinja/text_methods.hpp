// The methods of Python's str. Internal to model/jinja.
#pragma once

#include <string>
#include <string_view>

#include "model/jinja/evaluator.hpp"

namespace tandem::model::jinja {

/// Python's str has a method of that name (not all of them are offered; calling one that is not
/// fails by name).
bool is_text_method(std::string_view name);
Value call_text_method(Evaluator& evaluator, const TextPtr& self, const std::string& name,
                       const Arguments& given);

/// str.replace(); all occurrences if `count` is negative.
TextPtr replace_text(Evaluator& evaluator, const Text& text, const Text& old, const Text& with,
                     std::int64_t count);
/// sep.join(items), each of which becomes a text.
TextPtr join_texts(Evaluator& evaluator, const Text& separator, const std::vector<Value>& items,
                   bool only_texts);

/// What markup puts in place of &, <, >, ' and ".
TextPtr escape_html(const Text& text);

}  // namespace tandem::model::jinja
