// Which of its tokenizer files a model folder is read from: tokenizer.json before rank files before
// SentencePiece's model.
#include <algorithm>

#include "model/rank_file.hpp"
#include "model/sentencepiece_tokenizer.hpp"
#include "model/tokenizer_reader.hpp"

namespace tandem::model {
namespace {

namespace json = boost::json;

constexpr std::uint64_t max_tokenizer_bytes = 256ULL << 20;
constexpr std::uint64_t max_config_bytes = 16ULL << 20;

/// A tokenizer.json with a tokenizer_config.json. `where`: their names in errors.
Result<TokenizerPtr> build(json::object& root, const std::string& where, const json::object& config,
                           const std::string& config_where) {
  overrule_prefix_space(root, config);
  TokenizerReader reader(root, where);
  reader.read_all();
  if (!reader.error()) reader.read_tokenizer_config(config, config_where);
  if (reader.error()) return *reader.error();
  return TokenizerPtr(std::make_shared<PipelineTokenizer>(reader.take()));
}

bool is_there(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

/// The folder's file that ends in ".tiktoken", the first by name; empty if there is none.
std::filesystem::path rank_file_of(const std::filesystem::path& folder) {
  std::filesystem::path first;
  std::error_code failure;
  for (std::filesystem::directory_iterator entry(folder, failure), end; !failure && entry != end;
       entry.increment(failure)) {
    const auto& path = entry->path();
    if (path.extension() == ".tiktoken" && (first.empty() || path < first)) first = path;
  }
  return first;
}

Result<TokenizerPtr> load_rank_file(const std::string& text, const std::filesystem::path& path,
                                    const json::object& config, const std::string& config_where) {
  auto root = tokenizer_of_rank_file(text, path.string());
  if (!root) return std::move(root).error();
  return build(*root, path.string(), config, config_where);
}

}  // namespace

Result<TokenizerPtr> load_tokenizer(const std::filesystem::path& folder) {
  const auto config_path = folder / "tokenizer_config.json";
  json::object config;
  if (is_there(config_path)) {
    auto read = read_json_object(config_path, max_config_bytes);
    if (!read) return std::move(read).error();
    config = std::move(*read);
  }
  const auto json_path = folder / "tokenizer.json";
  const auto model_path = folder / "tokenizer.model";
  const auto rank_path = rank_file_of(folder);
  if (!is_there(json_path) && !rank_path.empty()) {
    const auto text = read_file(rank_path, max_tokenizer_bytes);
    if (!text) return text.error();
    return load_rank_file(*text, rank_path, config, config_path.string());
  }
  if (!is_there(json_path) && is_there(model_path)) {
    const auto bytes = read_file(model_path, max_tokenizer_bytes);
    if (!bytes) return bytes.error();
    if (is_rank_file(*bytes)) {
      return load_rank_file(*bytes, model_path, config, config_path.string());
    }
    return load_sentencepiece(*bytes, model_path.string(), config, config_path.string());
  }
  auto root = read_json_object(json_path, max_tokenizer_bytes);
  if (!root) return std::move(root).error();
  return build(*root, json_path.string(), config, config_path.string());
}

Result<TokenizerPtr> parse_tokenizer(std::string_view tokenizer_json,
                                     std::string_view tokenizer_config) {
  auto root = parse_json_object(tokenizer_json, "tokenizer.json");
  if (!root) return std::move(root).error();
  json::object config;
  if (!tokenizer_config.empty()) {
    auto read = parse_json_object(tokenizer_config, "tokenizer_config.json");
    if (!read) return std::move(read).error();
    config = std::move(*read);
  }
  return build(*root, "tokenizer.json", config, "tokenizer_config.json");
}

}  // namespace tandem::model
