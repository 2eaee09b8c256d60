// See iteration.hpp.
#include "gpu/cuda/iteration.hpp"

#include <algorithm>
#include <cstring>

#include "core/check.hpp"
#include "gpu/cuda/buckets.hpp"

namespace tandem::gpu::cuda {
namespace {

/// Arrays begin at multiples of it.
constexpr std::int64_t alignment = 256;
constexpr std::int64_t least_seen_entries = 1LL << 16;

template <class T>
std::int64_t place(std::int64_t& next, std::int64_t count) {
  const auto at = next;
  next = round_up(next + count * static_cast<std::int64_t>(sizeof(T)), alignment);
  return at;
}

template <class T>
T* at(std::byte* base, std::int64_t offset) {
  return reinterpret_cast<T*>(base + offset);
}

}  // namespace

std::int64_t IterationCapacity::table_entries() const {
  return std::min(sequences, rows) * blocks_for(Tokens(context)).value();
}
std::int64_t IterationCapacity::decode_items() const {
  return std::min(sequences, rows) * tiles_of(1, group, decode_tile_rows) + extra_items;
}
std::int64_t IterationCapacity::prefill_items() const {
  return tiles_of(rows, group, prefill_tile_rows) + std::min(sequences, rows) + extra_items;
}
std::int64_t IterationCapacity::biases() const {
  return sequences * static_cast<std::int64_t>(max_logit_bias);
}
std::int64_t IterationCapacity::seen_entries() const {
  return std::max(least_seen_entries, context);
}

IterationLayout::IterationLayout(const IterationCapacity& capacity) {
  std::int64_t next = 0;
  place<IterationHeader>(next, 1);
  tokens_ = place<std::int32_t>(next, capacity.rows);
  positions_ = place<std::int32_t>(next, capacity.rows);
  kv_slots_ = place<std::int32_t>(next, capacity.rows);
  sequences_ = place<SequenceInput>(next, capacity.sequences);
  samples_ = place<SampleInput>(next, capacity.sequences);
  sampled_rows_ = place<std::int32_t>(next, capacity.sequences);
  decode_items_ = place<AttendItem>(next, capacity.decode_items());
  decode_merges_ = place<MergeItem>(next, capacity.extra_items);
  prefill_items_ = place<AttendItem>(next, capacity.prefill_items());
  prefill_merges_ = place<MergeItem>(next, capacity.extra_items);
  fixed_bytes = next;
  tables_at = place<std::uint32_t>(next, capacity.table_entries());
  biases_at = place<BiasEntry>(next, capacity.biases());
  seen_at = place<SeenEntry>(next, capacity.seen_entries());
  total_ = next;
}

IterationView IterationLayout::view(std::byte* base) const {
  return {.header = at<IterationHeader>(base, 0),
          .tokens = at<std::int32_t>(base, tokens_),
          .positions = at<std::int32_t>(base, positions_),
          .kv_slots = at<std::int32_t>(base, kv_slots_),
          .sequences = at<SequenceInput>(base, sequences_),
          .samples = at<SampleInput>(base, samples_),
          .sampled_rows = at<std::int32_t>(base, sampled_rows_),
          .decode_items = at<AttendItem>(base, decode_items_),
          .prefill_items = at<AttendItem>(base, prefill_items_),
          .decode_merges = at<MergeItem>(base, decode_merges_),
          .prefill_merges = at<MergeItem>(base, prefill_merges_),
          .tables = at<std::uint32_t>(base, tables_at),
          .biases = at<BiasEntry>(base, biases_at),
          .seen = at<SeenEntry>(base, seen_at)};
}

// ---- slots -------------------------------------------------------------------------------------

SlotState::SlotState(const SamplingParams& sampling, std::size_t num_output)
    : params(sampling), drawn(num_output) {
  TANDEM_CHECK(params.logit_bias.size() <= max_logit_bias, "more biases than the API admits");
  TANDEM_CHECK(params.logprobs.value_or(0) <= max_top_logprobs,
               "more logprobs than the API admits");
  for (const auto& [token, bias] : params.logit_bias) biases.push_back({token, bias});
  std::stable_sort(biases.begin(), biases.end(),
                   [](const BiasEntry& a, const BiasEntry& b) { return a.token < b.token; });
  std::size_t kept = 0;
  for (const auto& one : biases) {
    if (kept > 0 && biases[kept - 1].token == one.token)
      biases[kept - 1].bias += one.bias;
    else
      biases[kept++] = one;
  }
  biases.resize(kept);
}

bool penalizes(const SamplingParams& params) {
  return params.repetition_penalty != 1.0F || params.presence_penalty != 0.0F ||
         params.frequency_penalty != 0.0F;
}

std::vector<SeenEntry> seen_entries(SlotId slot, const SamplingParams& params,
                                    std::span<const TokenId> prompt,
                                    std::span<const TokenId> output) {
  if (!penalizes(params)) return {};
  std::vector<SeenEntry> entries;
  entries.reserve(prompt.size() + output.size());
  const auto place = static_cast<std::int32_t>(raw(slot));
  if (params.repetition_penalty != 1.0F)
    for (const auto token : prompt) entries.push_back({place, token, seen_in_prompt});
  for (const auto token : output) entries.push_back({place, token, 1});
  std::sort(entries.begin(), entries.end(),
            [](const SeenEntry& a, const SeenEntry& b) { return a.token < b.token; });
  std::size_t kept = 0;
  for (const auto& one : entries) {
    if (kept == 0 || entries[kept - 1].token != one.token) {
      entries[kept++] = one;
    } else {
      auto& word = entries[kept - 1].word;
      word = ((word | one.word) & seen_in_prompt) |
             ((word & ~seen_in_prompt) + (one.word & ~seen_in_prompt));
    }
  }
  entries.resize(kept);
  return entries;
}

// ---- sizes -------------------------------------------------------------------------------------

PassSizes PassSizes::of(const IterationHeader& header) {
  return {.rows = bucket_of(header.rows),
          .sampled = header.sampled,
          .decode_items = header.decode_items,
          .decode_merges = header.decode_merges,
          .prefill_items = header.prefill_items,
          .prefill_merges = header.prefill_merges};
}

PassSizes PassSizes::of_decodes(std::int64_t bucket, const IterationCapacity& capacity) {
  return {
      .rows = bucket,
      .sampled = bucket,
      .decode_items = bucket * tiles_of(1, capacity.group, decode_tile_rows) + capacity.extra_items,
      .decode_merges = capacity.extra_items};
}

// ---- packing -----------------------------------------------------------------------------------

IterationPacker::IterationPacker(const ModelShape& shape, const IterationCapacity& capacity,
                                 std::int64_t num_blocks)
    : shape_(shape), capacity_(capacity), num_blocks_(num_blocks) {
  slot_used_.resize(static_cast<std::size_t>(capacity.sequences));
  packed_.sampled_slices.reserve(slot_used_.size());
  packed_.decodes.reserve(slot_used_.size());
  packed_.prefills.reserve(slot_used_.size());
  decode_.reserve(capacity.decode_items(), 0);
  prefill_.reserve(capacity.prefill_items(), 0);
}

const PackedIteration& IterationPacker::pack(const Plan& plan,
                                             std::span<const std::int32_t> last_drawn,
                                             std::span<const SlotState> slots, IterationMark mark,
                                             const IterationView& out) {
  TANDEM_CHECK(!plan.slices.empty(), "a plan without slices");
  TANDEM_CHECK(static_cast<std::int64_t>(plan.slices.size()) <= capacity_.sequences,
               "more slices than slots");
  packed_.rows = packed_.sampled = packed_.table_entries = packed_.biases = 0;
  packed_.sampled_slices.clear();
  packed_.decodes.clear();
  packed_.prefills.clear();
  std::fill(slot_used_.begin(), slot_used_.end(), std::uint8_t{0});
  for (std::uint32_t i = 0; i < plan.slices.size(); ++i) {
    const auto& slice = plan.slices[i];
    TANDEM_CHECK(raw(slice.slot) < slot_used_.size(), "a slice beyond the slots");
    TANDEM_CHECK(slot_used_[raw(slice.slot)]++ == 0, "a slot that has two slices");
    (slice.num_tokens == 1 ? packed_.decodes : packed_.prefills)
        .push_back(static_cast<std::int32_t>(i));
  }
  for (const auto index : packed_.decodes) add_slice(plan, index, last_drawn, out);
  for (const auto index : packed_.prefills) add_slice(plan, index, last_drawn, out);
  for (std::uint32_t i = 0; i < plan.slices.size(); ++i)
    if (plan.slices[i].samples) add_sample(plan, i, slots[raw(plan.slices[i].slot)], out);
  packed_.decode_only = packed_.prefills.empty();
  plan_attention_of(static_cast<std::uint32_t>(plan.slices.size()), out);
  *out.header = {.rows = static_cast<std::uint32_t>(packed_.rows),
                 .sampled = static_cast<std::uint32_t>(packed_.sampled),
                 .decode_items = static_cast<std::uint32_t>(decode_.items.size()),
                 .decode_merges = static_cast<std::uint32_t>(decode_.merges.size()),
                 .prefill_items = static_cast<std::uint32_t>(prefill_.items.size()),
                 .prefill_merges = static_cast<std::uint32_t>(prefill_.merges.size()),
                 .ticket = mark.ticket,
                 .first_drawn = mark.first_drawn};
  return packed_;
}

void IterationPacker::add_slice(const Plan& plan, std::int32_t index,
                                std::span<const std::int32_t> last_drawn,
                                const IterationView& out) {
  const auto& slice = plan.slices[static_cast<std::size_t>(index)];
  out.sequences[index] = {.first_row = static_cast<std::int32_t>(packed_.rows),
                          .num_tokens = static_cast<std::int32_t>(slice.num_tokens),
                          .context = static_cast<std::int32_t>(slice.context),
                          .table = static_cast<std::int32_t>(packed_.table_entries)};
  const std::int64_t count = slice.num_tokens;
  const std::int64_t end = slice.context + count;
  TANDEM_CHECK(count > 0, "a slice without tokens");
  TANDEM_CHECK(packed_.rows + count <= capacity_.rows, "a plan of too many rows");
  TANDEM_CHECK(end <= capacity_.context, "a slice beyond the context");
  TANDEM_CHECK(slice.tokens.first <= plan.token_ids.size() &&
                   slice.tokens.count <= plan.token_ids.size() - slice.tokens.first,
               "a slice's tokens are in the plan");
  TANDEM_CHECK(slice.tokens.count == 0 || slice.tokens.count == slice.num_tokens,
               "a slice has all of its tokens or none");
  TANDEM_CHECK(slice.blocks != nullptr, "a slice has a block table");
  const auto blocks = blocks_for(Tokens(end)).value();
  TANDEM_CHECK(blocks <= static_cast<std::int64_t>(slice.blocks->size()),
               "a block table shorter than its slice");
  auto* table = out.tables + packed_.table_entries;
  for (std::int64_t i = 0; i < blocks; ++i) {
    table[i] = raw((*slice.blocks)[static_cast<std::size_t>(i)]);
    TANDEM_CHECK(table[i] < num_blocks_, "a block beyond the pool");
  }
  packed_.table_entries += blocks;
  const auto tokens = plan.tokens_of(slice);
  if (tokens.empty()) {
    TANDEM_CHECK(slice.source_slice < last_drawn.size() && last_drawn[slice.source_slice] >= 0,
                 "the source slice samples a token in the plan before");
    TANDEM_CHECK(count == 1, "a slice has all of its tokens or none");
    out.tokens[packed_.rows] = ~last_drawn[slice.source_slice];
  }
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    TANDEM_CHECK(tokens[i] >= 0 && tokens[i] < shape_.vocab, "a token outside the vocabulary");
    out.tokens[static_cast<std::size_t>(packed_.rows) + i] = tokens[i];
  }
  for (std::int64_t i = 0; i < count; ++i) {
    const auto position = slice.context + i;
    const auto row = packed_.rows + i;
    out.positions[row] = static_cast<std::int32_t>(position);
    out.kv_slots[row] =
        static_cast<std::int32_t>(table[position / key_block] * key_block + position % key_block);
  }
  packed_.rows += count;
}

void IterationPacker::add_sample(const Plan& plan, std::uint32_t index, const SlotState& slot,
                                 const IterationView& out) {
  const auto& slice = plan.slices[index];
  const auto& params = slot.params;
  const auto row = out.sequences[index].first_row + out.sequences[index].num_tokens - 1;
  packed_.sampled_slices.push_back(index);
  out.sampled_rows[packed_.sampled] = row;
  out.samples[packed_.sampled] = {
      .seed = params.seed,
      .drawn = slot.drawn,
      .temperature = params.temperature,
      .top_p = params.top_p,
      .min_p = params.min_p,
      .repetition_penalty = params.repetition_penalty,
      .presence_penalty = params.presence_penalty,
      .frequency_penalty = params.frequency_penalty,
      .top_k = params.top_k,
      .row = row,
      .slot = static_cast<std::int32_t>(raw(slice.slot)),
      .penalizes = penalizes(params) ? 1 : 0,
      .num_logprobs = params.logprobs ? static_cast<std::int32_t>(*params.logprobs) : -1,
      .bias_first = static_cast<std::uint32_t>(packed_.biases),
      .bias_count = static_cast<std::uint32_t>(slot.biases.size())};
  std::copy(slot.biases.begin(), slot.biases.end(), out.biases + packed_.biases);
  packed_.biases += static_cast<std::int64_t>(slot.biases.size());
  ++packed_.sampled;
}

void IterationPacker::plan_attention_of(std::uint32_t num_slices, const IterationView& out) {
  const std::span sequences(out.sequences, num_slices);
  const auto group = shape_.group();
  plan_attention(sequences, packed_.decodes, group, decode_tile_rows, capacity_.extra_items,
                 decode_);
  plan_attention(sequences, packed_.prefills, group, prefill_tile_rows, capacity_.extra_items,
                 prefill_);
  std::copy(decode_.items.begin(), decode_.items.end(), out.decode_items);
  std::copy(decode_.merges.begin(), decode_.merges.end(), out.decode_merges);
  std::copy(prefill_.items.begin(), prefill_.items.end(), out.prefill_items);
  std::copy(prefill_.merges.begin(), prefill_.merges.end(), out.prefill_merges);
}

}  // namespace tandem::gpu::cuda
