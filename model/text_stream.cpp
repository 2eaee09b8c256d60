// A stop string ends the text where its last byte arrives, the longest first if several end there:
// so the cut does not depend on how the text was divided into tokens.
#include "model/text_stream.hpp"

#include <algorithm>

#include "model/answer/markers.hpp"

namespace tandem::model {
namespace {

struct StopMatch {
  std::size_t begin = std::string::npos;
  std::size_t end = std::string::npos;
};

/// The stop string that ends first in `text`.
StopMatch first_stop(std::string_view text, const std::vector<std::string>& stop) {
  StopMatch first;
  for (const auto& one : stop) {
    const std::size_t begin = text.find(one);
    if (begin == std::string_view::npos) continue;
    const std::size_t end = begin + one.size();
    if (end < first.end || (end == first.end && begin < first.begin)) first = {begin, end};
  }
  return first;
}

/// How many bytes at the end of `text` may be the beginning of a stop string.
std::size_t longest_beginning_of_any(std::string_view text, const std::vector<std::string>& stop) {
  std::size_t longest = 0;
  for (const auto& one : stop) longest = std::max(longest, longest_beginning(text, one));
  return longest;
}

}  // namespace

TextStream::TextStream(TokenizerPtr tokenizer, std::vector<std::string> stop, bool include_stop,
                       std::vector<TokenId> shown, TextPlace place)
    : tokenizer_(std::move(tokenizer)),
      decoder_(*tokenizer_, true, std::move(shown), place),
      stop_(std::move(stop)),
      include_stop_(include_stop) {
  std::erase_if(stop_, [](const std::string& one) { return one.empty(); });
}

std::string TextStream::push(TokenId token) {
  if (stopped_) return {};
  const auto before = held_.size();
  decoder_.push(token, held_);
  decoded_bytes_ += held_.size() - before;
  return release(false);
}

std::string TextStream::finish() {
  if (stopped_) return {};
  const auto before = held_.size();
  decoder_.finish(held_);
  decoded_bytes_ += held_.size() - before;
  return release(true);
}

std::string TextStream::release(bool at_end) {
  const StopMatch match = first_stop(held_, stop_);
  std::string out;
  if (match.end != std::string::npos) {
    stopped_ = true;
    out = held_.substr(0, include_stop_ ? match.end : match.begin);
    held_.clear();
    return out;
  }
  const std::size_t kept = at_end ? 0 : longest_beginning_of_any(held_, stop_);
  out = held_.substr(0, held_.size() - kept);
  held_.erase(0, out.size());
  return out;
}

}  // namespace tandem::model
