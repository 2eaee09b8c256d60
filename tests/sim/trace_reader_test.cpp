// Traces of every form, good and bad, and the ways to make one fit.
#include "sim/trace_reader.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <numeric>

#include "sim/line_reader.hpp"
#include "sim/prompt_file.hpp"
#include "sim/workload_scaling.hpp"
#include "tests/support/temporary_folder.hpp"

namespace tandem::sim {
namespace {

using Catch::Contains;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

Result<Trace> trace_of(const std::string& text, TraceOptions options = {}) {
  const tests::TemporaryFolder folder;
  std::ofstream(folder.path() / "trace", std::ios::binary) << text;
  return read_trace(folder.path() / "trace", options);
}

std::string error_of(const std::string& text, TraceOptions options = {}) {
  const auto trace = trace_of(text, options);
  return trace ? "" : trace.error().message;
}

const TraceOptions offline{.request_class = RequestClass::offline};

/// A file of the data that may lie beside the source tree, or nothing.
std::optional<std::filesystem::path> shared_data(const std::string& name) {
  const auto path = std::filesystem::path("../shared/data") / name;
  if (std::filesystem::exists(path)) return path;
  WARN("skipped: " << path << " is not here");
  return std::nullopt;
}

double mean_prompt(const Workload& workload) {
  double sum = 0;
  for (const auto& request : workload.requests)
    sum += static_cast<double>(request.prompt_tokens.value());
  return sum / static_cast<double>(workload.requests.size());
}

}  // namespace

TEST_CASE("CSV columns are found by the names that Azure, BurstGPT and Vidur give them") {
  const auto azure = trace_of(
      "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 23:59:59.5000000,374,44\r\n"
      "2023-11-17 00:00:01.5000000,396,109\r\n");
  REQUIRE(azure.has_value());
  CHECK(azure->notes.empty());
  REQUIRE(azure->workload.requests.size() == 2);
  CHECK(azure->workload.requests[0].arrival == Duration{});
  CHECK(azure->workload.requests[1].arrival == seconds(2));
  CHECK(azure->workload.requests[1].prompt_tokens == Tokens(396));
  CHECK(azure->workload.requests[1].output_tokens == Tokens(109));
  const auto burst = trace_of(
      "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
      "5,ChatGPT,472,18,490,\"Conversation, log\"\n45,GPT-4,20,7,27,API log\n");
  REQUIRE(burst.has_value());
  CHECK(burst->workload.requests[1].arrival == seconds(40));
  CHECK(burst->workload.requests[0].prompt_tokens == Tokens(472));
  const auto vidur = trace_of(
      "num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n"
      "3772,54,3826,69.8\n3174,431,3605,7.3\n",
      offline);
  REQUIRE(vidur.has_value());
  CHECK(vidur->workload.requests[1].arrival == Duration{});
  CHECK(vidur->workload.requests[1].request_class == RequestClass::offline);
  CHECK(trace_of("10.5,100,20\n11,50,3\n")->workload.requests[1].arrival == milliseconds(500));
}

TEST_CASE("an answer of no tokens becomes one of 1, and is counted") {
  const auto trace = trace_of("1,9,0\n2,9,3\n3,9,0\n");
  REQUIRE(trace.has_value());
  CHECK(trace->workload.requests[0].output_tokens == Tokens(1));
  REQUIRE(trace->notes.size() == 1);
  CHECK_THAT(trace->notes[0], Contains("2 requests without output tokens"));
}

TEST_CASE("a wrong trace is refused with its line and what is wrong in it") {
  struct Row {
    const char *text, *says;
  };
  const auto row = GENERATE(
      Row{"a,b,c\n1,2,3\n", ":1: 'a,b,c' has no column for arrival; it is called one of"},
      Row{"arrival,prompt_tokens\n1,2\n", "no column for output tokens"},
      Row{"arrival,timestamp,prompt_tokens,output_tokens\n", "two columns for arrival"},
      Row{"1,2,3\nx,2,3\n", ":2: 'x' is no arrival"},
      Row{"1,2,3\n2,2\n", ":2: has 2 columns, the first line has 3"},
      Row{"1,2,3\n2,2,3,4\n", ":2: has 4 columns"},
      Row{"1,2,3\n2,many,3\n", ":2: 'many' is no number of prompt tokens"},
      Row{"1,2,3\n2,2,1.5\n", ":2: '1.5' is no number of output tokens"},
      Row{"1,2,3\nnan,2,3\n", ":2: 'nan' is no arrival"},
      Row{"1,0,3\n", ":1: has 0 prompt tokens; allowed is 1 to 1048576"},
      Row{"1,1,1\n1,-1,1\n", ":2: has -1 prompt tokens"},
      Row{"1,1,9999999\n", ":1: has 9999999 output tokens"},
      Row{"1,99999999999999999999,1\n", "no column for arrival"},
      Row{"5,1,1\n4,1,1\n", ":2: arrives before the request above it"},
      Row{"-1,1,1\n", ":1: arrives before time 0"},
      Row{"2023-11-16 18:15:46,1,1\n2023-13-01 00:00:00,1,1\n", ":2: '2023-13-01"},
      Row{"0,1,1\n1e300,1,1\n", "spans"}, Row{"1,\"2,3\n1,2,3\n", ":1: opens a quote"},
      Row{"", "holds no request"}, Row{" \n\t\n", "holds no request"},
      Row{"arrival,prompt_tokens,output_tokens\n", "holds no request"},
      Row{"{\"timestamp\":0,\"input_length\":5}\n", ":1: 'output_length' is missing"},
      Row{"{\"arrival\":0,\"prompt_tokens\":5,\"output_tokens\":1}\n{oops\n", ":2: '{oops' is no"},
      Row{"{\"arrival\":\"now\",\"prompt_tokens\":5,\"output_tokens\":1}\n",
          "'arrival' is no number"},
      Row{"{\"arrival\":0,\"prompt\":[1,-2],\"output_tokens\":1}\n", "'prompt' holds"},
      Row{"{\"arrival\":0,\"prompt\":[1,4294967296],\"output_tokens\":1}\n", "'prompt' holds"},
      Row{"{\"arrival\":0,\"prompt\":[1],\"prompt_tokens\":2,\"output_tokens\":1}\n",
          "'prompt_tokens' is not the length of 'prompt'"},
      Row{"{\"prompt_tokens\":2,\"output_tokens\":1}\n", "'arrival' is missing"},
      Row{"{\"arrival\":0,\"class\":\"urgent\",\"prompt_tokens\":2,\"output_tokens\":1}\n",
          "'class' is neither"},
      Row{"{\"timestamp\":0,\"input_length\":512,\"output_length\":1,\"hash_ids\":[1,2]}\n",
          ":1: has 2 prefix ids of 512 tokens, more than its 512"});
  INFO(row.text);
  CHECK_THAT(error_of(row.text), Contains(row.says));
}

TEST_CASE("a line without end is refused before it fills the memory") {
  CHECK_THAT(error_of("1,2,3\n" + std::string(longest_line + 1, '1')), Contains(":2: is longer"));
  CHECK_THAT(error_of(std::string(200, '[') + "\n"), Contains("no column"));
  CHECK_THAT(error_of("{\"a\":" + std::string(5000, '[') + "\n"), Contains("no JSON object"));
}

TEST_CASE("a trace out of order is sorted only where that is asked for, and says so") {
  const auto trace = trace_of("5,1,1\n4,2,1\n6,3,1\n", {.sort = true});
  REQUIRE(trace.has_value());
  CHECK(trace->workload.requests[0].prompt_tokens == Tokens(2));
  CHECK(trace->workload.requests[2].arrival == seconds(2));
  REQUIRE(trace->notes.size() == 1);
  CHECK_THAT(trace->notes[0], Contains("1 request out of order"));
}

TEST_CASE("Mooncake's equal leading hash ids become equal beginnings of prompts") {
  const auto trace = trace_of(
      "{\"timestamp\":0,\"input_length\":1300,\"output_length\":5,\"hash_ids\":[0,1,2]}\n"
      "{\"timestamp\":2500,\"input_length\":1200,\"output_length\":7,\"hash_ids\":[0,1,9]}\n");
  REQUIRE(trace.has_value());
  const auto& workload = trace->workload;
  CHECK(workload.requests[1].arrival == milliseconds(2500));
  const auto a = prompt_of(workload, 0, 50000), b = prompt_of(workload, 1, 50000);
  REQUIRE(a.size() == 1300);
  const auto apart = std::mismatch(b.begin(), b.end(), a.begin()).first - b.begin();
  CHECK(apart >= 1024);
  CHECK(apart < 1030);
}

TEST_CASE("our own JSONL carries prompts, classes and deadlines") {
  const auto trace = trace_of(
      "{\"arrival\":1,\"prompt\":[5,6,7],\"output_tokens\":2,\"deadline\":9}\n"
      "{\"arrival\":3,\"prompt_tokens\":600,\"prefix_ids\":[4],\"output_tokens\":1,"
      "\"class\":\"offline\"}\n");
  REQUIRE(trace.has_value());
  const auto& requests = trace->workload.requests;
  CHECK(requests[0].prompt == std::vector<TokenId>{5, 6, 7});
  CHECK(requests[0].prompt_tokens == Tokens(3));
  CHECK(requests[0].deadline == seconds(9));
  CHECK(requests[1].request_class == RequestClass::offline);
  CHECK(requests[1].prefix_ids == std::vector<std::uint64_t>{4});
  CHECK(requests[1].arrival == seconds(2));
}

TEST_CASE("ServeGen clients keep their rates, and those without lengths are counted") {
  const tests::TemporaryFolder folder;
  const auto path = folder.path() / "m";
  std::filesystem::create_directory(path);
  std::ofstream(path / "chunk-0-trace.csv") << "0,10,1,Gamma,1,0.1\n100,0,0,,0,0\n"
                                            << "200,20,3,Weibull,0.5,0.001\n";
  std::ofstream(path / "chunk-0-dataset.json")
      << R"({"0":{"input_tokens":"{30: 1.0}","output_tokens":"{7: 0.5, 9: 0.5}"},)"
      << R"("200":{"input_tokens":"{50: 1}","output_tokens":"{3: 1}"}})";
  std::ofstream(path / "chunk-1-trace.csv") << "0,10,1,Gamma,1,0.1\n";
  const auto trace = read_trace(path, {});
  REQUIRE(trace.has_value());
  REQUIRE(trace->notes.size() == 1);
  CHECK_THAT(trace->notes[0], Contains("1 clients have no lengths"));
  std::size_t early = 0, middle = 0, late = 0;
  for (const auto& request : trace->workload.requests) {
    (request.arrival < seconds(99) ? early : request.arrival < seconds(199) ? middle : late)++;
    const auto prompt = request.prompt_tokens.value(), output = request.output_tokens.value();
    REQUIRE(((prompt == 30 && (output == 7 || output == 9)) || (prompt == 50 && output == 3)));
  }
  CHECK(early > 850);
  CHECK(early < 1150);
  CHECK(middle < 30);
  CHECK(late > 1500);
  CHECK(late < 2600);
  const auto again = read_trace(path, {}), other = read_trace(path, {.seed = 1});
  CHECK(again->workload.requests.size() == trace->workload.requests.size());
  CHECK(again->workload.requests.back().arrival == trace->workload.requests.back().arrival);
  CHECK(other->workload.requests.back().arrival != trace->workload.requests.back().arrival);
  std::ofstream(path / "chunk-0-trace.csv") << "0,10,1,Gamma,1,0.1\n100,9,1,Normal,1,1\n";
  CHECK_THAT(read_trace(path, {}).error().message, Contains("chunk-0-trace.csv:2: 'Normal'"));
  std::filesystem::remove(path / "chunk-0-trace.csv");
  std::filesystem::remove(path / "chunk-1-trace.csv");
  CHECK_THAT(read_trace(path, {}).error().message, Contains("no ServeGen client files"));
}

TEST_CASE("a window, a share, a speed and scales of length make a trace fit") {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += std::to_string(i) + ",1000,100\n";
  const auto workload = trace_of(text)->workload;
  std::vector<std::string> notes;
  const auto window = scaled(workload, {.start = seconds(100), .length = seconds(50)}, notes);
  REQUIRE(window.has_value());
  CHECK(window->requests.size() == 50);
  CHECK(window->requests.front().arrival == Duration{});
  const auto share = scaled(workload, {.keep = 0.25, .seed = 3}, notes);
  CHECK(share->requests.size() > 200);
  CHECK(share->requests.size() < 300);
  const auto fast =
      scaled(workload, {.speed = 4, .prompt_scale = 0.125, .output_scale = 0.001}, notes);
  CHECK(fast->requests[8].arrival == seconds(2));
  CHECK(fast->requests[8].prompt_tokens == Tokens(125));
  CHECK(fast->requests[8].output_tokens == Tokens(1));
  CHECK(scaled(workload, {.max_requests = 7}, notes)->requests.size() == 7);
  CHECK(notes.empty());
  for (const auto& wrong : {Scaling{.keep = 0}, Scaling{.keep = 1.5}, Scaling{.speed = -1},
                            Scaling{.prompt_scale = std::nan("")}, Scaling{.start = seconds(5000)}})
    CHECK_FALSE(scaled(workload, wrong, notes).has_value());
}

TEST_CASE("prefixes shrink with the prompts they begin") {
  auto trace = trace_of(
      "{\"timestamp\":0,\"input_length\":1300,\"output_length\":5,\"hash_ids\":[0,1,2]}\n"
      "{\"timestamp\":0,\"input_length\":1200,\"output_length\":7,\"hash_ids\":[0,1,9]}\n");
  std::vector<std::string> notes;
  const auto small = scaled(trace->workload, {.prompt_scale = 0.125}, notes);
  REQUIRE(small.has_value());
  REQUIRE(check(*small).has_value());
  CHECK(small->prefix_id_tokens == Tokens(64));
  const auto a = prompt_of(*small, 0, 50000), b = prompt_of(*small, 1, 50000);
  CHECK(b.size() == 150);
  CHECK(std::mismatch(b.begin(), b.end(), a.begin()).first - b.begin() >= 128);
}

TEST_CASE("what is longer than the context is refused, or left out and counted") {
  const auto workload = trace_of("0,100,10\n1,200,10\n2,150,50\n3,150,51\n")->workload;
  std::vector<std::string> notes;
  const auto refused = scaled(workload, {.max_context = Tokens(200)}, notes);
  REQUIRE_FALSE(refused.has_value());
  CHECK_THAT(refused.error().message,
             Contains("2 requests are longer than the context of 200 tokens, the first with 200"));
  const auto rest = scaled(workload, {.max_context = Tokens(200), .drop_too_long = true}, notes);
  REQUIRE(rest.has_value());
  CHECK(rest->requests.size() == 2);
  REQUIRE(notes.size() == 1);
  CHECK_THAT(notes[0], Contains("2 requests"));
}

TEST_CASE("prompts come from lines, JSONL, BIG-Bench Hard and MMLU files") {
  const tests::TemporaryFolder folder;
  const auto read = [&](const std::string& name, const std::string& text) {
    std::ofstream(folder.path() / name) << text;
    return read_prompts(folder.path() / name);
  };
  CHECK(*read("a.txt", "one\n\n  \ntwo words\r\n") == std::vector<std::string>{"one", "two words"});
  CHECK(*read("a.jsonl", "{\"question\":\"1+1?\"}\n{\"prompt\":\"x\\ny\"}\n") ==
        std::vector<std::string>{"1+1?", "x\ny"});
  CHECK(*read("a.json", R"({"canary":"c","examples":[{"input":"not True","target":"False"}]})") ==
        std::vector<std::string>{"not True"});
  CHECK(*read("a.csv", "\"Find p, q\",0,4,2,6,B\n") == std::vector<std::string>{"Find p, q"});
  CHECK_THAT(read("b.jsonl", "{\"prompt\":\"x\"}\n{\"answer\":1}\n").error().message,
             Contains("b.jsonl:2: "));
  CHECK_THAT(read("b.json", R"({"examples":[{"input":1}]})").error().message,
             Contains("example 1 has no text"));
  CHECK_FALSE(read("b.txt", "\n").has_value());
  CHECK_FALSE(read_prompts(folder.path() / "none").has_value());
  std::vector<std::string> prompts{"a", "b"};
  std::ofstream(folder.path() / "shots") << "Q: x\n";
  REQUIRE(put_before(folder.path() / "shots", prompts).has_value());
  CHECK(prompts[1] == "Q: x\nb");
}

TEST_CASE("the published traces are read whole") {
  if (const auto file = shared_data("azure-llm-2023/AzureLLMInferenceTrace_conv.csv")) {
    const auto trace = read_trace(*file, {});
    REQUIRE(trace.has_value());
    CHECK(trace->workload.requests.size() == 19366);
    CHECK(mean_prompt(trace->workload) == Approx(1155).epsilon(0.01));
    std::vector<std::string> notes;
    const auto half = scaled(trace->workload, {.length = minutes(30)}, notes);
    CHECK(half->requests.back().arrival < minutes(30));
    CHECK(half->requests.back().arrival > minutes(29));
  }
  if (const auto file = shared_data("azure-llm-2023/AzureLLMInferenceTrace_code_first30min.csv"))
    CHECK(read_trace(*file, {})->workload.requests.size() == 5740);
  if (const auto file = shared_data("mooncake-fast25/conversation_0_20min.jsonl")) {
    const auto trace = read_trace(*file, {});
    INFO((trace ? std::string() : trace.error().message));
    REQUIRE(trace.has_value());
    CHECK(trace->workload.requests.size() == 3658);
    CHECK(trace->workload.requests.front().prefix_ids.size() == 14);
  }
  if (const auto file = shared_data("vidur-processed/arxiv_summarization_stats_every10th.csv")) {
    CHECK(read_trace(*file, offline)->workload.requests.size() == 2826);
    CHECK_THAT(read_trace(*file, {}).error().message, Contains("no column for arrival"));
  }
  if (const auto folder = shared_data("servegen/language/m-small")) {
    const auto trace = read_trace(*folder, {.span = minutes(10)});
    REQUIRE(trace.has_value());
    CHECK(trace->workload.requests.size() > 1000);
    CHECK(trace->workload.requests.back().arrival < minutes(10));
  }
}

}  // namespace tandem::sim
