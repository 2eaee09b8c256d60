// A profile written and read back is the same; whatever else a file may hold is refused by name.
#include "config/profile_file.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <random>

#include "tests/support/temporary_folder.hpp"

using namespace tandem;

namespace {

policy::LatencyProfile example() {
  policy::LatencyProfile profile;
  profile.key = {"llama layers=2 \"quoted\"", "host avx2 threads=2", "bfloat16", "0.1.0"};
  policy::LatencyCoefficients k;
  k.fixed = 7.25, k.row = 0.1 / 3, k.row_above_knee = 1e-300, k.knee = 192, k.attention = 1.7e-9;
  profile.latency = {policy::LatencyForm::context, k, {4000, 0.0123, 0.0456}};
  policy::LatencySample sample;
  sample.shape.add(Tokens(100), Tokens(50), false);
  sample.shape.add(Tokens(7), Tokens(1), true);
  sample.ms = 12.345678901234567;
  profile.samples = {sample, sample};
  policy::BudgetFinding found;
  found.objectives = {"ttft_p99 +10%", "tbt_mean 40ms"};
  found.trace = "azure.csv";
  found.max_iteration_tokens = 512;
  found.budget_ms = 31.5;
  found.baseline.ttft_samples = 1000;
  found.baseline.tbt_samples = 50000;
  found.baseline.ttft_ms_p99 = 812.25;
  profile.budget = found;
  return profile;
}

/// The error that `text` is refused with.
std::string refused(const std::string& text) {
  const auto parsed = config::parse_profile(text, "p.yaml");
  if (parsed) return "taken";
  CHECK(parsed.error().param == "profile_file");
  return parsed.error().message;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("a profile comes back as it was written") {
  const tests::TemporaryFolder folder;
  auto profile = example();
  SECTION("with a budget") {}
  SECTION("without") { profile.budget.reset(); }
  SECTION("without samples") { profile.samples.clear(); }
  const auto file = folder.path() / "profile.yaml";
  REQUIRE(config::write_profile(file, profile).has_value());
  const auto read = config::read_profile(file);
  if (!read) FAIL(read.error().message);
  CHECK(*read == profile);
}

TEST_CASE("what is wrong with a profile is named with its place") {
  const std::string good = config::profile_text(example());
  CHECK_THAT(refused(""), Catch::Contains("must be a mapping"));
  CHECK_THAT(refused("- 1"), Catch::Contains("must be a mapping"));
  CHECK_THAT(refused("{: ["), Catch::Contains("p.yaml: is not a profile"));
  CHECK_THAT(refused("a: 1"), Catch::Contains("lacks 'tandem_profile'"));
  CHECK_THAT(refused(replaced(good, "tandem_profile: 1", "tandem_profile: 2")),
             Catch::Contains("version 2") && Catch::Contains("reads 1"));
  CHECK_THAT(refused(replaced(good, "form: context", "form: cubic")),
             Catch::Contains("hygen or context") && Catch::Contains("cubic"));
  CHECK_THAT(refused(replaced(good, "fixed: 7.25", "fixed: -7.25")),
             Catch::Contains("p.yaml:13: fixed must be a number in 0"));
  for (const char* bad : {"nan", ".nan", "inf", "1e400", "[]", "{}", "~", "x"})
    CHECK_THAT(refused(replaced(good, "fixed: 7.25", std::string("fixed: ") + bad)),
               Catch::Contains("fixed must be"));
  CHECK_THAT(refused(replaced(good, "    fixed: 7.25\n", "")), Catch::Contains("lacks 'fixed'"));
  CHECK_THAT(refused(replaced(good, "- [50,", "- [-50,")), Catch::Contains("a sample's count"));
  CHECK_THAT(refused(replaced(good, "- [50,", "- [")), Catch::Contains("a sample is ["));
  CHECK_THAT(refused(replaced(good, "budget_ms: 31.5", "budget_ms: 0")),
             Catch::Contains("above 0"));
  CHECK_THAT(refused(replaced(good, "objectives: [", "objectives: [[],")),
             Catch::Contains("an objective is a text"));
  CHECK(config::read_profile("no/such/profile").error().code == Errc::not_found);
}

TEST_CASE("a mangled profile is refused or read, and nothing else happens") {
  const std::string good = config::profile_text(example());
  std::mt19937_64 random(1);
  for (int i = 0; i < 3000; ++i) {
    std::string text = good;
    for (auto changes = 1 + random() % 4; changes > 0; --changes) {
      const auto at = random() % text.size();
      if (random() % 3 == 0)
        text.erase(at, 1 + random() % 20);
      else
        text[at] = static_cast<char>(" \n:[]{}-09.e\"#&*"[random() % 17]);
      if (text.empty()) text = " ";
    }
    (void)config::parse_profile(text, "p.yaml");
  }
  SUCCEED();
}

TEST_CASE("a profile of something else is told apart; an engine version alone is not") {
  const auto key = example().key;
  auto other = key;
  other.engine_version = "0.2.0";
  CHECK(policy::differences(key, other).empty());
  other.device = "host avx2 threads=8";
  other.dtype = "float32";
  const auto found = policy::differences(key, other);
  REQUIRE(found.size() == 2);
  CHECK_THAT(found[0], Catch::Contains("threads=2") && Catch::Contains("threads=8"));
  CHECK_THAT(found[1], Catch::Contains("dtype"));
}
