// Template text to tokens, as Jinja2 cuts it with the settings of Hugging Face: trim_blocks (the
// line end after a block tag goes) and lstrip_blocks (so do blanks before one, at the beginning of
// a line); "-" and "+" inside of a tag overrule both. Internal to model/jinja.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tandem::model::jinja {

struct Token {
  enum class Kind : std::uint8_t {
    data,            ///< text outside of tags
    block_begin,     ///< {%
    block_end,       ///< %}
    variable_begin,  ///< {{
    variable_end,    ///< }}
    name,
    string,  ///< `text` has its escapes resolved
    integer,
    real,
    symbol,  ///< operators and brackets
    end,
  };
  Kind kind = Kind::end;
  int line = 1;
  std::string text;
};

/// Where a template is wrong, and how.
struct Problem {
  int line = 0;
  std::string message;
};

/// All tokens of `source`, closed by one of kind `end`; or the first problem.
std::vector<Token> tokenize(std::string_view source, std::optional<Problem>& problem);

}  // namespace tandem::model::jinja
