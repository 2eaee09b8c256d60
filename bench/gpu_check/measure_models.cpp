// How fast whole iterations of a large model run: decode, prefill, graphs, and how soon an offline
// iteration yields. Beside each figure its floor, and the share of it that is reached.
#include <algorithm>
#include <chrono>
#include <numeric>

#include "bench/gpu_check/model_runner.hpp"
#include "gpu/cuda/buckets.hpp"

namespace tandem::gpu_check {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double layer_parameters(const model::ModelConfig& config) {
  const auto embeddings = config.vocab_size * config.hidden_size * (config.tied_head ? 1 : 2);
  return static_cast<double>(config.num_parameters() - embeddings);
}

/// The bytes that one decode iteration reads at least: every matrix but the embedding, and keys.
double least_bytes(const model::ModelConfig& config, std::int64_t sequences, std::int64_t context) {
  const double head = static_cast<double>(config.vocab_size * config.hidden_size);
  const double keys =
      static_cast<double>(2 * config.num_layers * config.num_kv_heads * config.head_dim) *
      static_cast<double>(sequences * context);
  return 2 * (layer_parameters(config) + head + keys);
}

/// Of a prefill: products with the layers' weights, the head for the one row that is drawn from,
/// and both products of attention over what comes before each token.
double least_operations(const model::ModelConfig& config, std::int64_t tokens,
                        std::int64_t history) {
  const double count = static_cast<double>(tokens);
  const double pairs = count * static_cast<double>(history) + count * (count + 1) / 2;
  return 2 * layer_parameters(config) * count +
         2 * static_cast<double>(config.vocab_size * config.hidden_size) +
         4 * static_cast<double>(config.num_layers * config.num_heads * config.head_dim) * pairs;
}

std::vector<std::vector<TokenId>> one_chunk(const ModelSize& size, std::int64_t tokens) {
  return {some_tokens(static_cast<std::size_t>(tokens), size.config.vocab_size, 1)};
}

/// Of some decode iterations after another.
struct DecodeTimes {
  double seconds = 0, host_seconds = 0;  ///< an iteration
  std::vector<double> gaps_us;           ///< between two graphs on the device, ascending
  std::vector<double> graphs_ms;         ///< of the graphs themselves, ascending
};

template <class Decode>
DecodeTimes time_decodes(ModelRunner& runner, std::size_t steps, const Decode& decode) {
  must(runner.timed_driver().time_launches(steps));
  runner.take_host_seconds();
  const auto start = Clock::now();
  decode();
  DecodeTimes times{.seconds = seconds_since(start) / static_cast<double>(steps),
                    .host_seconds = runner.take_host_seconds() / static_cast<double>(steps)};
  runner.finish();
  for (const auto gap : must(runner.timed_driver().gaps()))
    times.gaps_us.push_back(to_ms(gap) * 1e3);
  for (const auto span : must(runner.timed_driver().spans()))
    times.graphs_ms.push_back(to_ms(span));
  std::sort(times.gaps_us.begin(), times.gaps_us.end());
  std::sort(times.graphs_ms.begin(), times.graphs_ms.end());
  return times;
}

/// The device's idle time, under the names of its median and its worst.
void report_gaps(const std::string& name, const DecodeTimes& times, const char* median,
                 const char* worst, Report& report) {
  const auto& gaps = times.gaps_us;
  if (gaps.empty()) return report.note(name, "not replayed by graphs: idle time is not known");
  report.figure(name, gaps[gaps.size() / 2], median);
  report.figure(name, gaps.back(), worst);
}

/// What one decode shape took, by the host's clock, and on the device between two graphs.
void measure_decode_shape(ModelRunner& runner, const ModelSize& size, const Ceilings& ceilings,
                          std::int64_t sequences, std::int64_t context, Report& report) {
  constexpr std::size_t steps = 20;
  const auto name =
      "decode " + size.name + " " + std::to_string(sequences) + " x " + std::to_string(context);
  const auto& limits = runner.backend().limits();
  const auto blocks = sequences * blocks_for(Tokens(context + 64)).value();
  if (blocks > limits.kv_blocks.value() || sequences > limits.max_sequences ||
      context + 64 > limits.max_context.value())
    return report.note(name, "does not fit this device's KV memory");
  runner.make_sequences(static_cast<std::size_t>(sequences), context + 64, RequestClass::online,
                        {.temperature = 0});
  runner.pretend_context(context);
  for (int i = 0; i < 3; ++i) runner.decode();
  const auto times = time_decodes(runner, steps, [&] { runner.decode_ahead(steps); });
  const auto one_by_one = time_decodes(runner, steps, [&] {
    for (std::size_t i = 0; i < steps; ++i) runner.decode();
  });
  const double seconds = times.seconds;
  const double floor = least_bytes(size.config, sequences, context) / ceilings.bytes_per_second;
  report.figure(name, seconds * 1e3, "ms an iteration");
  report.figure(name, static_cast<double>(sequences) / seconds, "tokens/s");
  report.figure(name, floor * 1e3, "ms floor: weights and keys at the copy's bytes a second");
  report.figure(name, 100 * floor / seconds, "% of the floor's rate");
  report.figure(name, times.host_seconds * 1e6, "us of the host an iteration");
  if (!times.graphs_ms.empty())
    report.figure(name, times.graphs_ms[times.graphs_ms.size() / 2], "ms in the graph, median");
  report_gaps(name, times, "us without compute between iterations, median",
              "us without compute between iterations, worst", report);
  report.figure(name, one_by_one.seconds * 1e3, "ms an iteration, one by one");
  report_gaps(name, one_by_one, "us without compute between iterations, one by one, median",
              "us without compute between iterations, one by one, worst", report);
}

}  // namespace

void measure_decode(ModelRunner& runner, const ModelSize& size, const Ceilings& ceilings,
                    Report& report) {
  struct Shape {
    std::int64_t sequences, context;
  };
  constexpr Shape shapes[] = {{1, 1024},   {8, 1024}, {32, 1024}, {64, 1024}, {256, 1536},
                              {1, 2048},   {8, 2048}, {32, 2048}, {64, 2048}, {128, 2048},
                              {256, 2048}, {1, 8192}, {32, 8192}, {1, 15000}};
  if (runner.lab().scale < 1) return measure_decode_shape(runner, size, ceilings, 2, 20, report);
  for (const auto& shape : shapes) {
    if (runner.lab().late()) return report.note("decode", "the command's time is over");
    measure_decode_shape(runner, size, ceilings, shape.sequences, shape.context, report);
  }
}

void measure_prefill(ModelRunner& runner, const ModelSize& size, const Ceilings& ceilings,
                     Report& report) {
  const bool tiny = runner.lab().scale < 1;
  const std::vector<std::int64_t> histories =
      tiny ? std::vector<std::int64_t>{0, 16} : std::vector<std::int64_t>{0, 8192};
  const std::vector<std::int64_t> chunks =
      tiny ? std::vector<std::int64_t>{16} : std::vector<std::int64_t>{512, 2048, 4096, 8192};
  for (const auto history : histories)
    for (const auto tokens : chunks) {
      if (runner.lab().late()) return report.note("prefill", "the command's time is over");
      double best = 0;
      for (int round = 0; round < 4; ++round) {
        runner.make_sequences(1, history + tokens, RequestClass::online, {.temperature = 0});
        runner.pretend_context(history);
        const auto start = Clock::now();
        runner.prefill(one_chunk(size, tokens));
        const double seconds = seconds_since(start);
        if (round > 0 && (best == 0 || seconds < best)) best = seconds;
      }
      const auto name = "prefill " + size.name + " " + std::to_string(tokens) + " after " +
                        std::to_string(history);
      const double work = least_operations(size.config, tokens, history);
      report.figure(name, best * 1e3, "ms");
      report.figure(name, work / best / 1e12, "TFLOP/s of products and attention");
      report.figure(name, 100 * work / best / ceilings.operations_per_second,
                    "% of the large product's rate");
    }
}

void measure_graphs(ModelRunner& runner, const ModelSize& size, Report& report) {
  // One sequence decodes by a replayed graph; two tokens of one sequence, at the same place and
  // with the same weights to read, are launched kernel by kernel.
  constexpr int steps = 20;
  const auto measure = [&](std::size_t tokens) {
    const std::vector<std::vector<TokenId>> chunk{some_tokens(tokens, size.config.vocab_size, 3)};
    runner.make_sequences(1, 512, RequestClass::online, {.temperature = 0});
    runner.pretend_context(256);
    for (int i = 0; i < 3; ++i) runner.prefill(chunk);
    const auto start = Clock::now();
    for (int i = 0; i < steps; ++i) runner.prefill(chunk);
    return seconds_since(start) / steps;
  };
  report.figure("graph: one row, replayed", measure(1) * 1e3, "ms an iteration");
  report.figure("graph: two rows, launched one by one", measure(2) * 1e3, "ms an iteration");
}

namespace {

/// Seconds of one whole prefill of a class: offline ones run in segments.
double prefill_seconds(ModelRunner& runner, const ModelSize& size, std::int64_t tokens,
                       RequestClass request_class) {
  runner.make_sequences(1, tokens + 64, request_class, {.temperature = 0});
  const auto start = Clock::now();
  runner.prefill(one_chunk(size, tokens));
  return seconds_since(start);
}

struct Yield {
  double device = 0;  ///< seconds from the request until the offline plan has left the device
  double token = 0;   ///< seconds from the request until its first token
};

/// A request arrives `after` seconds into an offline plan and is noticed, as by the executor, when
/// the next segment is reported; segments that were queued by then still run.
Yield yield_after(ModelRunner& runner, const ModelSize& size, std::int64_t tokens, double after) {
  runner.make_sequences(2, tokens + 64, RequestClass::offline, {.temperature = 0});
  const auto plan = runner.prefill_plan(one_chunk(size, tokens));
  const auto segments = runner.backend().num_segments(*plan);
  const auto start = Clock::now();
  std::uint32_t next = 0;
  do runner.run_segment(plan, next++);
  while (next < segments && seconds_since(start) < after);
  if (next < segments)
    runner.backend().abort(*plan);
  else
    must(runner.backend().collect(*plan));
  runner.finish();
  const double device = seconds_since(start) - after;
  runner.prefill({{}, {5}});
  return {std::max(0.0, device), std::max(0.0, seconds_since(start) - after)};
}

}  // namespace

void measure_preemption(ModelRunner& runner, const ModelSize& size, std::uint32_t group,
                        Report& report) {
  const bool tiny = runner.lab().scale < 1;
  const int rounds = tiny ? 4 : 20;
  const auto tokens =
      std::min<std::int64_t>(2048, runner.backend().limits().max_iteration_tokens.value());
  const auto name = "preempt " + size.name + " " + std::to_string(tokens) + " tokens, groups of " +
                    std::to_string(group);
  std::vector<double> whole, in_groups;
  for (int round = 0; round < (tiny ? 2 : 11); ++round) {
    if (runner.lab().late()) return report.note(name, "the command's time is over");
    whole.push_back(prefill_seconds(runner, size, tokens, RequestClass::online));
    in_groups.push_back(prefill_seconds(runner, size, tokens, RequestClass::offline));
  }
  whole.erase(whole.begin());
  in_groups.erase(in_groups.begin());
  report.figure(name, mean(in_groups) * 1e3, "ms a whole offline iteration");
  report.figure(name, 100 * (mean(in_groups) / mean(whole) - 1),
                "% longer than in one piece: the safepoints when nobody preempts");
  std::vector<double> device, token;
  for (int round = 0; round < rounds && !runner.lab().late(); ++round) {
    const auto yield = yield_after(runner, size, tokens, (round + 0.5) / rounds * mean(in_groups));
    device.push_back(yield.device);
    token.push_back(yield.token);
  }
  if (device.empty()) return report.note(name, "the command's time is over");
  std::sort(device.begin(), device.end());
  std::sort(token.begin(), token.end());
  report.figure(name, device[device.size() / 2] * 1e3, "ms from request to yield, median");
  report.figure(name, device.back() * 1e3, "ms from request to yield, worst");
  report.figure(name, token[token.size() / 2] * 1e3, "ms from request to its token, median");
  report.figure(name, token.back() * 1e3, "ms from request to its token, worst");
}

}  // namespace tandem::gpu_check
