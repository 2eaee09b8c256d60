// See text_answer.hpp.
#include "actors/text_answer.hpp"

#include "actors/prepare.hpp"
#include "api/text_call.hpp"
#include "model/text_decoder.hpp"

namespace tandem {
namespace {

Result<std::string> answer(const TokenizeCall& asked, const ServedModel& model) {
  const auto encoded = encode(
      asked.call, asked.call.prompts.front(), model,
      {.add_special = asked.add_special, .add_generation_prompt = asked.add_generation_prompt});
  if (!encoded) return encoded.error();
  return api::tokenize_reply(encoded->tokens, model.max_context,
                             asked.return_token_strings ? model.tokenizer.get() : nullptr);
}

Result<std::string> answer(const DetokenizeCall& asked, const ServedModel& model) {
  model::TextDecoder decoder(*model.tokenizer, false);
  std::string text;
  const auto too_long = [&] { return text.size() > asked.max_text_bytes; };
  for (std::size_t i = 0; i < asked.tokens.size() && !too_long(); ++i)
    decoder.push(asked.tokens[i], text);
  decoder.finish(text);
  if (too_long())
    return error(Errc::too_large,
                 "the text of 'tokens' is longer than " + std::to_string(asked.max_text_bytes) +
                     " bytes, which is what max_body_bytes allows",
                 "tokens");
  return api::detokenize_reply(text);
}

}  // namespace

Result<msg::TextBody> text_body(const TextCall& call, const ServedModel& model) {
  if (!model.tokenizer)
    return error(Errc::unsupported, "model '" + model.name + "' has no tokenizer");
  auto json = std::visit([&](const auto& asked) { return answer(asked, model); }, call);
  if (!json) return json.error();
  return msg::TextBody{std::make_shared<const std::string>(*std::move(json))};
}

}  // namespace tandem
