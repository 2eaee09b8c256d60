// `tandem tokenize`: text to token ids with a model folder's tokenizer, or back. Lines of JSON in
// and out, so that text may hold line breaks; or one text from the command line.
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_from.hpp>
#include <boost/json/value_to.hpp>
#include <iostream>
#include <string>
#include <vector>

#include "cli/commands.hpp"
#include "model/tokenizer.hpp"

namespace tandem::cli {
namespace {

namespace json = boost::json;

/// "id content" a line: what a person wants to see.
void print_tokens(const model::Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  for (const TokenId id : ids) {
    std::cout << id << "\t" << json::serialize(json::string(tokenizer.token_content(id))) << "\n";
  }
}

/// One line of input: a string to encode, or an array of ids to decode.
std::string answer_line(const std::string& line, const model::Tokenizer& tokenizer,
                        const TokenizeArguments& arguments) {
  boost::system::error_code failure;
  const auto value = json::parse(line, failure);
  if (failure) return json::serialize(json::object{{"error", "not JSON: " + failure.message()}});
  if (value.is_string()) {
    return json::serialize(json::value_from(tokenizer.encode(
        value.get_string(), !arguments.no_special_added, !arguments.special_as_text)));
  }
  std::vector<TokenId> ids;
  const auto* list = value.if_array();
  if (list == nullptr) {
    return json::serialize(json::object{{"error", "a line is a string or an array of ids"}});
  }
  for (const auto& id : *list) {
    const auto* number = id.if_int64();
    const auto size = static_cast<std::int64_t>(tokenizer.vocab_size());
    if (number == nullptr || *number < 0 || *number >= size) {
      return json::serialize(
          json::object{{"error", json::serialize(id) + " is no token id; allowed are 0 to " +
                                     std::to_string(size - 1)}});
    }
    ids.push_back(static_cast<TokenId>(*number));
  }
  return json::serialize(json::string(tokenizer.decode(ids, !arguments.keep_special)));
}

}  // namespace

int tokenize(const TokenizeArguments& arguments) {
  const auto tokenizer = model::load_tokenizer(arguments.model);
  if (!tokenizer) {
    print_error(tokenizer.error().message);
    return exit_usage;
  }
  if (!arguments.text.empty()) {
    print_tokens(**tokenizer, (*tokenizer)
                                  ->encode(arguments.text, !arguments.no_special_added,
                                           !arguments.special_as_text));
    return exit_ok;
  }
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << answer_line(line, **tokenizer, arguments) << "\n";
  }
  std::cout.flush();
  return std::cout.good() ? exit_ok : exit_failed;
}

}  // namespace tandem::cli
