// From logits to a token, as model/sampler.hpp states it. One thread block per row; a row is read
// several times, from the L2 cache after the first. Weights relative to the most likely token are
// float32 by the host's own function, and their sums are whole numbers in units of 2^-44: whole
// numbers add up the same in any order, so that a draw is the same every time. top_k and top_p keep
// a prefix of the tokens in the order (heavier first, lower id first); where it ends is found by
// counting weights in bins, the bits of the limit's weight from the highest down. Compiled without
// fused multiply-add, as the host's.
#include "gpu/cuda/kernels/arithmetic.cuh"
#include "gpu/cuda/kernels/families.hpp"
#include "model/sampling_math.hpp"

namespace tandem::gpu::cuda::TANDEM_KERNEL_BUILD {
namespace {

constexpr int most_threads = 1024;
constexpr int most_warps = most_threads / warp_size;
constexpr float one_unit = 17592186044416.0F;  // 2^44
constexpr std::uint32_t one_bits = 0x3F800000U;
/// Bits of a weight below 1 that each level of bins looks at, from bit `shift` up.
constexpr int top_shift = 18, middle_shift = 9;
constexpr int top_bins = 60 * 32, lower_bins = 1 << 9;
constexpr float negligible = -40.0F;
constexpr float lowest_logprob = -9999.0F;  // model/sampler.hpp
constexpr int no_token = 0x7FFFFFFF;

struct Best {
  float value;
  int token;
};

/// Shared memory of a block.
struct Scratch {
  std::uint64_t masses[top_bins];
  std::uint32_t counts[top_bins];
  std::uint64_t warp_mass[most_warps], warp_count[most_warps];
  Best warp_best[most_warps];
  float warp_float[most_warps];
  // What one thread found for all.
  std::uint32_t found_bin, found;
  std::uint64_t above_mass, above_count;
  int found_token;
};

/// A token by how early it comes: key 0 is a weight of 1.
struct Limit {
  std::uint32_t key;
  int token;
};

struct Row {
  const float* logits;
  const std::uint32_t* counts;  ///< none: no penalties
  const BiasEntry* biases;
  int num_biases, vocab;
  SampleInput input;

  TANDEM_DEVICE float bias_of(int token) const {
    int low = 0, high = num_biases;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (biases[middle].token < token)
        low = middle + 1;
      else
        high = middle;
    }
    return low < num_biases && biases[low].token == token ? biases[low].bias : 0.0F;
  }

  /// The logit after penalties and bias.
  TANDEM_DEVICE float at(int token) const {
    float logit = logits[token];
    if (counts && counts[token] != 0) {
      const std::uint32_t word = counts[token];
      const auto output = static_cast<float>(word & ~seen_in_prompt);
      if (input.repetition_penalty != 1.0F)
        logit = logit > 0 ? logit / input.repetition_penalty : logit * input.repetition_penalty;
      if (output > 0) {
        logit -= input.frequency_penalty * output;
        logit -= input.presence_penalty;
      }
    }
    return num_biases > 0 ? logit + bias_of(token) : logit;
  }
};

/// Higher first, then the lower token.
TANDEM_DEVICE bool before(const Best& a, const Best& b) {
  return a.value != b.value ? a.value > b.value : a.token < b.token;
}

/// The first of all threads' `best`, given to each.
TANDEM_DEVICE Best block_first(Best best, Scratch& scratch) {
  for (int mask = warp_size / 2; mask > 0; mask /= 2) {
    const Best other{shuffle_xor(best.value, mask), shuffle_xor(best.token, mask)};
    if (before(other, best)) best = other;
  }
  block_barrier();
  if (lane_index() == 0) scratch.warp_best[warp_index()] = best;
  block_barrier();
  best = scratch.warp_best[0];
  for (int w = 1; w < num_threads() / warp_size; ++w)
    if (before(scratch.warp_best[w], best)) best = scratch.warp_best[w];
  return best;
}

/// The first token after `last` in that order; its token is no_token if there is none above minus
/// infinity. NaN counts as minus infinity.
template <class Logit>
TANDEM_DEVICE Best first_after(const Best& last, int vocab, Scratch& scratch, const Logit& logit) {
  Best best{-INFINITY, no_token};
  for (int i = thread_index(); i < vocab; i += num_threads()) {
    const Best one{logit(i), i};
    if (one.value > -INFINITY && before(last, one) && before(one, best)) best = one;
  }
  return block_first(best, scratch);
}

TANDEM_DEVICE std::uint64_t warp_sum_of(std::uint64_t value) {
  for (int mask = warp_size / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}

TANDEM_DEVICE std::uint64_t warp_scan(std::uint64_t value) {
  for (int distance = 1; distance < warp_size; distance *= 2) {
    const auto other = shuffle_up(value, distance);
    if (lane_index() >= distance) value += other;
  }
  return value;
}

/// How many threads before this one, in order, hold how much: exclusive sums over the block.
TANDEM_DEVICE void block_scan(std::uint64_t& mass, std::uint64_t& count, Scratch& scratch) {
  const auto mass_to = warp_scan(mass), count_to = warp_scan(count);
  block_barrier();
  if (lane_index() == warp_size - 1) {
    scratch.warp_mass[warp_index()] = mass_to;
    scratch.warp_count[warp_index()] = count_to;
  }
  block_barrier();
  std::uint64_t mass_before = 0, count_before = 0;
  for (int w = 0; w < warp_index(); ++w) {
    mass_before += scratch.warp_mass[w];
    count_before += scratch.warp_count[w];
  }
  mass = mass_before + mass_to - mass;
  count = count_before + count_to - count;
}

/// What is drawn from: the tokens whose exponent is at least `least`, up to `limit`.
struct Candidates {
  const Row& row;
  float top, least;
  Limit limit;

  /// False: not one. Else its weight and its place in the order.
  TANDEM_DEVICE bool weigh(int token, float& weight, std::uint32_t& key) const {
    const float exponent = (row.at(token) - top) / row.input.temperature;
    if (!(exponent >= least)) return false;
    weight = model::exp_of(exponent);
    const auto bits = float_as_bits(weight);
    key = bits > one_bits ? 0 : one_bits - bits;
    return key < limit.key || (key == limit.key && token <= limit.token);
  }
};

TANDEM_DEVICE std::uint64_t units_of(float weight) {
  return static_cast<std::uint64_t>(weight * one_unit);
}

/// A warp's share of the vocabulary: neighbouring warps have neighbouring shares.
struct Share {
  int begin, end;
};
TANDEM_DEVICE Share share_of_warp(int vocab) {
  const int num_warps = num_threads() / warp_size;
  const int each = ((vocab + num_warps - 1) / num_warps + warp_size - 1) / warp_size * warp_size;
  const int begin = warp_index() * each, end = begin + each;
  return {begin < vocab ? begin : vocab, end < vocab ? end : vocab};
}

/// The first token, by id, at which the running sum of value(token) passes `target`; no_token if it
/// never does. The same for all threads.
template <class Value>
TANDEM_DEVICE int token_passing(std::uint64_t target, int vocab, Scratch& scratch,
                                const Value& value) {
  const Share share = share_of_warp(vocab);
  std::uint64_t sum = 0;
  for (int i = share.begin + lane_index(); i < share.end; i += warp_size) sum += value(i);
  sum = warp_sum_of(sum);
  block_barrier();
  if (lane_index() == 0) scratch.warp_mass[warp_index()] = sum;
  if (thread_index() == 0) scratch.found_token = no_token;
  block_barrier();
  std::uint64_t before_warp = 0;
  for (int w = 0; w < warp_index(); ++w) before_warp += scratch.warp_mass[w];
  if (before_warp <= target && before_warp + sum > target) {
    for (int base = share.begin; base < share.end; base += warp_size) {
      const int i = base + lane_index();
      const auto own = i < share.end ? value(i) : std::uint64_t{0};
      const auto to = before_warp + warp_scan(own);
      if (to > target && to - own <= target) scratch.found_token = i;
      before_warp = shuffle(to, warp_size - 1);
      if (before_warp > target) break;
    }
  }
  block_barrier();
  return scratch.found_token;
}

TANDEM_DEVICE std::uint64_t total_units(const Candidates& candidates, Scratch& scratch) {
  std::uint64_t sum = 0;
  for (int i = thread_index(); i < candidates.row.vocab; i += num_threads()) {
    float weight;
    std::uint32_t key;
    if (candidates.weigh(i, weight, key)) sum += units_of(weight);
  }
  sum = warp_sum_of(sum);
  block_barrier();
  if (lane_index() == 0) scratch.warp_mass[warp_index()] = sum;
  block_barrier();
  std::uint64_t total = 0;
  for (int w = 0; w < num_threads() / warp_size; ++w) total += scratch.warp_mass[w];
  return total;
}

/// Counts candidates in bins of their keys' bits from `shift` on, among those whose higher bits are
/// `prefix`, and finds the bin in which count or mass is reached. False: it is not. Above: what
/// comes before the bin, in and out.
TANDEM_DEVICE bool find_bin(const Candidates& candidates, int shift, int num_bins,
                            std::uint32_t prefix, std::uint64_t count, std::uint64_t mass,
                            std::uint32_t& bin, std::uint64_t& above_count,
                            std::uint64_t& above_mass, Scratch& scratch) {
  block_barrier();
  for (int i = thread_index(); i < num_bins; i += num_threads()) {
    scratch.counts[i] = 0;
    scratch.masses[i] = 0;
  }
  if (thread_index() == 0) scratch.found = 0;
  block_barrier();
  const bool whole = num_bins == top_bins;
  for (int i = thread_index(); i < candidates.row.vocab; i += num_threads()) {
    float weight;
    std::uint32_t key;
    if (!candidates.weigh(i, weight, key)) continue;
    std::uint32_t place = key >> shift;
    if (!whole) {
      if (place >> 9 != prefix) continue;
      place &= lower_bins - 1;
    } else if (place >= static_cast<std::uint32_t>(top_bins)) {
      place = top_bins - 1;
    }
    atomic_add(&scratch.counts[place], 1U);
    atomic_add(&scratch.masses[place], units_of(weight));
  }
  block_barrier();
  const int each = (num_bins + num_threads() - 1) / num_threads();
  const int begin = thread_index() * each;
  const int end = begin + each < num_bins ? begin + each : num_bins;
  std::uint64_t own_mass = 0, own_count = 0;
  for (int i = begin; i < end; ++i) {
    own_mass += scratch.masses[i];
    own_count += scratch.counts[i];
  }
  block_scan(own_mass, own_count, scratch);
  std::uint64_t mass_before = above_mass + own_mass, count_before = above_count + own_count;
  for (int i = begin; i < end; ++i) {
    const auto mass_to = mass_before + scratch.masses[i];
    const auto count_to = count_before + scratch.counts[i];
    if (count_before < count && mass_before < mass && (count_to >= count || mass_to >= mass)) {
      scratch.found = 1;
      scratch.found_bin = static_cast<std::uint32_t>(i);
      scratch.above_mass = mass_before;
      scratch.above_count = count_before;
    }
    mass_before = mass_to;
    count_before = count_to;
  }
  block_barrier();
  if (scratch.found == 0) return false;
  bin = scratch.found_bin;
  above_mass = scratch.above_mass;
  above_count = scratch.above_count;
  return true;
}

/// Keeps the fewest first candidates that are `count` or hold `mass`.
TANDEM_DEVICE void keep_first(Candidates& candidates, std::uint64_t count, std::uint64_t mass,
                              Scratch& scratch) {
  std::uint64_t above_count = 0, above_mass = 0;
  std::uint32_t top = 0, middle = 0, low = 0;
  if (!find_bin(candidates, top_shift, top_bins, 0, count, mass, top, above_count, above_mass,
                scratch))
    return;
  find_bin(candidates, middle_shift, lower_bins, top, count, mass, middle, above_count, above_mass,
           scratch);
  const std::uint32_t prefix = top << 9 | middle;
  find_bin(candidates, 0, lower_bins, prefix, count, mass, low, above_count, above_mass, scratch);
  const std::uint32_t key = prefix << 9 | low;
  // All in this last bin weigh the same: how many of them, by id, are enough?
  const auto each = units_of(bits_as_float(one_bits - key));
  const auto by_count = count - above_count;
  std::uint64_t ties = by_count;
  if (mass != ~std::uint64_t{0} && each > 0) {
    const auto by_mass = (mass - above_mass + each - 1) / each;
    ties = by_mass < by_count ? by_mass : by_count;
  }
  const auto is_tie = [&](int token) -> std::uint64_t {
    float weight;
    std::uint32_t own;
    return candidates.weigh(token, weight, own) && own == key ? 1 : 0;
  };
  const int last = token_passing(ties - 1, candidates.row.vocab, scratch, is_tie);
  candidates.limit = {key, last};
}

TANDEM_DEVICE int draw_token(const Row& row, float top, Scratch& scratch) {
  const auto& input = row.input;
  float least = negligible;
  if (input.min_p > 0) least = fminf(fmaxf(logf(input.min_p), negligible), 0.0F);
  Candidates candidates{row, top, least, {0xFFFFFFFFU, no_token}};
  constexpr std::uint64_t all = ~std::uint64_t{0};
  if (input.top_k > 0)
    keep_first(candidates, static_cast<std::uint64_t>(input.top_k), all, scratch);
  auto total = total_units(candidates, scratch);
  if (input.top_p < 1.0F) {
    const double mass = static_cast<double>(input.top_p) * static_cast<double>(total);
    const auto units = static_cast<std::uint64_t>(ceil(mass));
    keep_first(candidates, all, units > 0 ? units : 1, scratch);
    total = total_units(candidates, scratch);
  }
  const double uniform = model::uniform_of(input.seed, input.drawn);
  auto target = static_cast<std::uint64_t>(uniform * static_cast<double>(total));
  if (target >= total) target = total - 1;
  return token_passing(target, row.vocab, scratch, [&](int token) -> std::uint64_t {
    float weight;
    std::uint32_t key;
    return candidates.weigh(token, weight, key) ? units_of(weight) : 0;
  });
}

/// log(sum(exp(logits))) of the model's own logits.
TANDEM_DEVICE double log_total(const Row& row, float top, Scratch& scratch) {
  float sum = 0;
  for (int i = thread_index(); i < row.vocab; i += num_threads()) {
    const float logit = row.logits[i];
    if (logit > -INFINITY) sum += model::exp_of(logit - top);
  }
  block_barrier();
  return static_cast<double>(top) + log(static_cast<double>(block_sum(sum, scratch.warp_float)));
}

TANDEM_DEVICE float logprob_of(float logit, double log_sum) {
  const auto value = static_cast<float>(static_cast<double>(logit) - log_sum);
  return value > lowest_logprob ? value : lowest_logprob;  // NaN too
}

TANDEM_DEVICE void report_logprobs(const Row& row, int token, SampleOutput& output,
                                   Scratch& scratch) {
  const auto logit = [&](int i) { return row.logits[i]; };
  const Best start{INFINITY, -1};
  Best one = first_after(start, row.vocab, scratch, logit);
  const double log_sum = log_total(row, one.value, scratch);
  std::uint32_t count = 0;
  for (; static_cast<std::int32_t>(count) < row.input.num_logprobs && one.token != no_token;
       ++count) {
    if (thread_index() == 0) output.top[count] = {one.token, logprob_of(one.value, log_sum)};
    one = first_after(one, row.vocab, scratch, logit);
  }
  if (thread_index() == 0) {
    output.num_top = count;
    output.logprob = logprob_of(row.logits[token], log_sum);
  }
}

TANDEM_KERNEL void TANDEM_LAUNCH_BOUNDS(most_threads) draw_kernel(DrawArgs args) {
  wait_for_stream();
  const int index = args.first + block_x();
  if (index >= static_cast<int>(args.header->sampled)) return;
  auto& scratch = *reinterpret_cast<Scratch*>(shared_memory());
  const SampleInput input = args.samples[index];
  std::uint32_t* counts =
      input.penalizes ? args.counts + static_cast<std::int64_t>(input.slot) * args.vocab : nullptr;
  const Row row{args.logits + block_x() * args.stride, counts,     args.biases + input.bias_first,
                static_cast<int>(input.bias_count),    args.vocab, input};
  const Best best =
      first_after(Best{INFINITY, -1}, row.vocab, scratch, [&](int token) { return row.at(token); });
  int token = best.token == no_token ? 0 : best.token;
  if (input.temperature > 0 && best.token != no_token && best.value < INFINITY)
    token = draw_token(row, best.value, scratch);
  const auto place = args.header->first_drawn + static_cast<std::uint32_t>(index);
  auto& output = args.outputs[place];
  if (thread_index() == 0) {
    args.drawn[place] = token;
    output.token = token;
    output.logprob = 0;
    output.num_top = 0;
  }
  if (input.num_logprobs >= 0) report_logprobs(row, token, output, scratch);
  block_barrier();
  if (thread_index() != 0) return;
  if (counts) counts[token] += 1;
  system_fence();
  *const_cast<volatile std::uint32_t*>(&output.ticket) = args.header->ticket;
}

TANDEM_KERNEL void remember_kernel(RememberArgs args) {
  wait_for_stream();
  const int i = block_x() * num_threads() + thread_index();
  if (i >= args.num_entries) return;
  const SeenEntry entry = args.entries[i];
  args.counts[static_cast<std::int64_t>(entry.slot) * args.vocab + entry.token] = entry.word;
}

template <Launching how>
void draw(const DrawArgs& args, std::int64_t rows, Stream stream) {
  // A small vocabulary leaves most of a large block idle.
  int threads = warp_size * 4;
  while (threads < most_threads && threads * 8 < args.vocab) threads *= 2;
  launch<how, draw_kernel>(rows, 1, threads, sizeof(Scratch), stream, args);
}

template <Launching how>
void remember(const RememberArgs& args, Stream stream) {
  constexpr int threads = 256;
  launch<how, remember_kernel>((args.num_entries + threads - 1) / threads, 1, threads, 0, stream,
                               args);
}

}  // namespace

template <Launching how>
void add_draw_kernels(KernelTable& table) {
  table.draw = draw<how>;
  table.remember = remember<how>;
}
template void add_draw_kernels<Launching::serial>(KernelTable&);
template void add_draw_kernels<Launching::dependent>(KernelTable&);

}  // namespace tandem::gpu::cuda::TANDEM_KERNEL_BUILD
