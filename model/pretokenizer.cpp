#include "model/pretokenizer.hpp"

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
};

Regex::Regex(std::unique_ptr<Compiled> compiled) : compiled_(std::move(compiled)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Result<Regex> Regex::compile(std::string_view pattern, const std::string& where) {
  const auto refuse = [&](const std::string& problem, Errc code) {
    return error(code,
                 where + ": the pattern " + std::string(pattern.substr(0, 200)) + " " + problem,
                 where);
  };
  if (pattern.empty() || pattern.size() > max_pattern_bytes) {
    return refuse("must have 1 to " + std::to_string(max_pattern_bytes) + " bytes",
                  Errc::invalid_value);
  }
  // Oniguruma, whose syntax these patterns are in, intersects classes with &&; PCRE2 reads two
  // characters there.
  if (pattern.find("&&") != std::string_view::npos) {
    return refuse("intersects character classes (&&), which is not supported", Errc::unsupported);
  }
  int failure = 0;
  PCRE2_SIZE place = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                          PCRE2_UTF | PCRE2_UCP, &failure, &place, nullptr));
  if (code == nullptr) {
    return refuse("is not valid at byte " + std::to_string(place) + ": " + pcre_message(failure),
                  Errc::invalid_value);
  }
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // If it cannot, matching is only slower.
  return Regex(std::make_unique<Compiled>(Compiled{std::move(code)}));
}

Result<Regex> Regex::literal(std::string_view text, const std::string& where) {
  if (text.find("\\E") != std::string_view::npos) {
    return error(Errc::unsupported, where + ": a literal with \\E is not supported", where);
  }
  std::string pattern = "\\Q";
  pattern += text;
  pattern += "\\E";
  if (text.empty()) pattern.clear();
  return compile(pattern, where);
}

bool Regex::for_each_match(std::string_view text,
                           const std::function<void(std::size_t, std::size_t)>& match) const {
  Matcher& own = matcher();
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const auto run = [&](std::size_t at, std::uint32_t options) {
    return pcre2_match(compiled_->code.get(), subject, text.size(), at,
                       PCRE2_NO_UTF_CHECK | options, own.data.get(), own.context.get());
  };
  std::size_t at = 0;
  std::size_t done = 0;
  while (at < text.size()) {
    // An empty match tells nothing and would be found again for ever.
    int found = run(at, PCRE2_NOTEMPTY);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = run(at, PCRE2_NOTEMPTY | PCRE2_NO_JIT);
    if (found == PCRE2_ERROR_NOMATCH) return true;
    if (found < 0) return false;
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(own.data.get());
    const std::size_t begin = range[0];
    const std::size_t end = range[1];
    if (begin < done || end <= begin) return false;  // \K can move a match's begin anywhere.
    match(begin, end);
    at = done = end;
  }
  return true;
}

void Pretokenizer::add_split(Step step, Regex regex) {
  stages_.push_back({step, std::make_unique<Regex>(std::move(regex))});
}

void Pretokenizer::add_prefix_space() { stages_.push_back({Step::prefix_space, nullptr}); }

void Pretokenizer::for_each_word(std::string_view text,
                                 const std::function<void(std::string_view)>& word) const {
  if (!text.empty()) run(0, text, word);
}

void Pretokenizer::run(std::size_t stage, std::string_view piece,
                       const std::function<void(std::string_view)>& word) const {
  if (stage == stages_.size()) {
    word(piece);
    return;
  }
  const Step step = stages_[stage].step;
  if (step == Step::prefix_space) {
    if (piece.front() == ' ') {
      run(stage + 1, piece, word);
    } else {
      run(stage + 1, " " + std::string(piece), word);
    }
    return;
  }
  // Matches are collected first: the next stage uses this thread's matcher as well.
  std::vector<std::pair<std::size_t, std::size_t>> matches;
  const bool finished = stages_[stage].regex->for_each_match(
      piece, [&](std::size_t begin, std::size_t end) { matches.emplace_back(begin, end); });
  std::size_t at = 0;
  const auto gap = [&](std::size_t end, bool keep) {
    if (keep && end > at) run(stage + 1, piece.substr(at, end - at), word);
  };
  for (const auto& [begin, end] : matches) {
    gap(begin, step != Step::keep_matches);
    if (step != Step::keep_gaps) run(stage + 1, piece.substr(begin, end - begin), word);
    at = end;
  }
  gap(piece.size(), step != Step::keep_matches || !finished);
}

}  // namespace tandem::model
