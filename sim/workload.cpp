// See workload.hpp.
#include "sim/workload.hpp"

#include <algorithm>
#include <iterator>

#include "core/check.hpp"

namespace tandem::sim {
namespace {

/// The finalizer of splitmix64 over two words.
std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t z = a + 0x9e3779b97f4a7c15ULL * (b + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

/// Tags that keep made-up tokens of shared and of unshared positions apart.
constexpr std::uint64_t shared_tag = 0x51a3, unshared_tag = 0x70ff;

bool has_prefix_ids(const Workload& workload) {
  return std::any_of(workload.requests.begin(), workload.requests.end(),
                     [](const auto& request) { return !request.prefix_ids.empty(); });
}

std::string broken_rule(const Workload& workload, std::size_t index) {
  const auto& request = workload.requests[index];
  if (request.arrival < Duration{}) return "arrives before the start";
  if (index > 0 && request.arrival < workload.requests[index - 1].arrival)
    return "arrives before the one in front of it; a workload is ordered by arrival";
  if (request.prompt_tokens < Tokens(1)) return "has no prompt; at least 1 token is needed";
  if (request.output_tokens < Tokens(1)) return "generates nothing; at least 1 token is needed";
  const auto size = static_cast<std::int64_t>(request.prompt.size());
  if (size > 0 && request.prompt_tokens != Tokens(size))
    return "says " + std::to_string(request.prompt_tokens.value()) +
           " prompt tokens and has a prompt of " + std::to_string(size);
  const auto ids = static_cast<std::int64_t>(request.prefix_ids.size());
  if (ids > 0 && (ids - 1) * workload.prefix_id_tokens.value() >= request.prompt_tokens.value())
    return "has " + std::to_string(ids) + " prefix ids, more than its " +
           std::to_string(request.prompt_tokens.value()) + " prompt tokens have blocks";
  return {};
}

}  // namespace

Result<void> check(const Workload& workload) {
  if (workload.prefix_id_tokens < Tokens(1))
    return error(Errc::invalid_value, workload.name + ": a prefix id stands for at least 1 token");
  for (std::size_t i = 0; i < workload.requests.size(); ++i)
    if (const auto rule = broken_rule(workload, i); !rule.empty())
      return error(Errc::invalid_value,
                   workload.name + ": request " + std::to_string(i + 1) + " " + rule);
  return {};
}

std::vector<TokenId> prompt_of(const Workload& workload, std::size_t index, std::int64_t vocab_size,
                               std::uint64_t repetition) {
  TANDEM_CHECK(vocab_size > 0, "a vocabulary has tokens");
  const auto& request = workload.requests[index];
  const auto vocab = static_cast<std::uint64_t>(vocab_size);
  std::vector<TokenId> prompt = request.prompt;
  for (TokenId& token : prompt)
    token = static_cast<TokenId>(static_cast<std::uint64_t>(token) % vocab);
  if (!prompt.empty()) return prompt;
  const auto size = static_cast<std::size_t>(request.prompt_tokens.value());
  const auto per_id = static_cast<std::size_t>(workload.prefix_id_tokens.value());
  prompt.reserve(size);
  for (std::size_t i = 0; i < size; ++i) {
    const bool shared = i / per_id < request.prefix_ids.size();
    const std::uint64_t root = shared ? mix(shared_tag, request.prefix_ids[i / per_id])
                                      : mix(mix(unshared_tag, repetition), index);
    prompt.push_back(static_cast<TokenId>(mix(root, i) % vocab));
  }
  return prompt;
}

Workload merge(Workload online, Workload offline) {
  TANDEM_CHECK(online.prefix_id_tokens == offline.prefix_id_tokens || !has_prefix_ids(online) ||
                   !has_prefix_ids(offline),
               "prefix ids of merged workloads stand for equally many tokens");
  Workload merged;
  merged.name = online.requests.empty()    ? offline.name
                : offline.requests.empty() ? online.name
                                           : online.name + " + " + offline.name;
  merged.prefix_id_tokens =
      has_prefix_ids(online) ? online.prefix_id_tokens : offline.prefix_id_tokens;
  merged.requests.reserve(online.requests.size() + offline.requests.size());
  std::merge(std::make_move_iterator(online.requests.begin()),
             std::make_move_iterator(online.requests.end()),
             std::make_move_iterator(offline.requests.begin()),
             std::make_move_iterator(offline.requests.end()), std::back_inserter(merged.requests),
             [](const auto& a, const auto& b) { return a.arrival < b.arrival; });
  return merged;
}

}  // namespace tandem::sim
