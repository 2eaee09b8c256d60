// A chat template, interpreted: Jinja2 as Hugging Face sets it up (sandboxed, trim_blocks,
// lstrip_blocks, loop controls, `generation`), in the subset that chat templates use; docs/chat.md
// has the list. Parsing and rendering are bounded and never throw. A template can read what it is
// given and the date, and nothing else.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"
#include "model/jinja/limits.hpp"
#include "model/jinja/value.hpp"

namespace tandem::model::jinja {

using Variables = std::vector<std::pair<std::string, Value>>;

class Template {
 public:
  /// Fails with `invalid_value` or `unsupported`; the message names the template and the line.
  /// `limits` are those of its renderings.
  static Result<Template> parse(std::string_view source, std::string name,
                                const Limits& limits = {});

  /// The text for `variables`. Fails with `invalid_value` (of the template's own making, by
  /// raise_exception, or by using what is not there) or `too_large` (a bound was reached).
  [[nodiscard]] Result<Text> render(const Variables& variables, std::time_t now) const {
    return render(variables, now, limits_);
  }
  /// The same within other limits.
  [[nodiscard]] Result<Text> render(const Variables& variables, std::time_t now,
                                    const Limits& limits) const;
  [[nodiscard]] const std::string& name() const { return name_; }
  /// The template's own text.
  [[nodiscard]] const std::string& source() const { return source_; }

 private:
  struct Tree;
  std::string name_, source_;
  Limits limits_;
  std::shared_ptr<const Tree> tree_;
};

/// JSON as a template's value; strings are marked as coming from outside if `from_outside`. None if
/// nested deeper than max_value_depth.
Value from_json(const boost::json::value& json, bool from_outside);

}  // namespace tandem::model::jinja
