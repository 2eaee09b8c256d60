// One iteration, as a value: what the scheduler decides, the executor runs and the report answers.
// A plan is complete: block tables and known tokens are in it, so a device keeps no sequence state
// but the sampler's (per slot) and the token ids that the previous iteration sampled.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/request.hpp"
#include "core/result.hpp"
#include "core/units.hpp"

namespace tandem {

/// Tokens per KV block, everywhere.
inline constexpr std::int64_t kv_block_tokens = 16;

/// The blocks that `tokens` positions need.
constexpr Blocks blocks_for(Tokens tokens) {
  return Blocks((tokens.value() + kv_block_tokens - 1) / kv_block_tokens);
}

/// A run of entries in the plan's flat array of tokens.
struct Range {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};

/// A sequence's blocks, by position. The plans of a sequence share one table until it gets another
/// block: copying each into each plan was a third of the host's time at 256 sequences.
using BlockTable = std::vector<BlockId>;
using BlockTablePtr = std::shared_ptr<const BlockTable>;

/// One request's tokens in one iteration: positions context .. context + num_tokens - 1.
struct Slice {
  RequestId id{};
  SlotId slot{};
  RequestClass request_class = RequestClass::online;
  bool decode = false;  ///< one token that this request generated itself (for metrics, row kinds)
  bool samples =
      false;  ///< the last row's logits yield a token (false for all but the last prefill chunk)
  std::uint32_t context = 0;     ///< positions already in the KV cache once earlier plans are done
  std::uint32_t num_tokens = 0;  ///< at least 1
  Range tokens;  ///< into Plan::token_ids; count == num_tokens, or 0 when the token is still to be
                 ///< sampled
  /// If tokens.count == 0: the index of the slice in the previous plan (id - 1) whose sample it is.
  std::uint32_t source_slice = 0;
  BlockTablePtr blocks;  ///< covers at least context + num_tokens positions
};

/// A sequence takes a slot: the device (re)builds the slot's sampler state from these.
struct SlotBinding {
  SlotId slot{};
  RequestPtr request;
  std::vector<TokenId> output;  ///< generated before (non-empty after a preemption by recompute)
};

struct Plan {
  IterationId id{};  ///< consecutive; a device runs plans in this order
  std::vector<SlotBinding> bindings;
  std::vector<Slice> slices;
  std::vector<TokenId> token_ids;

  [[nodiscard]] std::span<const TokenId> tokens_of(const Slice& s) const {
    return std::span(token_ids).subspan(s.tokens.first, s.tokens.count);
  }
  /// Rows of the forward pass: the sum of the slices' tokens.
  [[nodiscard]] std::uint32_t num_rows() const {
    std::uint32_t rows = 0;
    for (const auto& s : slices) rows += s.num_tokens;
    return rows;
  }
  [[nodiscard]] bool offline_only() const {
    for (const auto& s : slices)
      if (s.request_class == RequestClass::online) return false;
    return true;
  }
};
using PlanPtr = std::shared_ptr<const Plan>;

/// What a slice with `samples` yielded.
struct Sample {
  std::uint32_t slice = 0;  ///< index into Plan::slices
  TokenId token = 0;
  float logprob = 0;
  std::vector<TokenLogprob> top_logprobs;
};

enum class Outcome : std::uint8_t {
  done,     ///< all slices ran: progress is committed
  aborted,  ///< stopped at a safepoint: nothing is committed
  failed,   ///< the device reported an error: nothing is committed
};

struct IterationReport {
  IterationId id{};
  Outcome outcome = Outcome::done;
  std::vector<Sample> samples;  ///< in slice order, one per slice with `samples`; empty unless done
  /// From the first segment's start to the last one's end; of a plan that was started ahead, from
  /// the end of the plan before.
  Duration elapsed{};
  std::optional<Error> error;  ///< with outcome == failed
};
using ReportPtr = std::shared_ptr<const IterationReport>;

}  // namespace tandem
