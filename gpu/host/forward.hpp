// One forward pass over the tokens of many sequences: embedding, layers, and the logits of the rows
// that sample. Owns the packed weights, the paged KV cache and the workspaces; allocates nothing
// once it is built. A row's results depend on its own sequence alone, to the bit
// (kernel_table.hpp).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/plan.hpp"
#include "gpu/host/aligned_buffer.hpp"
#include "gpu/host/kernels.hpp"
#include "gpu/host/kv_cache.hpp"
#include "gpu/host/packed_model.hpp"
#include "gpu/host/thread_pool.hpp"
#include "model/weights.hpp"

namespace tandem::gpu {

struct ForwardOptions {
  HostDtype dtype = HostDtype::f32;
  std::int64_t num_blocks = 0;
  std::int64_t max_rows = 0;       ///< tokens of a pass
  std::int64_t max_sequences = 0;  ///< of a pass
  std::int64_t max_context = 0;
};

/// Consecutive tokens of one sequence in a pass: positions position .. position + tokens - 1.
struct Chunk {
  std::span<const TokenId> tokens;
  std::int64_t position = 0;
  std::span<const BlockId> blocks;  ///< covers position + tokens.size() positions
};

class Forward {
 public:
  /// Throws std::bad_alloc.
  Forward(model::WeightsPtr weights, const Kernels& kernels, ThreadPool& pool,
          const ForwardOptions& options);

  /// All memory that a Forward of these options takes, in bytes.
  static std::int64_t bytes_of(const model::ModelConfig& config, const ForwardOptions& options);

  /// Starts a pass. What it needs of `chunks` is copied. Chunks of one pass write different blocks.
  void begin(std::span<const Chunk> chunks);
  /// Layers first .. end - 1, in order. A pass may be left after any layer.
  void run_layers(std::int64_t first, std::int64_t end);
  /// Rows are the chunks' tokens, counted through. Calls consume(i, logits of rows[i]) for each i,
  /// on any thread; the logits may be overwritten.
  using Consume = std::function<void(std::int64_t, std::span<float>)>;
  void logits(std::span<const std::uint32_t> rows, const Consume& consume);

  [[nodiscard]] std::int64_t num_layers() const {
    return static_cast<std::int64_t>(model_.layers().size());
  }
  /// Bytes of weights that one pass reads.
  [[nodiscard]] std::int64_t weight_bytes() const { return model_.bytes(); }

 private:
  /// Consecutive rows inside one KV block.
  struct Run {
    std::int64_t row, rows, position;
    std::uint32_t block;
  };
  /// Query rows x heads of one chunk that go through one KV head together.
  struct Tile {
    std::int64_t chunk_row;  ///< the chunk's first row
    std::int64_t position;   ///< of that row
    std::int64_t first, rows;
    std::int64_t table;  ///< where the chunk's block table begins in tables_
  };
  void add_chunk(const Chunk& chunk);
  void embed(std::int64_t row);

  void normalise(const std::vector<float>& weight);
  void rotate(const PackedLayer& layer, std::int64_t layer_index);
  void attend(std::int64_t layer_index);
  /// Runs `kernel` over all panels of `matrix` and all `rows` of `a`; `place(args, row, panel)`
  /// says where the product goes.
  template <class Place>
  void multiply(void (*kernel)(const GemmArgs&), const PackedMatrix& matrix, const std::uint32_t* a,
                std::int64_t a_stride, std::int64_t rows, const Place& place);
  /// How many pieces a job is cut into, about.
  [[nodiscard]] std::int64_t wanted_pieces() const;
  [[nodiscard]] NormArgs norm_args(const std::vector<float>& weight) const;

  const model::WeightsPtr weights_;  ///< for the embedding
  const model::ModelConfig& config_;
  const FormatKernels& kernels_;
  ThreadPool& pool_;
  const ForwardOptions options_;
  const PackedModel model_;
  const std::vector<float> frequencies_;
  KvCache cache_;

  /// Row widths: in floats, whole panels; in words, with room between rows so that they do not
  /// fall into the same cache sets.
  struct Widths {
    std::int64_t hidden, qkv, vocab;
    std::int64_t hidden_words, query_words, middle_words;
  };
  static Widths widths_of(const model::ModelConfig& config, HostDtype dtype);
  const Widths widths_;

  // The pass at hand.
  std::int64_t rows_ = 0;
  std::vector<TokenId> tokens_;
  std::vector<std::int64_t> positions_;
  std::vector<Run> runs_;
  std::vector<Tile> tiles_;
  std::vector<std::uint32_t> tables_;
  AlignedBuffer<float> angles_, residual_, qkv_, logits_;
  AlignedBuffer<std::uint32_t> normed_, query_, attended_, active_;
};

}  // namespace tandem::gpu
