// A plan as the device reads it: flat arrays of integers in one buffer at fixed places, so that a
// captured graph finds every iteration where the one before was. Written to pinned memory and
// copied at the iteration's start; nothing in it is a pointer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/plan.hpp"
#include "gpu/cuda/attend_schedule.hpp"
#include "gpu/cuda/model_shape.hpp"

namespace tandem::gpu::cuda {

/// Bounds of the API that the device's buffers are made for; a request beyond them is a bug.
inline constexpr std::size_t max_top_logprobs = 20;
inline constexpr std::size_t max_logit_bias = 1024;

/// Iterations that the device knows of at a time: one that runs, and one that stands behind it.
inline constexpr std::size_t max_on_device = 2;

struct IterationHeader {
  std::uint32_t rows = 0, sampled = 0;
  std::uint32_t decode_items = 0, decode_merges = 0;
  std::uint32_t prefill_items = 0, prefill_merges = 0;
  std::uint32_t ticket = 0;       ///< what the samples of this iteration are marked with
  std::uint32_t first_drawn = 0;  ///< where they begin in `outputs` and `drawn` (DrawArgs)
};

/// How one row is drawn from.
struct SampleInput {
  std::uint64_t seed = 0, drawn = 0;
  float temperature = 0, top_p = 1, min_p = 0;
  float repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0;
  std::int32_t top_k = 0;
  std::int32_t row = 0;  ///< of the iteration
  std::int32_t slot = 0;
  std::int32_t penalizes = 0;      ///< 1: the slot's counts are read and kept
  std::int32_t num_logprobs = -1;  ///< -1: none wanted
  std::uint32_t bias_first = 0, bias_count = 0;
  std::uint32_t reserved = 0;
};

/// By ascending token within a row, each token once.
struct BiasEntry {
  std::int32_t token = 0;
  float bias = 0;
};

/// What penalties know of a token: how often it was generated, and whether it is in the prompt.
inline constexpr std::uint32_t seen_in_prompt = 1U << 31;
struct SeenEntry {
  std::int32_t slot = 0, token = 0;
  std::uint32_t word = 0;
};

struct DeviceLogprob {
  std::int32_t token = 0;
  float logprob = 0;
};

/// Lies in mapped memory; `ticket` is written last.
struct SampleOutput {
  std::int32_t token = 0;
  float logprob = 0;
  std::uint32_t num_top = 0;
  DeviceLogprob top[max_top_logprobs];
  std::uint32_t ticket = 0;
};

/// What the largest iteration may hold.
struct IterationCapacity {
  std::int64_t rows = 0, sequences = 0, context = 0;
  std::int64_t extra_items = 0;  ///< of attend_schedule.hpp
  std::int64_t group = 1;

  [[nodiscard]] std::int64_t table_entries() const;
  [[nodiscard]] std::int64_t decode_items() const;
  [[nodiscard]] std::int64_t prefill_items() const;
  [[nodiscard]] std::int64_t biases() const;
  /// Of slots that are bound in one iteration; more are copied in several turns.
  [[nodiscard]] std::int64_t seen_entries() const;
};

/// Pointers into an iteration's buffer, on the host or on the device.
struct IterationView {
  IterationHeader* header = nullptr;
  /// By row. A negative token is ~(its place among those that the device drew): EmbedArgs.
  std::int32_t *tokens = nullptr, *positions = nullptr, *kv_slots = nullptr;
  SequenceInput* sequences = nullptr;  ///< by slice
  SampleInput* samples = nullptr;
  std::int32_t* sampled_rows = nullptr;
  AttendItem *decode_items = nullptr, *prefill_items = nullptr;
  MergeItem *decode_merges = nullptr, *prefill_merges = nullptr;
  std::uint32_t* tables = nullptr;  ///< block ids of all sequences, one after another
  BiasEntry* biases = nullptr;
  SeenEntry* seen = nullptr;
};

/// Where the arrays lie in a buffer. The first `fixed_bytes` are copied every time; of tables,
/// biases and seen entries what is used.
struct IterationLayout {
  explicit IterationLayout(const IterationCapacity& capacity);

  [[nodiscard]] IterationView view(std::byte* base) const;
  [[nodiscard]] Bytes bytes() const { return Bytes(total_); }

  std::int64_t fixed_bytes = 0, tables_at = 0, biases_at = 0, seen_at = 0;

 private:
  std::int64_t tokens_ = 0, positions_ = 0, kv_slots_ = 0, sequences_ = 0, samples_ = 0;
  std::int64_t sampled_rows_ = 0, decode_items_ = 0, decode_merges_ = 0;
  std::int64_t prefill_items_ = 0, prefill_merges_ = 0, total_ = 0;
};

/// What a slot remembers of its request between iterations. Penalties' counts are on the device.
struct SlotState {
  SamplingParams params;
  std::vector<BiasEntry> biases;
  std::uint64_t drawn = 0;  ///< tokens generated before the next one

  SlotState() = default;
  SlotState(const SamplingParams& sampling, std::size_t num_output);
};

/// Whether what was seen before counts for what is drawn.
bool penalizes(const SamplingParams& params);

/// The words of every token that penalties of `params` apply to, ascending by token.
std::vector<SeenEntry> seen_entries(SlotId slot, const SamplingParams& params,
                                    std::span<const TokenId> prompt,
                                    std::span<const TokenId> output);

/// What a packed iteration holds. Rows and block tables of the slices of one token (decodes) come
/// first, then those of the others (prefills), each in the plan's order: either kind is one range.
struct PackedIteration {
  std::int64_t rows = 0, sampled = 0, table_entries = 0, biases = 0;
  bool decode_only = false;  ///< every slice is one token
  std::vector<std::uint32_t> sampled_slices;
  std::vector<std::int32_t> decodes, prefills;  ///< slices
};

/// What the kernels of one pass are launched for: at least what the iteration's header will say.
struct PassSizes {
  std::int64_t rows = 0;  ///< a bucket
  std::int64_t sampled = 0;
  std::int64_t decode_items = 0, decode_merges = 0;
  std::int64_t prefill_items = 0, prefill_merges = 0;

  /// Of one iteration.
  static PassSizes of(const IterationHeader& header);
  /// Of every decode iteration of up to `bucket` sequences.
  static PassSizes of_decodes(std::int64_t bucket, const IterationCapacity& capacity);
};

/// How the samples of an iteration are told from others': see IterationHeader.
struct IterationMark {
  std::uint32_t ticket = 0, first_drawn = 0;
};

class IterationPacker {
 public:
  IterationPacker(const ModelShape& shape, const IterationCapacity& capacity,
                  std::int64_t num_blocks);

  /// Writes `plan` to `out` (host memory). `last_drawn` says where the tokens of the plan before
  /// lie among those that the device drew, by slice, -1 where none is sampled; `slots` by slot.
  /// Whatever does not fit is a bug of the scheduler and ends the process, as on the host device.
  const PackedIteration& pack(const Plan& plan, std::span<const std::int32_t> last_drawn,
                              std::span<const SlotState> slots, IterationMark mark,
                              const IterationView& out);

 private:
  void add_slice(const Plan& plan, std::int32_t index, std::span<const std::int32_t> last_drawn,
                 const IterationView& out);
  void add_sample(const Plan& plan, std::uint32_t index, const SlotState& slot,
                  const IterationView& out);
  void plan_attention_of(std::uint32_t num_slices, const IterationView& out);

  const ModelShape shape_;
  const IterationCapacity capacity_;
  const std::int64_t num_blocks_;
  PackedIteration packed_;
  std::vector<std::uint8_t> slot_used_;
  AttendSchedule decode_, prefill_;
};

}  // namespace tandem::gpu::cuda
