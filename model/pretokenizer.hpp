// Cuts text into the words that byte-pair merging stays inside of: the pre_tokenizer of
// tokenizer.json, as a chain of steps over regular expressions (PCRE2). Internal to model/.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"

namespace tandem::model {

/// A compiled expression over well-formed UTF-8. Immutable, safe to share between threads.
class Regex {
 public:
  /// `where` names the pattern's place in errors.
  static Result<Regex> compile(std::string_view pattern, const std::string& where);
  /// An expression that matches `text` literally.
  static Result<Regex> literal(std::string_view text, const std::string& where);

  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  /// Calls `match(begin, end)` for each non-empty match, left to right. Returns false if the
  /// matcher gave up (its limits of steps and memory), with what it had found until then.
  bool for_each_match(std::string_view text,
                      const std::function<void(std::size_t, std::size_t)>& match) const;

 private:
  struct Compiled;
  explicit Regex(std::unique_ptr<Compiled> compiled);
  std::unique_ptr<Compiled> compiled_;
};

class Pretokenizer {
 public:
  enum class Step : std::uint8_t {
    isolate,       ///< matches, and the gaps between them, become pieces
    keep_gaps,     ///< matches are dropped
    keep_matches,  ///< gaps are dropped
    prefix_space,  ///< a space is put before each piece that does not begin with one
  };

  void add_split(Step step, Regex regex);
  void add_prefix_space();

  /// Calls `word` for each piece of `text` (well-formed UTF-8), in order. Where an expression gives
  /// up, the rest of its piece stays uncut: the tokens still spell the same bytes.
  void for_each_word(std::string_view text,
                     const std::function<void(std::string_view)>& word) const;

 private:
  struct Stage {
    Step step;
    std::unique_ptr<Regex> regex;  ///< null for prefix_space
  };
  void run(std::size_t stage, std::string_view piece,
           const std::function<void(std::string_view)>& word) const;

  std::vector<Stage> stages_;
};

}  // namespace tandem::model
