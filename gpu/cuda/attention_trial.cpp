// See attention_trial.hpp.
#include "gpu/cuda/attention_trial.hpp"

#include <algorithm>
#include <vector>

namespace tandem::gpu::cuda {
namespace {

/// Packed with a few heads to a group these are tiles of 16, 64 and 128 rows.
constexpr std::int64_t trial_tokens[] = {2, 16, 150};

Plan plan_of(std::uint32_t tokens) {
  BlockTable table;
  for (std::int64_t b = 0; b < blocks_for(Tokens(tokens)).value(); ++b)
    table.push_back(BlockId(static_cast<std::uint32_t>(b)));
  Plan plan;
  plan.token_ids.assign(tokens, 0);
  plan.slices.push_back({.num_tokens = tokens,
                         .tokens = {0, tokens},
                         .blocks = std::make_shared<const BlockTable>(std::move(table))});
  return plan;
}

}  // namespace

Result<void> try_attention(Attention& attention, const TrialPlace& place) {
  auto& driver = place.driver;
  const IterationLayout layout(place.capacity);
  const auto view = layout.view(place.host);
  IterationPacker packer(place.shape, place.capacity, place.num_blocks);
  const std::vector<SlotState> slots(1);
  const auto most =
      std::min({place.capacity.rows, place.capacity.context, place.num_blocks * kv_block_tokens});
  for (const auto tokens : trial_tokens) {
    const auto plan = plan_of(static_cast<std::uint32_t>(std::min(tokens, most)));
    const auto& packed = packer.pack(plan, {}, slots, {}, view);
    auto done = driver.copy_to_device(place.device, place.host, layout.bytes(), place.stream);
    if (done) done = attention.plan(view, packed, place.stream);
    if (done) done = attention.run(0, PassSizes::of(*view.header), place.stream);
    if (done) done = driver.launch_errors();
    if (done) done = driver.synchronize(place.stream);
    if (!done) return done;
    if (const auto warning = attention.take_warning())
      return error(Errc::unsupported, *warning, "attention");
  }
  return {};
}

}  // namespace tandem::gpu::cuda
