// See profile_sweep.hpp.
#include "cli/profile_sweep.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <future>
#include <memory>
#include <optional>
#include <random>
#include <utility>

namespace tandem::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int warm_up_iterations = 8;
constexpr double patience = 20;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Draws plans. Sequences of one plan have blocks of their own, as those of a service have: a KV
/// cache that is read twice is read from a cache of the processor.
class PlanSource {
 public:
  PlanSource(const gpu::DeviceLimits& limits, std::uint64_t seed) : limits_(limits), random_(seed) {
    auto request = std::make_shared<Request>();
    request->prompt = {0};
    request->sampling.temperature = 0;
    request->stop.max_tokens = limits.max_context;
    request_ = std::move(request);
  }

  /// Binds every slot; its time is not counted.
  PlanPtr binding_plan() {
    auto plan = begin();
    for (std::uint32_t slot = 0; slot < limits_.max_sequences; ++slot)
      plan->bindings.push_back({SlotId{slot}, request_, {}});
    add_slice(*plan, 0, 1, false, RequestClass::online);
    return plan;
  }

  PlanPtr draw() {
    auto plan = begin();
    const auto kind = below(4);  // decodes alone, prompts alone, both twice as often
    const auto request_class = below(2) == 0 ? RequestClass::online : RequestClass::offline;
    // One typical context for the whole plan: sums of independent ones would all be alike.
    const std::int64_t typical = log_uniform(1, limits_.max_context.value());
    if (kind != 1) {
      const auto most = std::min<std::int64_t>(limits_.max_sequences, rows_left_);
      for (auto count = log_uniform(1, most); count > 0; --count)
        add_slice(*plan, 1 + below(2 * typical), 1, true, request_class);
    }
    if (kind != 0) {
      for (auto count = log_uniform(1, 4); count > 0 && rows_left_ > 0; --count) {
        const std::int64_t context = below(2) == 0 ? 0 : log_uniform(1, 2 * typical);
        add_slice(*plan, context, log_uniform(1, rows_left_), false, request_class);
      }
    }
    if (plan->slices.empty()) add_slice(*plan, 0, 1, false, request_class);
    return plan;
  }

 private:
  std::shared_ptr<Plan> begin() {
    auto plan = std::make_shared<Plan>();
    plan->id = IterationId{next_plan_++};
    rows_left_ = limits_.max_iteration_tokens.value();
    next_block_ = 0;
    return plan;
  }

  std::int64_t below(std::int64_t bound) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(bound));
  }
  /// Each power of two of low .. high as often as any other.
  std::int64_t log_uniform(std::int64_t low, std::int64_t high) {
    const double unit = static_cast<double>(random_() >> 11) * 0x1p-53;
    const double spread = std::log(static_cast<double>(high + 1) / static_cast<double>(low));
    const double value = static_cast<double>(low) * std::exp(unit * spread);
    return std::clamp(static_cast<std::int64_t>(value), low, high);
  }

  /// As much of it as context, blocks and slots allow; nothing if that is nothing.
  void add_slice(Plan& plan, std::int64_t context, std::int64_t tokens, bool decode,
                 RequestClass request_class) {
    if (plan.slices.size() == limits_.max_sequences) return;
    const std::int64_t room = std::min(limits_.max_context.value(),
                                       (limits_.kv_blocks.value() - next_block_) * kv_block_tokens);
    if (room < 1) return;
    context = std::min(context, room - 1);
    tokens = std::min(tokens, room - context);
    Slice slice;
    slice.id = RequestId{plan.slices.size()};
    slice.slot = SlotId{static_cast<std::uint32_t>(plan.slices.size())};
    slice.request_class = request_class;
    slice.decode = decode;
    slice.samples = decode || below(2) == 0;
    slice.context = static_cast<std::uint32_t>(context);
    slice.num_tokens = static_cast<std::uint32_t>(tokens);
    slice.tokens = {static_cast<std::uint32_t>(plan.token_ids.size()), slice.num_tokens};
    for (std::int64_t i = 0; i < tokens; ++i)
      plan.token_ids.push_back(static_cast<TokenId>(below(limits_.vocab_size)));
    auto blocks = std::make_shared<BlockTable>();
    for (auto count = blocks_for(Tokens(context + tokens)).value(); count > 0; --count)
      blocks->push_back(BlockId{static_cast<std::uint32_t>(next_block_++)});
    slice.blocks = std::move(blocks);
    rows_left_ -= tokens;
    plan.slices.push_back(slice);
  }

  const gpu::DeviceLimits& limits_;
  std::mt19937_64 random_;
  RequestPtr request_;
  std::uint64_t next_plan_ = 0;
  std::int64_t rows_left_ = 0, next_block_ = 0;
};

/// Runs plans one after another as the executor does: where the device can, a plan is started while
/// the one before runs, and its time begins when that one is done.
class PlanRunner {
 public:
  explicit PlanRunner(gpu::Backend& backend) : backend_(backend) {}
  ~PlanRunner() {
    if (!ahead_) return;
    const auto& [result, at] = ahead_->get();
    if (result) static_cast<void>(backend_.collect(*ahead_plan_));  // for whoever is next
  }

  /// Runs `plan` to its end, with `next`, which is the following call's plan, behind it; seconds.
  Result<double> run(const PlanPtr& plan, const PlanPtr& next) {
    auto begin = ended_;
    for (std::uint32_t segment = 0; segment < backend_.num_segments(*plan); ++segment) {
      auto done = std::exchange(ahead_, std::nullopt);
      if (segment == 0 && !done) begin = Clock::now();
      if (!done) done = start(plan, segment);
      if (segment + 1 == backend_.num_segments(*plan) && backend_.runs_ahead(*next)) {
        ahead_plan_ = next;
        ahead_ = start(next, 0);
      }
      const auto& [result, at] = done->get();
      if (!result) return result.error();
      ended_ = at;
    }
    const auto samples = backend_.collect(*plan);
    if (!samples) return samples.error();
    return std::chrono::duration<double>(ended_ - begin).count();
  }

 private:
  using Done = std::pair<Result<void>, Clock::time_point>;

  std::shared_future<Done> start(const PlanPtr& plan, std::uint32_t segment) {
    auto done = std::make_shared<std::promise<Done>>();
    std::shared_future<Done> result = done->get_future();
    backend_.start_segment(plan, segment, [done](Result<void> told) {
      done->set_value({std::move(told), Clock::now()});
    });
    return result;
  }

  gpu::Backend& backend_;
  Clock::time_point ended_;
  std::optional<std::shared_future<Done>> ahead_;  ///< of the plan that the next call runs
  PlanPtr ahead_plan_;
};

}  // namespace

Result<std::vector<policy::LatencySample>> sweep(gpu::Backend& backend,
                                                 const SweepOptions& options) {
  PlanSource source(backend.limits(), options.seed);
  std::vector<policy::LatencySample> samples;
  PlanRunner runner(backend);
  const auto binding_plan = source.binding_plan();
  PlanPtr next = source.draw();
  if (const auto bound = runner.run(binding_plan, next); !bound) return bound.error();
  const auto start = Clock::now();
  const auto goes_on = [&] {
    const double passed = seconds_since(start);
    const bool too_few = samples.size() < options.least_iterations;
    return passed < options.seconds * (too_few ? patience : 1);
  };
  for (int i = 0; goes_on(); ++i) {
    const PlanPtr plan = std::exchange(next, source.draw());
    const auto seconds = runner.run(plan, next);
    if (!seconds) return seconds.error();
    if (i >= warm_up_iterations)
      samples.push_back({policy::IterationShape::of(*plan), *seconds * 1000, 1});
    if (options.progress && !options.progress(seconds_since(start), samples.size())) break;
  }
  return samples;
}

const std::vector<SweepRegion>& sweep_regions() {
  using Shape = const policy::IterationShape&;
  static const std::vector<SweepRegion> regions{
      {"decodes alone, up to 8", [](Shape s) { return s.prefills == 0 && s.decodes <= 8; }},
      {"decodes alone, up to 64",
       [](Shape s) { return s.prefills == 0 && s.decodes > 8 && s.decodes <= 64; }},
      {"decodes alone, more", [](Shape s) { return s.prefills == 0 && s.decodes > 64; }},
      {"prompts alone, up to 64 tokens",
       [](Shape s) { return s.decodes == 0 && s.prefill_tokens <= 64; }},
      {"prompts alone, up to 256 tokens",
       [](Shape s) { return s.decodes == 0 && s.prefill_tokens > 64 && s.prefill_tokens <= 256; }},
      {"prompts alone, more", [](Shape s) { return s.decodes == 0 && s.prefill_tokens > 256; }},
      {"mixed, up to 64 rows",
       [](Shape s) { return s.prefills > 0 && s.decodes > 0 && s.rows() <= 64; }},
      {"mixed, more rows",
       [](Shape s) { return s.prefills > 0 && s.decodes > 0 && s.rows() > 64; }},
  };
  return regions;
}

}  // namespace tandem::cli
