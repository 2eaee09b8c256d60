// One call of a tool, written as a JSON object with the tool's name and its arguments, as it
// arrives. The call is announced once its name is known and its arguments have begun; from then on
// the arguments leave as they come. Until then it may turn out to be none, and is content. Internal
// to model/answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/answer/answer_part.hpp"
#include "model/answer/json_scanner.hpp"

namespace tandem::model {

/// Names of tools that a call may have; empty: any.
using ToolNames = std::vector<std::string>;

class CallReader {
 public:
  static constexpr std::size_t max_name_bytes = 256;
  /// Of a call that is not announced yet: beyond it, it is none.
  static constexpr std::size_t max_held_bytes = 64 << 10;

  /// The call's number is `call`; `marker` is what stood in front of it, and `names` outlives the
  /// reader.
  CallReader(std::uint32_t call, std::string marker, const ToolNames& names)
      : call_(call), names_(names), raw_(std::move(marker)) {}

  /// Reads `text` up to the end of the call, or up to the byte with which it fails, and returns how
  /// many bytes that took. Nothing may be read once it is done or has failed.
  std::size_t push(std::string_view text, AnswerParts& out);
  /// Nothing more comes.
  void finish(AnswerParts& out);

  [[nodiscard]] bool done() const { return scanner_.done() && !failed_; }
  /// It is no call, or, if announced, one whose JSON broke off.
  [[nodiscard]] bool failed() const { return failed_; }
  /// Parts of the call have left.
  [[nodiscard]] bool announced() const { return announced_; }

 private:
  enum class Member : std::uint8_t { none, name, arguments, other };

  bool take(char byte);
  bool end_key();
  bool end_name();
  bool read(char byte, AnswerParts& out);
  bool announce_if_known(AnswerParts& out);

  std::uint32_t call_;
  const ToolNames& names_;
  JsonScanner scanner_;
  Member member_ = Member::none;  ///< the object's member whose value is expected or being read
  std::string word_;              ///< the key or the name that is being read, with its quotes
  std::string name_;
  std::string arguments_;  ///< that have not left yet
  std::string raw_;        ///< all of it as it was written, until it is announced
  bool has_arguments_ = false, announced_ = false, failed_ = false;
};

}  // namespace tandem::model
