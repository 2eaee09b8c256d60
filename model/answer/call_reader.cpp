#include "model/answer/call_reader.hpp"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <utility>

namespace tandem::model {

std::size_t CallReader::push(std::string_view text, AnswerParts& out) {
  std::size_t taken = 0;
  while (taken < text.size() && !scanner_.done() && !failed_) {
    failed_ = !read(text[taken], out);
    if (!failed_) ++taken;
  }
  if (announced_) {
    append(out, AnswerPart{.kind = AnswerPart::Kind::call,
                           .text = std::exchange(arguments_, {}),
                           .call = call_});
  } else if (failed_) {
    append_content(out, std::exchange(raw_, {}));
  }
  return taken;
}

void CallReader::finish(AnswerParts& out) {
  if (!announced_) append_content(out, std::exchange(raw_, {}));
}

bool CallReader::read(char byte, AnswerParts& out) {
  if (!take(byte)) return false;
  if (announced_) return true;
  if (raw_.size() >= max_held_bytes || !announce_if_known(out)) return false;
  if (!announced_) raw_ += byte;
  return true;
}

/// One byte. Members of the outermost object are looked at, everything inside of them is only
/// checked to be JSON.
bool CallReader::take(char byte) {
  const bool outermost = scanner_.depth() == 1;
  const bool begins_value = scanner_.expects_value() && !is_json_space(byte);
  const bool was_in_string = scanner_.in_string();
  if (!scanner_.push(byte)) return false;
  const bool in_arguments = member_ == Member::arguments;
  if (!outermost) {
    if (in_arguments) arguments_ += byte;
    if (in_arguments && scanner_.depth() == 1) member_ = Member::none;
    return true;
  }
  if (begins_value) {
    if (in_arguments) {
      arguments_ += byte;
      has_arguments_ = true;
      return byte == '{';
    }
    if (member_ == Member::name && byte != '"') return false;
  }
  if (!was_in_string && scanner_.in_string()) word_.clear();
  if (!was_in_string && !scanner_.in_string()) return true;
  if (word_.size() <= max_name_bytes) word_ += byte;
  if (scanner_.in_string()) return true;
  return scanner_.expects_colon() ? end_key() : end_name();
}

/// Once the call is announced, further members mean nothing. Before that, one that no call has
/// tells that this is none: an answer in JSON is not kept from its reader for long.
bool CallReader::end_key() {
  const bool is_name = word_ == "\"name\"";
  const bool is_arguments = word_ == "\"arguments\"" || word_ == "\"parameters\"";
  member_ = Member::other;
  if (announced_) return true;
  if (is_name && name_.empty()) member_ = Member::name;
  if (is_arguments && !has_arguments_) member_ = Member::arguments;
  return member_ != Member::other || word_ == "\"type\"" || word_ == "\"id\"";
}

bool CallReader::end_name() {
  if (std::exchange(member_, Member::none) != Member::name) return true;
  boost::system::error_code failure;
  const auto name = boost::json::parse(word_, failure);
  if (word_.size() > max_name_bytes || failure || !name.is_string()) return false;
  name_ = name.as_string();
  if (name_.empty()) return false;
  return names_.empty() || std::find(names_.begin(), names_.end(), name_) != names_.end();
}

/// False: it is complete, and no call.
bool CallReader::announce_if_known(AnswerParts& out) {
  if (scanner_.done() && name_.empty()) return false;
  // A tool without parameters may be called without arguments.
  if (scanner_.done() && !has_arguments_) {
    has_arguments_ = true;
    arguments_ = "{}";
  }
  if (name_.empty() || !has_arguments_) return true;
  announced_ = true;
  raw_.clear();
  append(out, AnswerPart{.kind = AnswerPart::Kind::call,
                         .text = std::exchange(arguments_, {}),
                         .call = call_,
                         .name = name_});
  return true;
}

}  // namespace tandem::model
