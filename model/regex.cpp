#include "model/regex.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <new>
#include <pcre2.h>
#include <utility>

namespace tandem::model {
namespace {

// Bounds of one match, so that a pathological expression ends. The patterns of real models stay
// linear in the text and below them.
constexpr std::uint32_t max_match_steps = 10'000'000;
constexpr std::uint32_t max_heap_kib = 64 * 1024;
constexpr std::size_t jit_stack_start = 32 * 1024;
constexpr std::size_t jit_stack_limit = 1024 * 1024;
constexpr std::size_t max_pattern_bytes = 16 * 1024;

template <class T, void (*release)(T*)>
struct Releaser {
  void operator()(T* object) const { release(object); }
};
using Code = std::unique_ptr<pcre2_code, Releaser<pcre2_code, pcre2_code_free>>;
using MatchData =
    std::unique_ptr<pcre2_match_data, Releaser<pcre2_match_data, pcre2_match_data_free>>;
using MatchContext =
    std::unique_ptr<pcre2_match_context, Releaser<pcre2_match_context, pcre2_match_context_free>>;
using JitStack = std::unique_ptr<pcre2_jit_stack, Releaser<pcre2_jit_stack, pcre2_jit_stack_free>>;

/// What a thread needs to match; made once per thread.
struct Matcher {
  MatchData data{pcre2_match_data_create(1, nullptr)};
  MatchContext context{pcre2_match_context_create(nullptr)};
  JitStack stack{pcre2_jit_stack_create(jit_stack_start, jit_stack_limit, nullptr)};

  Matcher() {
    if (data == nullptr || context == nullptr) throw std::bad_alloc();
    pcre2_set_match_limit(context.get(), max_match_steps);
    pcre2_set_heap_limit(context.get(), max_heap_kib);
    // Without a JIT there is no stack, and none is needed.
    if (stack != nullptr) pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }
};
Matcher& matcher() {
  thread_local Matcher own;
  return own;
}

std::string pcre_message(int code) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

}  // namespace

struct Regex::Compiled {
  Code code;
  bool jit = false;
};

Regex::Regex(std::unique_ptr<Compiled> compiled) : compiled_(std::move(compiled)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Result<Regex> Regex::compile(std::string_view pattern, const std::string& where) {
  const auto refuse = [&](const std::string& problem) {
    return error(Errc::invalid_value,
                 where + ": the pattern " + std::string(pattern.substr(0, 200)) + " " + problem,
                 where);
  };
  if (pattern.empty() || pattern.size() > max_pattern_bytes) {
    return refuse("must have 1 to " + std::to_string(max_pattern_bytes) + " bytes");
  }
  const auto translated = pcre_pattern(pattern, where);
  if (!translated) return translated.error();
  int failure = 0;
  PCRE2_SIZE place = 0;
  // Multiline: ^ and $ always mean lines in the syntax that patterns are written in.
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated->data()), translated->size(),
                          PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &failure, &place, nullptr));
  if (code == nullptr) {
    return refuse("is not valid: " + pcre_message(failure) + " (at byte " + std::to_string(place) +
                  " of " + *translated + ")");
  }
  // If there is no JIT, matching is only slower.
  const bool jit = pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE) == 0;
  return Regex(std::make_unique<Compiled>(Compiled{std::move(code), jit}));
}

Result<Regex> Regex::literal(std::string_view text, const std::string& where) {
  std::string pattern;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = byte >= 0x80 || std::isalnum(byte) != 0 || std::isspace(byte) != 0;
    if (!plain) pattern += '\\';
    pattern += c;
  }
  return compile(pattern, where);
}

Regex::Match Regex::next_match(std::string_view text, std::size_t from) const {
  Matcher& own = matcher();
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  // An empty match tells nothing and would be found again for ever.
  constexpr std::uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
  int found = PCRE2_ERROR_JIT_STACKLIMIT;
  if (compiled_->jit) {
    found = pcre2_jit_match(compiled_->code.get(), subject, text.size(), from, options,
                            own.data.get(), own.context.get());
  }
  if (found == PCRE2_ERROR_JIT_STACKLIMIT) {
    found = pcre2_match(compiled_->code.get(), subject, text.size(), from, options | PCRE2_NO_JIT,
                        own.data.get(), own.context.get());
  }
  if (found == PCRE2_ERROR_NOMATCH) return {};
  if (found < 0) return {Match::Kind::gave_up, from, from};
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(own.data.get());
  return {Match::Kind::found, range[0], range[1]};
}

}  // namespace tandem::model
