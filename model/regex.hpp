// Regular expressions of tokenizer.json: Oniguruma's syntax (the reference's engine) translated to
// PCRE2, matched over UTF-8 with its JIT under limits. Internal to model/.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "core/result.hpp"

namespace tandem::model {

/// `pattern` in PCRE2's syntax with the same meaning; fails with `unsupported`, naming what is not
/// offered. White space, word characters and scripts are where the two differ silently.
Result<std::string> pcre_pattern(std::string_view pattern, const std::string& where);

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

  struct Match {
    enum class Kind : unsigned char { found, none, gave_up };
    Kind kind = Kind::none;
    std::size_t begin = 0;
    std::size_t end = 0;  ///< > begin where found
  };
  /// The next non-empty match that begins at `from` or later. `gave_up`: the matcher met its limits
  /// of steps and memory.
  [[nodiscard]] Match next_match(std::string_view text, std::size_t from) const;

 private:
  struct Compiled;
  explicit Regex(std::unique_ptr<Compiled> compiled);
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace tandem::model
