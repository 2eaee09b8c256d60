// See prompt_file.hpp.
#include "sim/prompt_file.hpp"

#include <boost/json.hpp>
#include <fstream>
#include <iterator>
#include <optional>

#include "sim/line_reader.hpp"

namespace tandem::sim {
namespace json = boost::json;
namespace {

constexpr std::uintmax_t largest_prompts = 64 << 20;
constexpr std::uintmax_t largest_beginning = 1 << 20;

Error wrong(const std::filesystem::path& file, const std::string& what) {
  return error(Errc::invalid_value, file.string() + ": " + what, "prompt-file");
}

Result<void> check_size(const std::filesystem::path& file, std::uintmax_t largest) {
  std::error_code failure;
  const auto size = std::filesystem::file_size(file, failure);
  if (failure) return wrong(file, "cannot be read: " + failure.message());
  if (size > largest)
    return wrong(file,
                 "has " + std::to_string(size) + " bytes; allowed are " + std::to_string(largest));
  return {};
}

std::string whole(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// The prompt in one object, or nothing.
std::optional<std::string> prompt_in(const json::value& value) {
  const auto* object = value.if_object();
  if (!object) return std::nullopt;
  for (const auto* name : {"prompt", "input", "question"})
    if (const auto* field = object->if_contains(name); field && field->is_string())
      return std::string(field->get_string());
  return std::nullopt;
}

Result<std::vector<std::string>> read_examples(const std::filesystem::path& file) {
  json::error_code failure;
  const auto value = json::parse(whole(file), failure);
  const auto* object = failure ? nullptr : value.if_object();
  const auto* examples = object ? object->if_contains("examples") : nullptr;
  if (!examples || !examples->is_array())
    return wrong(file, "is no JSON object with a list 'examples'");
  std::vector<std::string> prompts;
  for (const auto& example : examples->get_array()) {
    auto prompt = prompt_in(example);
    if (!prompt)
      return wrong(file, "example " + std::to_string(prompts.size() + 1) +
                             " has no text 'prompt', 'input' or 'question'");
    prompts.push_back(std::move(*prompt));
  }
  return prompts;
}

/// The prompt in one line, an error, or empty text.
Result<std::string> prompt_of_line(const std::string& line, const std::string& form,
                                   const LineReader& lines) {
  if (form == ".csv") {
    const auto fields = csv_fields(line);
    if (!fields) return lines.wrong("opens a quote that is not closed");
    return fields->front();
  }
  if (form != ".jsonl") return line.back() == '\r' ? line.substr(0, line.size() - 1) : line;
  json::error_code failure;
  const auto value = json::parse(line, failure);
  auto prompt = failure ? std::nullopt : prompt_in(value);
  if (!prompt)
    return lines.wrong(excerpt(line) +
                       " is no JSON object with a text 'prompt', 'input' or 'question'");
  return std::move(*prompt);
}

}  // namespace

Result<std::vector<std::string>> read_prompts(const std::filesystem::path& file) {
  if (const auto fits = check_size(file, largest_prompts); !fits) return fits.error();
  const auto form = file.extension().string();
  if (form == ".json") return read_examples(file);
  auto lines = LineReader::open(file);
  if (!lines) return lines.error();
  std::vector<std::string> prompts;
  std::string line;
  for (;;) {
    const auto more = lines->next(line);
    if (!more) return more.error();
    if (!*more) break;
    auto prompt = prompt_of_line(line, form, *lines);
    if (!prompt) return prompt.error();
    if (!trimmed(*prompt).empty()) prompts.push_back(std::move(*prompt));
  }
  if (prompts.empty()) return wrong(file, "has no lines that could be prompts");
  return prompts;
}

Result<void> put_before(const std::filesystem::path& file, std::vector<std::string>& prompts) {
  if (const auto fits = check_size(file, largest_beginning); !fits) return fits.error();
  const auto beginning = whole(file);
  for (auto& prompt : prompts) prompt.insert(0, beginning);
  return {};
}

}  // namespace tandem::sim
