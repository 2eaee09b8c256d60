// What the offline order is worth on real prompts: BBH, MMLU and GSM8K with 8 examples each,
// shuffled together, run by the real SchedulerCore over a simple device in virtual time: an
// iteration takes 6 ms, 32 us per row and 50 ns per token of context (an 8B model on an H100).
//   prefill    prompt tokens computed; the optimum computes every distinct block once, and of each
//              prompt what is no full block
//   hits       prompt tokens found in the KV cache, of all
//   tokens/s   prompt and answer tokens of finished items by virtual time
//   usage: bench_prefix_order [DATA_FOLDER]      by default ../shared/data
#include <algorithm>
#include <cstdio>
#include <deque>
#include <memory>
#include <random>
#include <unordered_set>
#include <vector>

#include "bench/prompt_sets.hpp"
#include "core/check.hpp"
#include "policy/offline_order.hpp"
#include "policy/scheduler_core.hpp"

namespace tandem {
namespace {

using bench::FewShotPrompt;
using policy::OfflineOrder;
using policy::OrderRule;
using policy::SchedulerCore;

struct Outcome {
  std::int64_t prefill = 0;  ///< prompt tokens computed
  std::int64_t tokens = 0;   ///< prompt and answer
  std::uint64_t preemptions = 0;
  std::size_t items = 0;
  double seconds = 0;
};

double iteration_ms(const Plan& plan) {
  double context = 0;
  for (const Slice& slice : plan.slices) context += slice.context;
  return 6 + 0.032 * plan.num_rows() + 5e-5 * context;
}

class Run {
 public:
  Run(const std::vector<RequestPtr>& requests, const policy::OfflineOrderOptions& order,
      Blocks kv_blocks, bool prefix_cache)
      : requests_(requests),
        order_(order),
        core_(options(kv_blocks, prefix_cache), policy::make_online_first()) {
    const policy::BlockHasher hasher(1);
    order_.add_group(0, 1LL << 40);
    for (std::size_t i = 0; i < requests.size(); ++i) {
      const auto& request = *requests[i];
      order_.insert({.id = i, .group = 0, .age = i, .work = length(request)},
                    policy::make_prefix_key(hasher, 0, request.prompt));
    }
  }

  Outcome run() {
    apply(policy::Available{});
    while (!plans_.empty() || refill_ > 0) {
      if (refill_ > 0) {
        supply();
        continue;
      }
      const PlanPtr plan = plans_.front();
      plans_.pop_front();
      outcome_.seconds += iteration_ms(*plan) / 1000;
      apply(policy::Reported{report_of(*plan)});
    }
    TANDEM_CHECK(core_.idle() && order_.size() == 0, "everything was run");
    outcome_.preemptions = core_.stats().preemptions;
    return outcome_;
  }

 private:
  static policy::SchedulerOptions options(Blocks kv_blocks, bool prefix_cache) {
    policy::SchedulerOptions options;
    options.max_iteration_tokens = Tokens(2048);
    options.max_sequences = 256;
    options.kv_blocks = kv_blocks;
    options.prefix_cache = prefix_cache;
    options.hash_key = 42;
    return options;
  }
  static Tokens length(const Request& request) {
    return Tokens(static_cast<std::int64_t>(request.prompt.size())) + request.stop.max_tokens;
  }

  void supply() {
    policy::Supplied supplied;
    while (supplied.items.size() < refill_) {
      const auto item = order_.take();
      if (!item) break;
      supplied.items.push_back(requests_[item->id]);
    }
    refill_ = 0;
    apply(supplied);
  }

  void apply(const policy::Event& event) {
    for (const auto& action : core_.on(event, TimePoint{})) {
      if (const auto* launch = std::get_if<policy::Launch>(&action)) plans_.push_back(launch->plan);
      if (const auto* refill = std::get_if<policy::Refill>(&action)) refill_ = refill->count;
      if (const auto* emit = std::get_if<policy::Emit>(&action))
        for (const auto& token : emit->events)
          if (token.finish) finished(token.id);
    }
  }

  void finished(RequestId id) {
    outcome_.tokens += length(*requests_[raw(id)]).value();
    ++outcome_.items;
  }

  ReportPtr report_of(const Plan& plan) {
    auto report = std::make_shared<IterationReport>();
    report->id = plan.id;
    for (std::uint32_t i = 0; i < plan.slices.size(); ++i) {
      if (!plan.slices[i].decode) outcome_.prefill += plan.slices[i].num_tokens;
      if (plan.slices[i].samples) report->samples.push_back({i, 7, 0, {}});
    }
    return report;
  }

  const std::vector<RequestPtr>& requests_;
  OfflineOrder order_;
  SchedulerCore core_;
  std::deque<PlanPtr> plans_;
  std::uint32_t refill_ = 0;
  Outcome outcome_;
};

/// Every distinct full block once (but for the block of the last token, which is always computed),
/// and each prompt's rest.
std::int64_t optimal_prefill(const std::vector<RequestPtr>& requests) {
  const policy::KvLedger ledger({.num_blocks = Blocks(1), .prefix_cache = true, .hash_key = 3});
  std::unordered_set<std::uint64_t> seen;
  std::int64_t tokens = 0;
  for (const auto& request : requests) {
    std::vector<policy::BlockHash> hashes;
    ledger.extend_hashes(0, request->prompt, hashes);
    const auto reusable = (request->prompt.size() - 1) / kv_block_tokens;
    tokens += static_cast<std::int64_t>(request->prompt.size() - reusable * kv_block_tokens);
    for (std::size_t i = 0; i < reusable; ++i)
      if (seen.insert(hashes[i].low).second) tokens += kv_block_tokens;
  }
  return tokens;
}

std::vector<RequestPtr> make_requests(std::vector<FewShotPrompt> prompts, bool score_only) {
  std::mt19937_64 random(1);
  std::shuffle(prompts.begin(), prompts.end(), random);
  std::vector<RequestPtr> requests;
  for (auto& prompt : prompts) {
    auto request = std::make_shared<Request>();
    request->id = RequestId{requests.size()};
    request->request_class = RequestClass::offline;
    request->prompt = std::move(prompt.tokens);
    request->stop.max_tokens = score_only ? Tokens(1) : prompt.answer;
    requests.push_back(std::move(request));
  }
  return requests;
}

void compare(const std::vector<RequestPtr>& requests, double room, std::int64_t all_tokens) {
  const Blocks blocks(static_cast<std::int64_t>(room * static_cast<double>(all_tokens)) /
                      kv_block_tokens);
  std::printf("\nKV room for %g %% of the prompts' tokens: %lld blocks\n", 100 * room,
              static_cast<long long>(blocks.value()));
  std::printf("%-26s %10s %7s %9s %11s %9s %9s\n", "order", "prefill", "hits", "seconds",
              "tokens/s", "x fcfs", "preempted");
  struct Setting {
    const char* name;
    policy::OfflineOrderOptions options;
    bool prefix_cache = true;
  };
  const Setting settings[] = {
      {"fcfs", {.rule = OrderRule::fcfs}},
      {"prefix_fair, ratio 0.9", {.rule = OrderRule::prefix_fair, .utility_ratio = 0.9}},
      {"prefix_fair, ratio 0.99", {.rule = OrderRule::prefix_fair, .utility_ratio = 0.99}},
      {"prefix", {.rule = OrderRule::prefix}},
      {"fcfs, no prefix cache", {.rule = OrderRule::fcfs}, false},
  };
  double baseline = 0;
  for (const auto& setting : settings) {
    const Outcome outcome = Run(requests, setting.options, blocks, setting.prefix_cache).run();
    const double rate = static_cast<double>(outcome.tokens) / outcome.seconds;
    if (baseline == 0) baseline = rate;
    std::printf("%-26s %10lld %6.1f%% %9.1f %11.0f %9.2f %9llu\n", setting.name,
                static_cast<long long>(outcome.prefill),
                100 * (1 - static_cast<double>(outcome.prefill) / static_cast<double>(all_tokens)),
                outcome.seconds, rate, rate / baseline,
                static_cast<unsigned long long>(outcome.preemptions));
  }
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  const std::filesystem::path data = argc > 1 ? argv[1] : "../shared/data";
  const auto tokenizer = tandem::model::load_tokenizer(data / "hf-tokenizers");
  if (!tokenizer) {
    std::printf("skipped: no tokenizer in %s\n", (data / "hf-tokenizers").c_str());
    return 0;
  }
  auto prompts = tandem::bench::few_shot_prompts(data, **tokenizer);
  if (prompts.empty()) {
    std::printf("skipped: bbh, mmlu or gsm8k is absent in %s\n", data.c_str());
    return 0;
  }
  std::unordered_set<std::string> families;
  std::int64_t all_tokens = 0;
  for (const auto& prompt : prompts) {
    families.insert(prompt.family);
    all_tokens += static_cast<std::int64_t>(prompt.tokens.size());
  }
  const auto print_head = [&](const std::vector<tandem::RequestPtr>& requests) {
    const auto optimum = tandem::optimal_prefill(requests);
    std::printf(
        "%zu prompts of %zu families, %lld tokens; optimal prefill %lld tokens"
        " (%.1f %% hits)\n",
        requests.size(), families.size(), static_cast<long long>(all_tokens),
        static_cast<long long>(optimum),
        100 * (1 - static_cast<double>(optimum) / static_cast<double>(all_tokens)));
  };
  for (const bool score_only : {false, true}) {
    const auto requests = tandem::make_requests(prompts, score_only);
    if (score_only)
      std::printf("\n==== the same prompts with answers of one token ====\n");
    else
      print_head(requests);
    for (const double room : {1.0, 0.05, 0.02, 0.01, 0.005})
      tandem::compare(requests, room, all_tokens);
  }
}
