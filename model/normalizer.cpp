#include "model/normalizer.hpp"

#include <algorithm>

#include "model/utf8.hpp"

namespace tandem::model {
namespace {

std::string_view stripped(std::string_view text, const Normalizer::Strip& sides) {
  while (sides.left && !text.empty()) {
    const Utf8Step step = utf8_step(text, 0);
    if (!is_white_space(step.code)) break;
    text.remove_prefix(step.length);
  }
  while (sides.right && !text.empty()) {
    const auto [code, begin] = character_before(text, text.size());
    if (!is_white_space(code)) break;
    text = text.substr(0, begin);
  }
  return text;
}

/// Appends what one step makes of a text.
struct Rewrite {
  std::string_view text;
  std::string& out;

  void operator()(const Normalizer::Form& step) const { append_normalized(step.form, text, out); }
  void operator()(const Normalizer::Lowercase&) const { append_lower_case(text, out); }
  void operator()(const Normalizer::Prepend& step) const {
    if (!text.empty()) out.append(step.prefix).append(text);
  }
  void operator()(const Normalizer::Replace& step) const {
    append_replaced(text, step.from, step.to, out);
  }
  void operator()(const Normalizer::ReplaceMatches& step) const {
    append_replaced(text, step.pattern, step.to, out);
  }
  void operator()(const Normalizer::Strip& step) const { out.append(stripped(text, step)); }
};

}  // namespace

std::string_view Normalizer::apply(std::string_view text,
                                   std::pair<std::string, std::string>& buffers) const {
  for (const Step& step : steps_) {
    buffers.second.clear();
    std::visit(Rewrite{text, buffers.second}, step);
    std::swap(buffers.first, buffers.second);
    text = buffers.first;
  }
  return text;
}

bool Normalizer::only_lengthens() const {
  return std::all_of(steps_.begin(), steps_.end(), [](const Step& step) {
    const auto* replace = std::get_if<Replace>(&step);
    return std::holds_alternative<Prepend>(step) ||
           (replace != nullptr && replace->to.size() >= replace->from.size());
  });
}

void append_replaced(std::string_view text, std::string_view from, std::string_view to,
                     std::string& out) {
  std::size_t at = 0;
  for (std::size_t found = text.find(from); found != std::string_view::npos;
       found = text.find(from, at)) {
    out.append(text.substr(at, found - at)).append(to);
    at = found + from.size();
  }
  out.append(text.substr(at));
}

void append_replaced(std::string_view text, const Regex& pattern, std::string_view to,
                     std::string& out) {
  std::size_t at = 0;
  while (at < text.size()) {
    const auto match = pattern.next_match(text, at);
    if (match.kind != Regex::Match::Kind::found) break;
    out.append(text.substr(at, match.begin - at)).append(to);
    at = match.end;
  }
  out.append(text.substr(at));
}

}  // namespace tandem::model
