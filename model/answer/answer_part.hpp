// What the text of an answer turned out to be: content, reasoning, or calls of tools. Parts come in
// the order in which the model wrote them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tandem::model {

struct AnswerPart {
  enum class Kind : std::uint8_t { content, reasoning, call };
  Kind kind = Kind::content;
  std::string text;        ///< of a call: its arguments, JSON as the model wrote it
  std::uint32_t call = 0;  ///< number of the call, from 0
  std::string name;        ///< of the tool, in a call's first part; empty in the others
  std::string id;          ///< likewise; parsers leave it empty, and api/ gives it

  friend bool operator==(const AnswerPart&, const AnswerPart&) = default;
};
using AnswerParts = std::vector<AnswerPart>;

/// Adds a part, or lengthens the last one where it continues that. A part that says nothing is left
/// out.
void append(AnswerParts& parts, AnswerPart part);
void append_content(AnswerParts& parts, std::string text);
/// Adds all of `more`.
void append(AnswerParts& parts, AnswerParts more);

/// The texts of all parts of a kind.
std::string text_of(const AnswerParts& parts, AnswerPart::Kind kind);
/// Bytes of all their texts.
std::size_t text_bytes(const AnswerParts& parts);

}  // namespace tandem::model
