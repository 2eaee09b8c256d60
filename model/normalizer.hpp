// The normalizer of tokenizer.json: a chain of rewritings of the whole text before it is cut.
// Internal to model/.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "model/regex.hpp"
#include "model/unicode.hpp"

namespace tandem::model {

class Normalizer {
 public:
  struct Form {
    NormalForm form;
  };
  struct Lowercase {};
  struct Prepend {  ///< to texts that are not empty
    std::string prefix;
  };
  struct Replace {
    std::string from;  ///< not empty
    std::string to;
  };
  struct ReplaceMatches {
    Regex pattern;
    std::string to;
  };
  struct Strip {  ///< white space
    bool left;
    bool right;
  };
  using Step = std::variant<Form, Lowercase, Prepend, Replace, ReplaceMatches, Strip>;

  template <class OneStep>
  void add(OneStep step) {
    steps_.emplace_back(std::in_place_type<OneStep>, std::move(step));
  }
  [[nodiscard]] bool empty() const { return steps_.empty(); }
  /// No text has fewer bytes afterwards.
  [[nodiscard]] bool only_lengthens() const;

  /// `text` (well-formed UTF-8) after all steps: itself, or a view into one of the buffers.
  [[nodiscard]] std::string_view apply(std::string_view text,
                                       std::pair<std::string, std::string>& buffers) const;

 private:
  std::vector<Step> steps_;
};

/// Appends `text` with every `from` replaced by `to`.
void append_replaced(std::string_view text, std::string_view from, std::string_view to,
                     std::string& out);
/// The same for the matches of `pattern`; what follows a match given up on stays.
void append_replaced(std::string_view text, const Regex& pattern, std::string_view to,
                     std::string& out);

}  // namespace tandem::model
