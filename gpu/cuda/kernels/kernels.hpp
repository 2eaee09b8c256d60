// The CUDA backend's own kernels: one wrapper each, that picks a grid and launches on the given
// stream; none allocates or waits. Reached through a table, so that tests run the same code on the
// host (tests/cuda/device_emulation.hpp). Counts of rows and items are read from the iteration's
// header on the device; the counts given here are those that the grid is made for, at least as
// large. bf16 is passed as its 16 bits. Launch errors are read once, at the end of a segment.
#pragma once

#include <cstdint>

#include "gpu/cuda/driver.hpp"
#include "gpu/cuda/gemm.hpp"
#include "gpu/cuda/iteration.hpp"
#include "gpu/cuda/model_shape.hpp"

namespace tandem::gpu::cuda {

/// residual[row, :] = table[token, :], where token = tokens[row], or drawn[~tokens[row]] if that is
/// negative: the host need not know yet. table: (vocab, hidden) bf16; residual: (rows, hidden).
struct EmbedArgs {
  const IterationHeader* header;
  const std::int32_t* tokens;
  const std::int32_t* drawn;
  const std::uint16_t* table;
  float* residual;
  std::int32_t hidden;
};

/// out[i, :] = x[r, :] / rms(x[r, :]) * weight, where r = rows[first + i], or i if there are no
/// rows. x: (…, hidden) f32; out: (count, hidden) bf16; weight: (hidden). Sums are f32.
struct NormArgs {
  const IterationHeader* header;
  const float* x;
  const float* weight;
  std::uint16_t* out;
  const std::int32_t* rows;  ///< none: every row; else those that sample
  std::int32_t first;        ///< of rows
  std::int32_t hidden;
  float epsilon;
};

/// Adds the bias, normalises each head of Q and K if the model does that, rotates them by their
/// position, and writes Q to `query` and K and V to their place in the pool. Padding of heads is
/// written as zero. qkv: (rows, (heads + 2 kv_heads) * head_dim) bf16; query: (rows, heads,
/// stored_head_dim).
struct RotateArgs {
  const IterationHeader* header;
  const std::int32_t *positions, *kv_slots;
  const std::uint16_t* qkv;
  const float* bias;             ///< (qkv width), or none
  const float *q_norm, *k_norm;  ///< (head_dim), or none
  const float* angles;           ///< (context, head_dim): cosines, then sines
  std::uint16_t* query;
  std::uint16_t* pool;
  KvStrides strides;
  std::int32_t layer, heads, kv_heads, head_dim, stored_head_dim;
  float epsilon;
};

/// active = silu(gate) * up. gate_up: (rows, 2 * width), gate first; active: (rows, width).
struct SwigluArgs {
  const IterationHeader* header;
  const std::uint16_t* gate_up;
  std::uint16_t* active;
  std::int32_t width;
};

/// Attention of the items of one schedule over the paged pool; causal, with history. out:
/// (rows, heads * head_dim) bf16; partial results: see Workspace.
struct AttendArgs {
  const std::uint32_t* num_items;
  const AttendItem* items;
  const SequenceInput* sequences;
  const std::uint32_t* tables;
  const std::uint16_t* query;
  const std::uint16_t* pool;
  std::uint16_t* out;
  float *partial_out, *partial_lse;
  KvStrides strides;
  std::int32_t layer, heads, kv_heads, head_dim, stored_head_dim;
  float scale;  ///< 1 / sqrt(head_dim)
};

/// Puts the pieces of split walks together. Source: the log-sum-exp merge of online softmax
/// (Milakov and Gimelshein, 2018), weights relative to the largest.
struct MergeArgs {
  const std::uint32_t* num_items;
  const MergeItem* items;
  const SequenceInput* sequences;
  const float *partial_out, *partial_lse;
  std::uint16_t* out;
  std::int32_t heads, kv_heads, head_dim, tile_rows;
};

/// Draws a token from each row of logits as model::SamplerState does (model/sampler.hpp has the
/// order of what is applied), and writes it to mapped memory, the ticket last, and to the device's
/// own, for the next iteration.
struct DrawArgs {
  const IterationHeader* header;
  const SampleInput* samples;
  const BiasEntry* biases;
  const float* logits;    ///< (count, stride)
  std::uint32_t* counts;  ///< (slots, vocab)
  SampleOutput* outputs;  ///< this iteration's from header->first_drawn on, by sample
  std::int32_t* drawn;    ///< likewise: the tokens alone
  std::int32_t first;     ///< the sample that the first row of logits is of
  std::int32_t vocab;
  std::int64_t stride;
};

/// counts[slot, token] = word for each entry.
struct RememberArgs {
  const SeenEntry* entries;
  std::uint32_t* counts;
  std::int32_t num_entries;
  std::int32_t vocab;
};

/// A product as GemmOperands means it, of 1 to skinny_rows rows; `blocks` as in SkinnyPlan. The
/// counters are zero before and after; they and `partials` serve one product at a time.
struct SkinnyArgs {
  const std::uint16_t *a, *weights;
  void* out;
  float* partials;          ///< skinny_workspace_bytes(blocks, …)
  std::uint32_t* counters;  ///< one per block
  std::int64_t out_stride;
  std::int32_t rows, n, k, blocks;
  GemmOutput output;
};

/// Copies KV blocks, all layers: block from[i] of `source` to block to[i] of `target`, in units of
/// 16 bytes. Either side may be mapped host memory. Needs the block-major pool.
struct CopyBlocksArgs {
  const std::uint32_t *from, *to;
  const std::byte* source;
  std::byte* target;
  std::int64_t block_bytes;
  std::int32_t num_blocks;
};

struct KernelTable {
  void (*embed)(const EmbedArgs&, std::int64_t rows, Stream);
  void (*norm)(const NormArgs&, std::int64_t rows, Stream);
  void (*rotate)(const RotateArgs&, std::int64_t rows, Stream);
  void (*swiglu)(const SwigluArgs&, std::int64_t rows, Stream);
  void (*attend_decode)(const AttendArgs&, std::int64_t items, Stream);
  void (*attend_prefill)(const AttendArgs&, std::int64_t items, Stream);
  void (*merge)(const MergeArgs&, std::int64_t items, Stream);
  void (*draw)(const DrawArgs&, std::int64_t rows, Stream);
  void (*remember)(const RememberArgs&, Stream);
  void (*skinny)(const SkinnyArgs&, Stream);
  void (*copy_blocks)(const CopyBlocksArgs&, Stream);
};

}  // namespace tandem::gpu::cuda
