// See load.hpp. yaml-cpp is used here alone, and its exceptions end here.
#include "config/load.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include "config/keys.hpp"
#include "net/api_keys.hpp"

namespace tandem::config {
namespace {

constexpr std::uintmax_t longest_file = 1 << 20;
constexpr std::size_t most_problems = 20;
/// Longer values are cut in messages.
constexpr std::size_t shown_bytes = 80;

using Environment = std::vector<std::pair<std::string, std::string>>;

std::string shown(const std::string& value) {
  std::string text;
  for (const char c : value.substr(0, shown_bytes))
    text += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  return "'" + text + (value.size() > shown_bytes ? "…" : "") + "'";
}

std::string shown(const std::vector<std::string>& values) {
  if (values.size() == 1) return shown(values.front());
  return "a list of " + std::to_string(values.size());
}

std::vector<std::string> split_at_commas(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) parts.push_back(part);
  return parts;
}

class Loader {
 public:
  Loaded result;
  std::vector<std::string> problems;

  void problem(const std::string& where, const std::string& what) {
    problems.push_back(where + ": " + what);
  }

  /// `where` is a place for people: "config.yaml:3", "environment TANDEM_PORT".
  void set(const Key& key, std::vector<std::string> values, const std::string& where,
           const std::string& hint = {}) {
    if (values.size() == 1 && key.kind == KeyKind::list) values = split_at_commas(values.front());
    const bool one = values.size() == 1;
    if ((key.kind == KeyKind::list || one) && key.set(result.config, values)) {
      result.origins[key.name] = where;
      return;
    }
    problem(where,
            key.name + ": " + shown(values) + " is not allowed; allowed: " + key.allowed + hint);
  }

  void read_file(const std::filesystem::path& file);
  void read_environment(const Environment& environment);

 private:
  void read_entry(const YAML::Node& name, const YAML::Node& value,
                  const std::filesystem::path& file);
  std::set<std::string> seen_;
};

std::string place(const std::filesystem::path& file, const YAML::Mark& mark) {
  return file.string() + ":" + std::to_string(mark.line + 1);
}

/// The scalars of a list, or nothing if something else is in it.
std::optional<std::vector<std::string>> scalars(const YAML::Node& sequence) {
  std::vector<std::string> values;
  for (const auto& entry : sequence) {
    if (!entry.IsScalar()) return std::nullopt;
    values.push_back(entry.Scalar());
  }
  return values;
}

void Loader::read_entry(const YAML::Node& name, const YAML::Node& value,
                        const std::filesystem::path& file) {
  const auto where = place(file, name.Mark());
  if (!name.IsScalar()) return problem(where, "a key must be a word");
  const auto* key = find_key(name.Scalar());
  if (!key)
    return problem(where, "unknown key " + shown(name.Scalar()) + "; " + suggestion(name.Scalar()));
  if (!seen_.insert(key->name).second) return problem(where, key->name + ": is set twice");
  if (value.IsScalar()) {
    auto text = value.Scalar();
    if (key->kind == KeyKind::path && !text.empty())
      text = (file.parent_path() / text).lexically_normal().string();
    return set(*key, {text}, where);
  }
  const auto values = value.IsSequence() ? scalars(value) : std::nullopt;
  if (key->kind == KeyKind::list && values) {
    if (values->size() != 1) return set(*key, *values, where);
    // One entry is not split at commas.
    if (key->set(result.config, *values)) {
      result.origins[key->name] = where;
      return;
    }
    return problem(where,
                   key->name + ": " + shown(*values) + " is not allowed; allowed: " + key->allowed);
  }
  const auto* kind = value.IsNull() ? "nothing" : value.IsMap() ? "a mapping" : "a list";
  problem(where, key->name + ": " + kind + " is not allowed; allowed: " + key->allowed);
}

void Loader::read_file(const std::filesystem::path& file) {
  std::error_code failure;
  const auto size = std::filesystem::file_size(file, failure);
  if (failure) return problem(file.string(), "cannot be read: " + failure.message());
  if (size > longest_file) return problem(file.string(), "is larger than 1 MiB");
  std::ifstream in(file, std::ios::binary);
  std::string text(static_cast<std::size_t>(size), '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(std::max<std::streamsize>(0, in.gcount())));
  if (!in && !in.eof()) return problem(file.string(), "cannot be read");
  try {
    const auto documents = YAML::LoadAll(text);
    if (documents.size() > 1) return problem(file.string(), "must be one YAML document");
    if (documents.empty() || documents.front().IsNull()) return;
    const auto& root = documents.front();
    if (!root.IsMap())
      return problem(place(file, root.Mark()), "must be a flat mapping of keys to values");
    for (const auto& entry : root) read_entry(entry.first, entry.second, file);
  } catch (const YAML::Exception& e) {
    problem(e.mark.is_null() ? file.string() : place(file, e.mark), "is not YAML: " + e.msg);
  }
}

void Loader::read_environment(const Environment& environment) {
  for (const auto& [variable, value] : environment) {
    const auto& table = keys();
    const auto found = std::find_if(table.begin(), table.end(),
                                    [&](const Key& key) { return key.variable() == variable; });
    if (found == table.end()) {
      if (variable == "TANDEM_API_KEY") {
        problem("environment " + variable, "a key is no option; name a file in api_key_file");
        continue;
      }
      result.warnings.push_back("environment " + variable + " is not a key of the configuration");
      continue;
    }
    // A Kubernetes Service named "tandem" injects TANDEM_PORT=tcp://… into every pod.
    const std::string hint = value.rfind("tcp://", 0) == 0
                                 ? " (Kubernetes sets this for a Service named tandem; turn off "
                                   "enableServiceLinks or rename the Service)"
                                 : "";
    set(*found, {value}, "environment " + variable, hint);
  }
}

/// What single keys cannot tell.
void check_together(const Config& config, Loader& loader) {
  if (config.model.empty())
    loader.problem("model",
                   "must name a Hugging Face model folder (--model, TANDEM_MODEL or the "
                   "file's key 'model')");
  if (config.runtime.store.data_dir.empty()) loader.problem("data_dir", "must name a folder");
  const auto& server = config.server;
  in_addr v4{};
  in6_addr v6{};
  const bool is_v4 = inet_pton(AF_INET, server.host.c_str(), &v4) == 1;
  const bool is_v6 = inet_pton(AF_INET6, server.host.c_str(), &v6) == 1;
  if (!is_v4 && !is_v6)
    return loader.problem("host", shown(server.host) +
                                      " is not an IP address; 127.0.0.1 is this "
                                      "machine alone, 0.0.0.0 every interface");
  const bool loopback = is_v4 ? (ntohl(v4.s_addr) >> 24) == 127 : IN6_IS_ADDR_LOOPBACK(&v6);
  if (!loopback && !server.insecure && server.api_key_file.empty())
    loader.problem("host", server.host +
                               " can be reached by others and nobody is asked for a key; give an "
                               "api_key_file, or set insecure: true if that is wanted");
  if (!server.api_key_file.empty())
    if (const auto keys = net::ApiKeys::load(server.api_key_file); !keys)
      loader.problem("api_key_file", keys.error().message);
  if (server.merge_above_bytes > server.max_unsent_bytes)
    loader.problem("merge_above_bytes", "must not be larger than max_unsent_bytes");
}

/// The texts were checked when they were set.
policy::Objectives objectives_of(const ObjectiveTexts& texts) {
  using policy::Quantity;
  using policy::Statistic;
  policy::Objectives objectives;
  const auto add = [&](Quantity quantity, Statistic statistic, const std::string& text) {
    const auto parsed = policy::parse_objective(quantity, statistic, text, "");
    if (parsed && *parsed) objectives.push_back(**parsed);
  };
  add(Quantity::ttft, Statistic::mean, texts.ttft_mean);
  add(Quantity::ttft, Statistic::p50, texts.ttft_p50);
  add(Quantity::ttft, Statistic::p99, texts.ttft_p99);
  add(Quantity::tbt, Statistic::mean, texts.tbt_mean);
  add(Quantity::tbt, Statistic::p50, texts.tbt_p50);
  add(Quantity::tbt, Statistic::p99, texts.tbt_p99);
  return objectives;
}

}  // namespace

Result<Loaded> load(const Sources& sources) {
  Loader loader;
  if (!sources.file.empty()) loader.read_file(sources.file);
  loader.read_environment(sources.environment);
  for (const auto& [name, values] : sources.command_line) {
    const auto* key = find_key(name);
    if (!key)
      loader.problem("command line", "unknown key " + shown(name) + "; " + suggestion(name));
    else
      loader.set(*key, values, "command line " + key->flag());
  }
  auto& config = loader.result.config;
  if (loader.problems.empty()) check_together(config, loader);
  if (!loader.problems.empty()) {
    std::string message;
    const auto count = std::min(loader.problems.size(), most_problems);
    for (std::size_t i = 0; i < count; ++i) message += (i == 0 ? "" : "\n") + loader.problems[i];
    if (count < loader.problems.size())
      message += "\n… and " + std::to_string(loader.problems.size() - count) + " more";
    return error(Errc::invalid_value, message, "config");
  }
  config.runtime.slo.objectives = objectives_of(config.slo);
  if (config.latency_model != "auto")
    config.runtime.learner.form =
        config.latency_model == "hygen" ? policy::LatencyForm::hygen : policy::LatencyForm::context;
  config.host.max_iteration_tokens = config.runtime.scheduler.max_iteration_tokens;
  config.host.max_sequences = config.runtime.scheduler.max_sequences;
  config.cuda.max_iteration_tokens = config.host.max_iteration_tokens;
  config.cuda.max_sequences = config.host.max_sequences;
  config.cuda.max_context = config.host.max_context;
  config.cuda.layers_per_segment = config.host.layers_per_segment;
  return std::move(loader.result);
}

Environment process_environment() {
  Environment found;
  for (char** entry = environ; *entry; ++entry) {
    const std::string text = *entry;
    const auto equals = text.find('=');
    if (text.rfind("TANDEM_", 0) == 0 && equals != std::string::npos)
      found.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return found;
}

}  // namespace tandem::config
