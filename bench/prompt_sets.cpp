// See prompt_sets.hpp.
#include "bench/prompt_sets.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <fstream>
#include <iterator>

namespace tandem::bench {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using Row = std::vector<std::string>;

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator(folder, absent)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

/// RFC 4180: fields in quotes may hold commas, line breaks and doubled quotes.
std::vector<Row> read_csv(const fs::path& path) {
  std::vector<Row> rows;
  Row row;
  std::string field;
  bool quoted = false;
  const std::string text = read_file(path);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
      field += c;
      ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (!quoted && (c == ',' || c == '\n')) {
      row.push_back(std::exchange(field, {}));
      if (c == '\n') rows.push_back(std::exchange(row, {}));
    } else if (c != '\r') {
      field += c;
    }
  }
  return rows;
}

class Builder {
 public:
  explicit Builder(const model::Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void add(const std::string& family, const std::string& text, Tokens answer) {
    prompts_.push_back({family, tokenizer_.encode(text, true, false), answer});
  }
  [[nodiscard]] Tokens length(const std::string& text) const {
    return Tokens(static_cast<std::int64_t>(tokenizer_.encode(text, false, false).size()));
  }
  std::vector<FewShotPrompt> take() { return std::move(prompts_); }
  [[nodiscard]] std::size_t size() const { return prompts_.size(); }

 private:
  const model::Tokenizer& tokenizer_;
  std::vector<FewShotPrompt> prompts_;
};

/// Of the worked examples, each "Q: …\nA: …" and an empty line.
Tokens mean_answer(const std::string& examples, const Builder& builder) {
  Tokens sum{0};
  std::int64_t count = 0;
  for (auto at = examples.find("\nA: "); at != std::string::npos;
       at = examples.find("\nA: ", at + 1)) {
    sum += builder.length(examples.substr(at + 1, examples.find("\n\nQ: ", at) - at - 1));
    ++count;
  }
  return Tokens(std::max<std::int64_t>(1, count == 0 ? 1 : sum.value() / count));
}

void add_bbh(const fs::path& data, Builder& builder) {
  for (const auto& file : files_in(data / "bbh/bbh")) {
    const auto task = file.stem().string();
    std::string examples = read_file(data / "bbh/cot-prompts" / (task + ".txt"));
    const std::string ruler = "-----\n";
    examples.erase(0, examples.find(ruler) + ruler.size());
    const Tokens answer = mean_answer(examples, builder);
    const auto text = read_file(file);
    const auto questions = json::parse(text).as_object().at("examples").as_array();
    const auto part = [&questions](std::size_t i, const char* name) {
      return std::string(questions[i].as_object().at(name).as_string());
    };
    for (std::size_t i = 0; i < questions.size(); ++i) {
      const auto question = "\n\nQ: " + part(i, "input") + "\nA: ";
      if (i < 5)
        examples += question + part(i, "target");
      else
        builder.add("bbh/" + task, examples + question + "Let's think step by step.", answer);
    }
  }
}

void add_mmlu(const fs::path& data, Builder& builder) {
  for (const auto& file : files_in(data / "mmlu/dev")) {
    auto subject = file.stem().string();
    subject.erase(subject.rfind("_dev"));
    auto rows = read_csv(file);
    const auto development = rows.size();
    const auto test = read_csv(data / "mmlu/test" / (subject + "_test.csv"));
    rows.insert(rows.end(), test.begin(), test.end());
    std::string examples =
        "The following are multiple choice questions (with answers) about " + subject + ".\n\n";
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const Row& row = rows[i];
      if (row.size() < 6) continue;
      std::string question = row[0];
      for (std::size_t choice = 0; choice < 4; ++choice)
        question += std::string("\n") + "ABCD"[choice] + ". " + row[choice + 1];
      question += "\nAnswer:";
      if (i < development + 3)
        examples += question + " " + row[5] + "\n\n";
      else
        builder.add("mmlu/" + subject, examples + question, Tokens(1));
    }
  }
}

void add_gsm8k(const fs::path& data, Builder& builder) {
  std::string examples, line;
  std::ifstream train(data / "gsm8k/train_first200.jsonl");
  for (int i = 0; i < 8 && std::getline(train, line); ++i) {
    const auto question = json::parse(line).as_object();
    examples += "Question: " + std::string(question.at("question").as_string()) +
                "\nAnswer: " + std::string(question.at("answer").as_string()) + "\n\n";
  }
  std::ifstream test(data / "gsm8k/test_0_599.jsonl");
  while (std::getline(test, line)) {
    const auto question = json::parse(line).as_object();
    builder.add(
        "gsm8k",
        examples + "Question: " + std::string(question.at("question").as_string()) + "\nAnswer:",
        builder.length(std::string(question.at("answer").as_string())));
  }
}

}  // namespace

std::vector<FewShotPrompt> few_shot_prompts(const fs::path& data,
                                            const model::Tokenizer& tokenizer) {
  Builder builder(tokenizer);
  for (const auto add : {add_bbh, add_mmlu, add_gsm8k}) {
    const auto before = builder.size();
    add(data, builder);
    if (builder.size() == before) return {};
  }
  return builder.take();
}

}  // namespace tandem::bench
