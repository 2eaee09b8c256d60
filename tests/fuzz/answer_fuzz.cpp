// Any bytes as an answer, taken apart in one piece and in pieces: both give the same parts, none of
// them larger than what came in, and calls numbered as they come.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "model/answer/answer_parser.hpp"

namespace {

using namespace tandem;
using namespace tandem::model;

void require(bool condition) {
  if (!condition) std::abort();
}

AnswerParser::Options options_of(std::uint8_t choice) {
  AnswerParser::Options options{.names = {"f", "now"}};
  constexpr ToolFormat tools[] = {ToolFormat::none, ToolFormat::hermes, ToolFormat::llama3_json};
  constexpr ReasoningFormat reasoning[] = {ReasoningFormat::none, ReasoningFormat::qwen3,
                                           ReasoningFormat::deepseek_r1};
  options.tools = tools[choice % 3];
  options.reasoning = reasoning[choice / 3 % 3];
  options.prompt_end = choice & 0x40 ? PromptEnd::reasoning_opened : PromptEnd::plain;
  options.single_call = (choice & 0x80) != 0;
  return options;
}

AnswerParts parse(std::uint8_t choice, std::string_view text, std::size_t piece) {
  AnswerParser parser(options_of(choice));
  AnswerParts parts;
  while (!text.empty()) {
    AnswerParts more;
    parser.push(text.substr(0, piece), more);
    append(parts, std::move(more));
    text.remove_prefix(std::min(piece, text.size()));
  }
  parser.finish(parts);
  return parts;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  const auto whole = parse(data[0], text, text.size());
  require(parse(data[0], text, 1 + data[1] % 16) == whole);
  std::size_t bytes = 0;
  std::uint32_t calls = 0;
  for (const auto& part : whole) {
    bytes += part.text.size();
    if (part.kind != AnswerPart::Kind::call) continue;
    if (!part.name.empty()) ++calls;
    require(part.call + 1 == calls);
  }
  require(bytes <= text.size() && calls <= ToolParser::max_calls);
  return 0;
}
