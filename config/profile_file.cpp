// See profile_file.hpp. A profile may come from anywhere: sizes are bounded before anything is
// read, and every number must be finite and not negative.
#include "config/profile_file.hpp"

#include <array>
#include <cmath>
#include <fstream>
#include <iterator>
#include <sstream>
#include <yaml-cpp/yaml.h>

#include "config/key_builders.hpp"
#include "config/values.hpp"

namespace tandem::config {
namespace {

using policy::IterationShape;
using policy::LatencyCoefficients;
using policy::LatencyProfile;

constexpr std::uintmax_t longest_file = 8 << 20;
constexpr std::size_t most_samples = 100000;
constexpr std::size_t longest_word = 1024;
/// Larger sums than of this many tokens would not be exact as numbers, nor are they iterations.
constexpr std::int64_t most_tokens = 1LL << 40;

struct CoefficientName {
  const char* name;
  double LatencyCoefficients::*member;
};
constexpr std::array coefficient_names{
    CoefficientName{"fixed", &LatencyCoefficients::fixed},
    CoefficientName{"row", &LatencyCoefficients::row},
    CoefficientName{"row_above_knee", &LatencyCoefficients::row_above_knee},
    CoefficientName{"attention", &LatencyCoefficients::attention},
    CoefficientName{"cached", &LatencyCoefficients::cached},
    CoefficientName{"prefill_token", &LatencyCoefficients::prefill_token},
    CoefficientName{"prefill_token_squared", &LatencyCoefficients::prefill_token_squared},
    CoefficientName{"decode_context", &LatencyCoefficients::decode_context},
    CoefficientName{"decode_context_squared", &LatencyCoefficients::decode_context_squared},
    CoefficientName{"prefill", &LatencyCoefficients::prefill},
    CoefficientName{"decode", &LatencyCoefficients::decode},
};

struct StatisticName {
  const char* name;
  double policy::LatencyStatistics::*member;
};
constexpr std::array statistic_names{
    StatisticName{"ttft_ms_mean", &policy::LatencyStatistics::ttft_ms_mean},
    StatisticName{"ttft_ms_p50", &policy::LatencyStatistics::ttft_ms_p50},
    StatisticName{"ttft_ms_p99", &policy::LatencyStatistics::ttft_ms_p99},
    StatisticName{"tbt_ms_mean", &policy::LatencyStatistics::tbt_ms_mean},
    StatisticName{"tbt_ms_p50", &policy::LatencyStatistics::tbt_ms_p50},
    StatisticName{"tbt_ms_p99", &policy::LatencyStatistics::tbt_ms_p99},
};

// ---- writing -----------------------------------------------------------------------------------

void write_budget(std::ostream& out, const policy::BudgetFinding& found) {
  out << "budget:\n  budget_ms: " << number_text(found.budget_ms)
      << "\n  max_iteration_tokens: " << found.max_iteration_tokens
      << "\n  trace: " << yaml_quoted(found.trace) << "\n  objectives: [";
  for (std::size_t i = 0; i < found.objectives.size(); ++i)
    out << (i == 0 ? "" : ", ") << yaml_quoted(found.objectives[i]);
  out << "]\n  baseline:\n    ttft_samples: " << found.baseline.ttft_samples
      << "\n    tbt_samples: " << found.baseline.tbt_samples << "\n";
  for (const auto& one : statistic_names)
    out << "    " << one.name << ": " << number_text(found.baseline.*one.member) << "\n";
}

void write_sample(std::ostream& out, const policy::LatencySample& sample) {
  const IterationShape& s = sample.shape;
  out << "  - [" << s.prefill_tokens << ", " << s.prefills << ", " << s.decode_context << ", "
      << s.decodes << ", " << s.prefill_context << ", " << s.prefill_attention << ", "
      << number_text(sample.ms) << "]\n";
}

// ---- reading -----------------------------------------------------------------------------------

/// Reads fields, keeping the first problem.
class Reader {
 public:
  explicit Reader(std::string name) : name_(std::move(name)) {}

  YAML::Node child(const YAML::Node& node, const char* key) {
    if (problem_) return {};
    if (!node.IsMap()) return fail(node, "must be a mapping"), YAML::Node();
    YAML::Node found = node[key];
    if (!found) fail(node, std::string("lacks '") + key + "'");
    return found;
  }
  std::string word(const YAML::Node& node, const char* key) {
    const YAML::Node found = child(node, key);
    if (problem_) return {};
    if (!found.IsScalar() || !is_plain_text(found.Scalar(), longest_word))
      return fail(found, std::string(key) + " must be text of at most 1024 bytes"), "";
    return found.Scalar();
  }
  double number(const YAML::Node& node, const std::string& what) {
    if (problem_) return 0;
    const auto value = node.IsScalar() ? parse_decimal(node.Scalar()) : std::nullopt;
    if (value && *value >= 0 && *value <= 1e12) return *value;
    return fail(node, what + " must be a number in 0 .. 1000000000000"), 0;
  }
  std::int64_t count(const YAML::Node& node, const std::string& what,
                     std::int64_t most = most_tokens) {
    if (problem_) return 0;
    const auto value = node.IsScalar() ? parse_integer(node.Scalar()) : std::nullopt;
    if (value && *value >= 0 && *value <= most) return *value;
    return fail(node, what + " must be a whole number in 0 .. " + std::to_string(most)), 0;
  }
  void fail(const YAML::Node& node, const std::string& what) {
    if (problem_) return;
    const auto mark = node ? node.Mark() : YAML::Mark::null_mark();
    problem_ =
        error(Errc::invalid_value,
              name_ + (mark.is_null() ? "" : ":" + std::to_string(mark.line + 1)) + ": " + what,
              "profile_file");
  }
  [[nodiscard]] const std::optional<Error>& problem() const { return problem_; }

 private:
  std::string name_;
  std::optional<Error> problem_;
};

policy::LatencyModel read_model(Reader& in, const YAML::Node& root) {
  const YAML::Node node = in.child(root, "latency");
  const std::string form = in.problem() ? "" : in.word(node, "form");
  if (in.problem()) return {};
  if (form != "hygen" && form != "context") {
    in.fail(node, "form must be hygen or context, and is '" + form + "'");
    return {};
  }
  policy::LatencyError error;
  error.samples = static_cast<std::uint64_t>(in.count(in.child(node, "samples"), "samples"));
  error.mape = in.number(in.child(node, "mape"), "mape");
  error.margin = in.number(in.child(node, "margin"), "margin");
  const YAML::Node values = in.child(node, "coefficients");
  LatencyCoefficients k;
  for (const auto& one : coefficient_names)
    if (!in.problem()) k.*one.member = in.number(in.child(values, one.name), one.name);
  if (!in.problem()) k.knee = in.count(in.child(values, "knee"), "knee");
  if (in.problem()) return {};
  return {form == "hygen" ? policy::LatencyForm::hygen : policy::LatencyForm::context, k, error};
}

std::vector<policy::LatencySample> read_samples(Reader& in, const YAML::Node& root) {
  const YAML::Node node = in.child(root, "samples");
  std::vector<policy::LatencySample> samples;
  if (in.problem()) return samples;
  if (!node.IsSequence() || node.size() > most_samples) {
    in.fail(node, "samples must be a list of at most " + std::to_string(most_samples));
    return samples;
  }
  for (const YAML::Node& row : node) {
    if (!row.IsSequence() || row.size() != 7) {
      in.fail(row,
              "a sample is [prefill tokens, prefills, decode context, decodes, prefill context, "
              "prefill attention, ms]");
      return samples;
    }
    policy::LatencySample sample;
    std::int64_t IterationShape::*const members[] = {
        &IterationShape::prefill_tokens,  &IterationShape::prefills,
        &IterationShape::decode_context,  &IterationShape::decodes,
        &IterationShape::prefill_context, &IterationShape::prefill_attention};
    for (std::size_t i = 0; i < std::size(members); ++i)
      sample.shape.*members[i] = in.count(row[i], "a sample's count", 1LL << 52);
    sample.ms = in.number(row[6], "a sample's time");
    samples.push_back(sample);
  }
  return samples;
}

policy::BudgetFinding read_budget(Reader& in, const YAML::Node& node) {
  policy::BudgetFinding found;
  found.budget_ms = in.number(in.child(node, "budget_ms"), "budget_ms");
  found.max_iteration_tokens =
      in.count(in.child(node, "max_iteration_tokens"), "max_iteration_tokens");
  found.trace = in.word(node, "trace");
  const YAML::Node objectives = in.child(node, "objectives");
  if (!in.problem() && (!objectives.IsSequence() || objectives.size() > 64))
    in.fail(objectives, "objectives must be a list of at most 64 texts");
  for (std::size_t i = 0; !in.problem() && i < objectives.size(); ++i) {
    if (!objectives[i].IsScalar() || !is_plain_text(objectives[i].Scalar(), longest_word))
      in.fail(objectives[i], "an objective is a text such as \"ttft_p99 +10%\"");
    else
      found.objectives.push_back(objectives[i].Scalar());
  }
  const YAML::Node baseline = in.child(node, "baseline");
  if (in.problem()) return found;
  auto& s = found.baseline;
  s.ttft_samples =
      static_cast<std::uint64_t>(in.count(in.child(baseline, "ttft_samples"), "samples"));
  s.tbt_samples =
      static_cast<std::uint64_t>(in.count(in.child(baseline, "tbt_samples"), "samples"));
  for (const auto& one : statistic_names)
    if (!in.problem()) s.*one.member = in.number(in.child(baseline, one.name), one.name);
  if (!in.problem() && !(found.budget_ms > 0)) in.fail(node, "budget_ms must be above 0");
  return found;
}

Result<LatencyProfile> read_root(const YAML::Node& root, const std::string& name) {
  Reader in(name);
  const auto version = in.count(in.child(root, "tandem_profile"), "tandem_profile");
  if (in.problem()) return *in.problem();
  if (version != profile_version)
    return error(Errc::unsupported,
                 name + ": is a profile of version " + std::to_string(version) +
                     "; this version of tandem reads " + std::to_string(profile_version) +
                     ": make it again with tandem profile",
                 "profile_file");
  LatencyProfile profile;
  profile.key.model = in.word(root, "model");
  profile.key.device = in.word(root, "device");
  profile.key.dtype = in.word(root, "dtype");
  profile.key.engine_version = in.word(root, "engine_version");
  profile.latency = read_model(in, root);
  profile.samples = read_samples(in, root);
  if (!in.problem() && root["budget"]) profile.budget = read_budget(in, root["budget"]);
  if (in.problem()) return *in.problem();
  return profile;
}

}  // namespace

std::string profile_text(const LatencyProfile& profile) {
  std::ostringstream out;
  out << "# Written by tandem profile. Milliseconds; for this model on this device alone.\n"
      << "tandem_profile: " << profile_version << "\nmodel: " << yaml_quoted(profile.key.model)
      << "\ndevice: " << yaml_quoted(profile.key.device)
      << "\ndtype: " << yaml_quoted(profile.key.dtype)
      << "\nengine_version: " << yaml_quoted(profile.key.engine_version)
      << "\nlatency:\n  form: " << to_string(profile.latency.form())
      << "\n  samples: " << profile.latency.error().samples
      << "\n  mape: " << number_text(profile.latency.error().mape)
      << "\n  margin: " << number_text(profile.latency.error().margin) << "\n  coefficients:\n";
  const LatencyCoefficients& k = profile.latency.coefficients();
  for (const auto& one : coefficient_names)
    out << "    " << one.name << ": " << number_text(k.*one.member) << "\n";
  out << "    knee: " << k.knee << "\n";
  if (profile.budget) write_budget(out, *profile.budget);
  out << "# [prefill tokens, prefills, decode context, decodes, prefill context, prefill "
         "attention, ms]\nsamples:"
      << (profile.samples.empty() ? " []\n" : "\n");
  for (const auto& sample : profile.samples) write_sample(out, sample);
  return out.str();
}

Result<LatencyProfile> parse_profile(std::string_view text, const std::string& name) {
  try {
    return read_root(YAML::Load(std::string(text)), name);
  } catch (const YAML::Exception& e) {
    return error(Errc::invalid_value, name + ": is not a profile: " + e.msg, "profile_file");
  }
}

Result<LatencyProfile> read_profile(const std::filesystem::path& file) {
  std::error_code failure;
  const auto size = std::filesystem::file_size(file, failure);
  if (failure)
    return error(Errc::not_found, file.string() + ": cannot be read: " + failure.message(),
                 "profile_file");
  if (size > longest_file)
    return error(Errc::too_large, file.string() + ": is larger than 8 MiB", "profile_file");
  std::ifstream in(file, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  if (!in) return error(Errc::invalid_value, file.string() + ": cannot be read", "profile_file");
  return parse_profile(text, file.string());
}

Result<void> write_profile(const std::filesystem::path& file, const LatencyProfile& profile) {
  auto partial = file;
  partial += ".partial";
  std::ofstream out(partial, std::ios::binary | std::ios::trunc);
  out << profile_text(profile);
  out.close();
  std::error_code failure;
  if (out) std::filesystem::rename(partial, file, failure);
  if (!out || failure)
    return error(Errc::storage_failed,
                 file.string() + ": cannot be written" + (failure ? ": " + failure.message() : ""),
                 "output");
  return {};
}

}  // namespace tandem::config
