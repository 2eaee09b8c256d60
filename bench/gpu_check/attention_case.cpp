// See attention_case.hpp.
#include "bench/gpu_check/attention_case.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "model/float_formats.hpp"

namespace tandem::gpu_check {

using namespace gpu::cuda;

std::vector<float> random_floats(std::mt19937& random, std::int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(count));
  for (auto& value : values) value = normal(random);
  return values;
}

std::vector<std::uint16_t> random_halves(std::mt19937& random, std::int64_t count) {
  std::vector<std::uint16_t> values;
  values.reserve(static_cast<std::size_t>(count));
  for (const float value : random_floats(random, count))
    values.push_back(model::bf16_of_f32(value));
  return values;
}

std::vector<AttentionKind> attention_kinds(const Lab& lab, std::int64_t head_dim) {
  std::vector<AttentionKind> kinds{{"", std::nullopt}};
  if (!lab.flashinfer || !flashinfer::has_kernel_for(head_dim)) return kinds;
  kinds.push_back(
      {"flashinfer_fa2 ", FlashInferChoice{.prefills = flashinfer::Kernel::fa2, .decodes = true}});
  const auto& device = lab.driver->properties();
  if (lab.flashinfer->run_fa3 && device.compute_major == 9 && device.compute_minor == 0)
    kinds.push_back({"flashinfer_fa3 ", FlashInferChoice{.prefills = flashinfer::Kernel::fa3}});
  return kinds;
}

AttentionCase::AttentionCase(const Lab& lab, std::int64_t kv_heads, std::int64_t group,
                             std::int64_t head_dim, const std::vector<AttentionPart>& parts,
                             std::mt19937& random) {
  shape_.layers = 1;
  shape_.vocab = 1;
  shape_.kv_heads = kv_heads;
  shape_.heads = kv_heads * group;
  shape_.head_dim = head_dim;
  shape_.stored_head_dim = round_up(head_dim, head_dim_multiple);
  auto& capacity = capacity_;
  capacity = {.sequences = static_cast<std::int64_t>(parts.size()),
              .extra_items = extra_items_for(lab.driver->properties().multiprocessors, kv_heads),
              .group = group};
  std::int64_t num_blocks = 1;
  for (const auto& part : parts) {
    capacity.rows += part.tokens;
    capacity.context = std::max<std::int64_t>(capacity.context, part.context + part.tokens);
    num_blocks += blocks_for(Tokens(part.context + part.tokens)).value();
  }
  std::vector<std::uint32_t> ids(static_cast<std::size_t>(num_blocks));
  std::iota(ids.begin(), ids.end(), 0U);
  std::shuffle(ids.begin(), ids.end(), random);
  for (const auto& part : parts) {
    BlockTable table;
    for (auto left = blocks_for(Tokens(part.context + part.tokens)).value(); left > 0; --left) {
      table.push_back(BlockId(ids.back()));
      ids.pop_back();
    }
    plan_.slices.push_back(
        {.slot = SlotId(static_cast<std::uint32_t>(plan_.slices.size())),
         .context = part.context,
         .num_tokens = part.tokens,
         .tokens = {static_cast<std::uint32_t>(plan_.token_ids.size()), part.tokens},
         .blocks = std::make_shared<const BlockTable>(std::move(table))});
    plan_.token_ids.resize(plan_.token_ids.size() + part.tokens);
  }
  strides_ = KvStrides(shape_, num_blocks);
  layout_ = std::make_unique<IterationLayout>(capacity);
  input_here_.resize(static_cast<std::size_t>(layout_->bytes().value()));
  const auto view = layout_->view(input_here_.data());
  IterationPacker packer(shape_, capacity, num_blocks);
  packed_ = packer.pack(plan_, {}, std::vector<SlotState>(parts.size()), {}, view);
  sizes_ = PassSizes::of(*view.header);

  // Padding of heads is zero, as the append leaves it.
  const auto clear_padding = [&](std::vector<std::uint16_t>& values) {
    for (std::size_t i = 0; i < values.size(); ++i)
      if (static_cast<std::int64_t>(i) % shape_.stored_head_dim >= head_dim) values[i] = 0;
  };
  query_ = random_halves(random, capacity.rows * shape_.heads * shape_.stored_head_dim);
  pool_ = random_halves(random, kv_block_bytes(shape_).value() / 2 * num_blocks);
  clear_padding(query_);
  clear_padding(pool_);
  const auto partial_rows =
      static_cast<std::size_t>(2 * capacity.extra_items * kv_heads * prefill_tile_rows);
  input_ = std::make_unique<DeviceArray<std::byte>>(lab, input_here_);
  query_there_ = std::make_unique<DeviceArray<std::uint16_t>>(lab, query_);
  pool_there_ = std::make_unique<DeviceArray<std::uint16_t>>(lab, pool_);
  out_ = std::make_unique<DeviceArray<std::uint16_t>>(
      lab, static_cast<std::size_t>(capacity.rows * shape_.query_width()));
  partial_out_ =
      std::make_unique<DeviceArray<float>>(lab, partial_rows * static_cast<std::size_t>(head_dim));
  partial_lse_ = std::make_unique<DeviceArray<float>>(lab, partial_rows);
}

void AttentionCase::prepare(const Lab& lab, const AttentionKind& kind) {
  const AttentionParts parts{.shape = shape_,
                             .kernels = lab.kernels,
                             .iteration = layout_->view(input_->data()),
                             .query = query_there_->data(),
                             .out = out_->data(),
                             .pool = pool_there_->data(),
                             .strides = strides_,
                             .partial_out = partial_out_->data(),
                             .partial_lse = partial_lse_->data()};
  if (kind.flashinfer) {
    auto memory = must(FlashInferMemory::make(*lab.driver, shape_, capacity_, *kind.flashinfer));
    attention_ = std::make_unique<FlashInferAttention>(*lab.driver, *lab.flashinfer, parts,
                                                       std::move(memory), *kind.flashinfer);
  } else {
    attention_ = std::make_unique<OwnAttention>(parts);
  }
  const auto out_bytes = Bytes(capacity_.rows * shape_.query_width() * 2);
  must(lab.driver->fill(out_->data(), 0xFF, out_bytes, lab.stream));
  must(attention_->plan(layout_->view(input_here_.data()), packed_, lab.stream));
  if (const auto warning = attention_->take_warning())
    stop(error(Errc::device_failed, *warning, "attention"));
}

void AttentionCase::run(const Lab& lab) { must(attention_->run(0, sizes_, lab.stream)); }

double AttentionCase::worst() const {
  const auto ours = out_->read();
  const auto view = layout_->view(const_cast<std::byte*>(input_here_.data()));
  double worst = 0;
  for (std::size_t s = 0; s < plan_.slices.size(); ++s) {
    const auto& slice = plan_.slices[s];
    for (std::uint32_t t = 0; t < slice.num_tokens; ++t) {
      const std::int64_t row = view.sequences[s].first_row + t;
      for (std::int64_t head = 0; head < shape_.heads; ++head) {
        const auto expected = truth(row, head, slice.context + t, *slice.blocks);
        for (std::int64_t d = 0; d < shape_.head_dim; ++d) {
          const auto at =
              static_cast<std::size_t>(row * shape_.query_width() + head * shape_.head_dim + d);
          const double difference = std::abs(static_cast<double>(model::f32_of_bf16(ours[at])) -
                                             expected[static_cast<std::size_t>(d)]);
          if (!(difference <= worst)) worst = difference;
        }
      }
    }
  }
  return worst;
}

std::vector<double> AttentionCase::truth(std::int64_t row, std::int64_t head, std::int64_t position,
                                         const BlockTable& table) const {
  const auto number = [](std::uint16_t bits) {
    return static_cast<double>(model::f32_of_bf16(bits));
  };
  const auto* q = query_.data() + (row * shape_.heads + head) * shape_.stored_head_dim;
  std::vector<double> result(static_cast<std::size_t>(shape_.head_dim));
  double sum = 0;
  for (std::int64_t key = 0; key <= position; ++key) {
    const auto block = raw(table[static_cast<std::size_t>(key / key_block)]);
    const auto* k =
        pool_.data() + strides_.key_at(block, 0, head / shape_.group(), key % key_block);
    double dot = 0;
    for (std::int64_t d = 0; d < shape_.head_dim; ++d) dot += number(q[d]) * number(k[d]);
    const double weight = std::exp(dot / std::sqrt(static_cast<double>(shape_.head_dim)));
    sum += weight;
    for (std::int64_t d = 0; d < shape_.head_dim; ++d)
      result[static_cast<std::size_t>(d)] += weight * number(k[strides_.value + d]);
  }
  for (auto& value : result) value /= sum;
  return result;
}

double AttentionCase::key_bytes() const {
  double keys = 0;
  for (const auto& slice : plan_.slices) keys += slice.context + slice.num_tokens;
  return keys * static_cast<double>(shape_.kv_heads * shape_.stored_head_dim) * 2 * 2;
}

double AttentionCase::operations() const {
  double pairs = 0;
  for (const auto& slice : plan_.slices) {
    const double tokens = slice.num_tokens;
    pairs += tokens * slice.context + tokens * (tokens + 1) / 2;
  }
  return pairs * static_cast<double>(shape_.query_width()) * 4;
}

}  // namespace tandem::gpu_check
