// See forward.hpp.
#include "gpu/host/forward.hpp"

#include <algorithm>
#include <cmath>

#include "core/check.hpp"

namespace tandem::gpu {
namespace {

/// Sampled rows whose logits are in memory at once.
constexpr std::int64_t logit_rows = 48;
/// How jobs are cut into pieces: enough for threads to even out what delays one of them, few
/// enough that a piece is worth taking.
constexpr std::int64_t pieces_per_thread = 6;
constexpr std::int64_t most_panels_each = 16;
constexpr std::int64_t least_gemm_rows = 96;
constexpr std::int64_t gemm_row_multiple = 48;  ///< of every set's tiles
/// The rows of a GEMM's piece stay in the L2 cache while panel after panel passes.
constexpr std::int64_t most_piece_words = 1 << 18;
/// Rows that one piece of the work between GEMMs covers.
constexpr std::int64_t piece_rows = 8;

std::size_t product(std::int64_t a, std::int64_t b) { return static_cast<std::size_t>(a * b); }

std::int64_t pieces_of(std::int64_t rows, std::int64_t size) { return (rows + size - 1) / size; }

/// How many of `count` a piece takes, at most `most`: what loads equal threads most evenly, and of
/// that the largest.
std::int64_t even_share(std::int64_t count, std::int64_t most, std::int64_t threads) {
  const auto load = [&](std::int64_t each) {
    return pieces_of(pieces_of(count, each), threads) * each;
  };
  auto best = most;
  for (auto each = most - 1; each > 0; --each)
    if (load(each) < load(best)) best = each;
  return best;
}

/// Words from row to row: whole cache lines, and never a multiple of the L1 cache's 4 KB period.
std::int64_t row_words(std::int64_t elements, HostDtype dtype) {
  return pad_to(words_of(elements, dtype), word_multiple) + word_multiple;
}

/// What a piece of elementwise work costs, roughly, in nanoseconds.
std::int64_t elementwise_cost(std::int64_t elements) { return elements / 4; }

/// What one panel times `rows` costs: its bytes or its arithmetic, on one thread.
std::int64_t gemm_cost(std::int64_t rows, std::int64_t words) {
  return words * panel_columns / 4 * std::max<std::int64_t>(1, rows / 8);
}

}  // namespace

Forward::Widths Forward::widths_of(const model::ModelConfig& config, HostDtype dtype) {
  const auto query = config.num_heads * config.head_dim;
  const auto keys = config.num_kv_heads * config.head_dim;
  const auto hidden = pad_to(config.hidden_size, panel_columns);
  return {.hidden = hidden,
          .qkv = pad_to(query + 2 * keys, panel_columns),
          .vocab = pad_to(config.vocab_size, panel_columns),
          .hidden_words = row_words(hidden, dtype),
          .query_words = row_words(query, dtype),
          .middle_words = row_words(pad_to(config.intermediate_size, panel_columns / 2), dtype)};
}

std::int64_t Forward::bytes_of(const model::ModelConfig& config, const ForwardOptions& options) {
  const auto width = widths_of(config, options.dtype);
  const auto row = config.head_dim + width.hidden + width.qkv + width.hidden_words +
                   2 * width.query_words + width.middle_words;
  return PackedModel::bytes_of(config, options.dtype) +
         KvLayout(config, options.dtype).block_bytes() * options.num_blocks +
         4 * (row * options.max_rows + logit_rows * (width.vocab + width.hidden_words));
}

Forward::Forward(model::WeightsPtr weights, const Kernels& kernels, ThreadPool& pool,
                 const ForwardOptions& options)
    : weights_(std::move(weights)),
      config_(weights_->config),
      kernels_(kernels_of(kernels, options.dtype)),
      pool_(pool),
      options_(options),
      model_(*weights_, options.dtype, pool),
      frequencies_(config_.rope_inverse_frequencies()),
      cache_(config_, options.dtype, options.num_blocks),
      widths_(widths_of(config_, options.dtype)) {
  TANDEM_CHECK(config_.head_dim <= max_head_dim && config_.head_dim % 2 == 0,
               "a head_dim that the kernels do not take");
  const auto rows = options_.max_rows;
  angles_ = AlignedBuffer<float>(product(rows, config_.head_dim));
  residual_ = AlignedBuffer<float>(product(rows, widths_.hidden));
  qkv_ = AlignedBuffer<float>(product(rows, widths_.qkv));
  logits_ = AlignedBuffer<float>(product(logit_rows, widths_.vocab));
  normed_ = AlignedBuffer<std::uint32_t>(product(std::max(rows, logit_rows), widths_.hidden_words));
  query_ = AlignedBuffer<std::uint32_t>(product(rows, widths_.query_words));
  attended_ = AlignedBuffer<std::uint32_t>(product(rows, widths_.query_words));
  active_ = AlignedBuffer<std::uint32_t>(product(rows, widths_.middle_words));

  const auto group = config_.num_heads / config_.num_kv_heads;
  const auto row_count = static_cast<std::size_t>(rows);
  tokens_.reserve(row_count);
  positions_.reserve(row_count);
  runs_.reserve(row_count);
  tiles_.reserve(product(rows, 1 + pieces_of(group, max_attend_rows)));
  tables_.reserve(
      product(options_.max_sequences, blocks_for(Tokens(options_.max_context)).value()));
  // Memory that is touched for the first time costs a page fault: better now than in a pass.
  for (auto* buffer : {&angles_, &residual_, &qkv_, &logits_}) touch_pages(*buffer);
  for (auto* buffer : {&normed_, &query_, &attended_, &active_}) touch_pages(*buffer);
  touch_pages(cache_.memory());
}

// ---- the pass ----------------------------------------------------------------------------------

void Forward::begin(std::span<const Chunk> chunks) {
  TANDEM_CHECK(static_cast<std::int64_t>(chunks.size()) <= options_.max_sequences,
               "more chunks in a pass than sequences");
  rows_ = 0;
  tokens_.clear();
  positions_.clear();
  runs_.clear();
  tiles_.clear();
  tables_.clear();
  for (const auto& chunk : chunks) add_chunk(chunk);
  // The longest walks first: what is left for the end is short.
  std::sort(tiles_.begin(), tiles_.end(), [](const Tile& a, const Tile& b) {
    const auto cost = [](const Tile& t) { return (t.position + t.first) * t.rows; };
    return cost(a) > cost(b);
  });
  pool_.run(
      pieces_of(rows_, piece_rows),
      [&](std::int64_t piece) {
        const auto end = std::min(rows_, (piece + 1) * piece_rows);
        for (auto row = piece * piece_rows; row < end; ++row) embed(row);
      },
      piece_rows * (config_.hidden_size / 4 + config_.head_dim * 20));
}

void Forward::add_chunk(const Chunk& chunk) {
  const auto count = static_cast<std::int64_t>(chunk.tokens.size());
  const auto end = chunk.position + count;
  TANDEM_CHECK(count > 0, "a chunk without tokens");
  TANDEM_CHECK(rows_ + count <= options_.max_rows, "a pass of too many rows");
  TANDEM_CHECK(chunk.position >= 0 && end <= options_.max_context, "a chunk beyond the context");
  const auto blocks = blocks_for(Tokens(end)).value();
  TANDEM_CHECK(blocks <= static_cast<std::int64_t>(chunk.blocks.size()),
               "a block table shorter than its chunk");
  const auto table = static_cast<std::int64_t>(tables_.size());
  for (const auto block : chunk.blocks.first(static_cast<std::size_t>(blocks))) {
    TANDEM_CHECK(raw(block) < options_.num_blocks, "a block beyond the cache");
    tables_.push_back(raw(block));
  }
  for (std::int64_t i = 0; i < count; ++i) {
    const auto token = chunk.tokens[static_cast<std::size_t>(i)];
    TANDEM_CHECK(token >= 0 && token < config_.vocab_size, "a token outside the vocabulary");
    tokens_.push_back(token);
    positions_.push_back(chunk.position + i);
  }
  for (auto position = chunk.position; position < end;) {
    const auto block = position / kv_block_tokens;
    const auto next = std::min(end, (block + 1) * kv_block_tokens);
    runs_.push_back({rows_ + position - chunk.position, next - position, position,
                     tables_[static_cast<std::size_t>(table + block)]});
    position = next;
  }
  const auto packed = count * (config_.num_heads / config_.num_kv_heads);
  for (std::int64_t first = 0; first < packed; first += max_attend_rows)
    tiles_.push_back(
        {rows_, chunk.position, first, std::min(max_attend_rows, packed - first), table});
  rows_ += count;
}

/// A row's start: its token's embedding, and the rotation angles of its position.
void Forward::embed(std::int64_t row) {
  const auto at = static_cast<std::size_t>(row);
  model::to_f32(weights_->embedding, tokens_[at] * config_.hidden_size,
                std::span(residual_.data() + row * widths_.hidden,
                          static_cast<std::size_t>(config_.hidden_size)));
  float* cosines = angles_.data() + row * config_.head_dim;
  float* sines = cosines + config_.head_dim / 2;
  for (std::size_t i = 0; i < frequencies_.size(); ++i) {
    // As in the reference implementations: the angle is a float product, its cosine is rounded
    // once.
    const auto angle = static_cast<double>(static_cast<float>(positions_[at]) * frequencies_[i]);
    cosines[i] = static_cast<float>(std::cos(angle));
    sines[i] = static_cast<float>(std::sin(angle));
  }
}

void Forward::run_layers(std::int64_t first, std::int64_t end) {
  for (auto index = first; index < end; ++index) {
    const auto& layer = model_.layers()[static_cast<std::size_t>(index)];
    normalise(layer.input_norm);
    multiply(kernels_.gemm_store, layer.qkv, normed_.data(), widths_.hidden_words, rows_,
             [&](GemmArgs& args, std::int64_t row, std::int64_t panel) {
               if (!layer.qkv_bias.empty())
                 args.bias = &layer.qkv_bias[product(panel, panel_columns)];
               args.out = qkv_.data() + row * widths_.qkv + panel * panel_columns;
               args.out_stride = widths_.qkv;
             });
    rotate(layer, index);
    attend(index);
    const auto to_residual = [&](GemmArgs& args, std::int64_t row, std::int64_t panel) {
      args.out = residual_.data() + row * widths_.hidden + panel * panel_columns;
      args.out_stride = widths_.hidden;
    };
    multiply(kernels_.gemm_add, layer.out, attended_.data(), widths_.query_words, rows_,
             to_residual);
    normalise(layer.post_norm);
    multiply(kernels_.gemm_swiglu, layer.gate_up, normed_.data(), widths_.hidden_words, rows_,
             [&](GemmArgs& args, std::int64_t row, std::int64_t panel) {
               args.active = active_.data() + row * widths_.middle_words +
                             panel * words_of(panel_columns / 2, options_.dtype);
               args.active_stride = widths_.middle_words;
             });
    multiply(kernels_.gemm_add, layer.down, active_.data(), widths_.middle_words, rows_,
             to_residual);
  }
}

NormArgs Forward::norm_args(const std::vector<float>& weight) const {
  return {.x_stride = widths_.hidden,
          .count = config_.hidden_size,
          .padded = widths_.hidden,
          .weight = weight.data(),
          .epsilon = static_cast<float>(config_.rms_norm_eps),
          .out_stride = widths_.hidden_words};
}

void Forward::normalise(const std::vector<float>& weight) {
  pool_.run(
      pieces_of(rows_, piece_rows),
      [&](std::int64_t piece) {
        auto args = norm_args(weight);
        const auto row = piece * piece_rows;
        args.rows = std::min(piece_rows, rows_ - row);
        args.x = residual_.data() + row * widths_.hidden;
        args.out = normed_.data() + row * widths_.hidden_words;
        kernels_.norm(args);
      },
      std::min(rows_, piece_rows) * elementwise_cost(widths_.hidden));
}

void Forward::rotate(const PackedLayer& layer, std::int64_t layer_index) {
  const auto& layout = cache_.layout();
  const RotateArgs common{.qkv_stride = widths_.qkv,
                          .heads = config_.num_heads,
                          .kv_heads = config_.num_kv_heads,
                          .head_dim = config_.head_dim,
                          .angle_stride = config_.head_dim,
                          .q_norm = layer.q_norm.empty() ? nullptr : layer.q_norm.data(),
                          .k_norm = layer.k_norm.empty() ? nullptr : layer.k_norm.data(),
                          .epsilon = static_cast<float>(config_.rms_norm_eps),
                          .query_stride = widths_.query_words,
                          .head_stride = layout.head_stride,
                          .value_offset = layout.value_offset};
  pool_.run(
      static_cast<std::int64_t>(runs_.size()),
      [&](std::int64_t index) {
        const auto& run = runs_[static_cast<std::size_t>(index)];
        auto args = common;
        args.qkv = qkv_.data() + run.row * widths_.qkv;
        args.rows = run.rows;
        args.angles = angles_.data() + run.row * config_.head_dim;
        args.query = query_.data() + run.row * widths_.query_words;
        args.block = cache_.at(run.block, layer_index);
        args.first = run.position % kv_block_tokens;
        kernels_.rotate(args);
      },
      elementwise_cost(2 * widths_.qkv));
}

void Forward::attend(std::int64_t layer_index) {
  const auto& layout = cache_.layout();
  const auto head_words = words_of(config_.head_dim, options_.dtype);
  const auto group = config_.num_heads / config_.num_kv_heads;
  const AttendArgs common{.query_stride = widths_.query_words,
                          .head_words = head_words,
                          .head_dim = config_.head_dim,
                          .group = group,
                          .head_stride = layout.head_stride,
                          .block_stride = layout.block_stride,
                          .value_offset = layout.value_offset,
                          .scale = 1.0F / std::sqrt(static_cast<float>(config_.head_dim)),
                          .out_stride = widths_.query_words};
  // Heads that follow each other are one piece where there are pieces enough: while one head is
  // computed the next one's K and V are on their way.
  const auto heads = config_.num_kv_heads;
  const auto tiles = static_cast<std::int64_t>(tiles_.size());
  auto heads_each = std::clamp<std::int64_t>(tiles * heads / wanted_pieces(), 1, heads);
  while (heads % heads_each != 0) --heads_each;
  const auto head_pieces = heads / heads_each;
  pool_.run(
      tiles * head_pieces,
      [&](std::int64_t piece) {
        const auto& tile = tiles_[static_cast<std::size_t>(piece / head_pieces)];
        const auto head = piece % head_pieces * heads_each;
        const auto offset = tile.chunk_row * widths_.query_words + head * group * head_words;
        auto args = common;
        args.query = query_.data() + offset;
        args.out = attended_.data() + offset;
        args.heads = heads_each;
        args.first = tile.first;
        args.rows = tile.rows;
        args.position = tile.position;
        args.cache = cache_.at(0, layer_index) + head * layout.head_stride;
        args.blocks = tables_.data() + tile.table;
        kernels_.attend(args);
      },
      heads_each * elementwise_cost(config_.head_dim * 64));
}

std::int64_t Forward::wanted_pieces() const {
  return pieces_per_thread * static_cast<std::int64_t>(pool_.threads());
}

template <class Place>
void Forward::multiply(void (*kernel)(const GemmArgs&), const PackedMatrix& matrix,
                       const std::uint32_t* a, std::int64_t a_stride, std::int64_t rows,
                       const Place& place) {
  // Decode reads every panel once: a thread takes some that follow each other, so that what it asks
  // for beyond the end of one is the beginning of the next. Prefill has arithmetic for every panel:
  // its rows are divided as well when there are too few panels for all threads.
  const auto wanted = wanted_pieces();
  const auto most_each = std::clamp<std::int64_t>(matrix.panels / wanted, 1, most_panels_each);
  const auto panels_each = even_share(matrix.panels, most_each, pool_.threads());
  const auto panel_pieces = pieces_of(matrix.panels, panels_each);
  const auto row_pieces =
      std::clamp<std::int64_t>(wanted / panel_pieces, 1, pieces_of(rows, least_gemm_rows));
  const auto most_rows = std::max(most_piece_words / matrix.words, gemm_row_multiple);
  const auto rows_each =
      pad_to(std::min(pieces_of(rows, row_pieces), most_rows), gemm_row_multiple);
  pool_.run(
      panel_pieces * pieces_of(rows, rows_each),
      [&](std::int64_t piece) {
        const auto row = piece / panel_pieces * rows_each;
        const auto first = piece % panel_pieces * panels_each;
        const auto end = std::min(matrix.panels, first + panels_each);
        for (auto panel = first; panel < end; ++panel) {
          GemmArgs args{.a = a + row * a_stride,
                        .a_stride = a_stride,
                        .rows = std::min(rows_each, rows - row),
                        .panel = matrix.panel(panel),
                        .words = matrix.words};
          place(args, row, panel);
          kernel(args);
        }
      },
      panels_each * gemm_cost(std::min(rows, rows_each), matrix.words));
}

void Forward::logits(std::span<const std::uint32_t> rows, const Consume& consume) {
  for (std::size_t done = 0; done < rows.size(); done += logit_rows) {
    const auto part = rows.subspan(done, std::min<std::size_t>(logit_rows, rows.size() - done));
    const auto count = static_cast<std::int64_t>(part.size());
    for (std::int64_t i = 0; i < count; ++i) {
      const auto row = part[static_cast<std::size_t>(i)];
      TANDEM_CHECK(row < rows_, "logits of a row that is not in the pass");
      auto args = norm_args(model_.final_norm());
      args.rows = 1;
      args.x = residual_.data() + row * widths_.hidden;
      args.out = normed_.data() + i * widths_.hidden_words;
      kernels_.norm(args);
    }
    multiply(kernels_.gemm_store, model_.head(), normed_.data(), widths_.hidden_words, count,
             [&](GemmArgs& args, std::int64_t row, std::int64_t panel) {
               args.out = logits_.data() + row * widths_.vocab + panel * panel_columns;
               args.out_stride = widths_.vocab;
             });
    pool_.run(
        count,
        [&](std::int64_t i) {
          consume(static_cast<std::int64_t>(done) + i,
                  std::span(logits_.data() + i * widths_.vocab,
                            static_cast<std::size_t>(config_.vocab_size)));
        },
        widths_.vocab / 4);
  }
}

}  // namespace tandem::gpu
