// See packed_matrix.hpp.
#include "gpu/host/packed_matrix.hpp"

#include <algorithm>
#include <vector>

#include "core/check.hpp"
#include "gpu/host/bf16.hpp"

namespace tandem::gpu {
namespace {

/// Rows that one piece of work covers: few enough that prefill has pieces for every thread, many
/// enough that a panel is read from memory once and then from the cache.
constexpr std::int64_t rows_per_piece = 120;

}  // namespace

PackedMatrix::PackedMatrix(std::span<const model::TensorView> parts, HostDtype dtype,
                           ThreadPool& pool) {
  TANDEM_CHECK(!parts.empty(), "a packed matrix has at least one part");
  inputs_ = dtype == HostDtype::bf16 ? pad_to(parts.front().cols, 2) : parts.front().cols;
  std::vector<std::pair<const model::TensorView*, std::int64_t>>
      sources;  // part and first row of each panel
  for (const auto& part : parts) {
    TANDEM_CHECK(part.cols == parts.front().cols, "parts of one matrix share their inputs");
    for (std::int64_t row = 0; row < part.rows; row += panel_columns)
      sources.emplace_back(&part, row);
  }
  num_panels_ = static_cast<std::int64_t>(sources.size());
  // The kernels prefetch a little beyond a panel's end.
  const auto size = static_cast<std::size_t>(num_panels_ * panel_columns * inputs_ + 4096);
  if (dtype == HostDtype::bf16)
    bf16_ = AlignedBuffer<std::uint16_t>(size);
  else
    f32_ = AlignedBuffer<float>(size);
  pool.run(num_panels_, [&](std::int64_t panel) {
    const auto& [part, row] = sources[static_cast<std::size_t>(panel)];
    pack_panel(*part, row, panel);
  });
}

void PackedMatrix::pack_panel(const model::TensorView& part, std::int64_t first_row,
                              std::int64_t panel) {
  std::vector<float> row(static_cast<std::size_t>(part.cols));
  const auto base = panel * panel_columns * inputs_;
  const auto columns = std::min(panel_columns, part.rows - first_row);
  for (std::int64_t c = 0; c < columns; ++c) {
    model::to_f32(part, (first_row + c) * part.cols, row);
    for (std::int64_t k = 0; k < part.cols; ++k) {
      const float value = row[static_cast<std::size_t>(k)];
      if (f32_.data())
        f32_.data()[base + k * panel_columns + c] = value;
      else
        bf16_.data()[base + (k / 2) * panel_columns * 2 + c * 2 + k % 2] = round_to_bf16(value);
    }
  }
}

void PackedMatrix::multiply(const Kernels& kernels, ThreadPool& pool, const GemmInput& in,
                            float* out, std::int64_t stride, std::int64_t rows, bool add) const {
  const auto row_pieces = (rows + rows_per_piece - 1) / rows_per_piece;
  // Neighbouring pieces share a panel: it stays in the cache while its row pieces are taken.
  pool.run(num_panels_ * row_pieces, [&](std::int64_t piece) {
    const auto panel = piece / row_pieces;
    const auto first = piece % row_pieces * rows_per_piece;
    const auto count = std::min(rows_per_piece, rows - first);
    auto* to = out + first * stride + panel * panel_columns;
    const auto base = panel * panel_columns * inputs_;
    if (f32_.data())
      kernels.gemm_f32(in.f32 + first * in.stride, in.stride, f32_.data() + base, inputs_, to,
                       stride, count, add);
    else
      kernels.gemm_bf16(in.bf16 + first * in.stride, in.stride, bf16_.data() + base, inputs_, to,
                        stride, count, add);
  });
}

}  // namespace tandem::gpu
