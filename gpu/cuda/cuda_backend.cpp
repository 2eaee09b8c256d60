// See cuda_backend.hpp.
#include "gpu/cuda/cuda_backend.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "core/check.hpp"
#include "gpu/cuda/buckets.hpp"
#include "gpu/cuda/ready_device.hpp"
#include "gpu/cuda/start_checks.hpp"

namespace tandem::gpu::cuda {
namespace {

constexpr std::int32_t not_drawn = -1;

/// A plan between its start and its collect.
struct StartedPlan {
  IterationId id{};
  std::uint32_t next_segment = 0, segments = 0;
  std::uint32_t ticket = 0;
  PassSizes sizes;
  std::vector<std::uint32_t> sampled_slices;

  [[nodiscard]] bool is_queued_whole() const { return next_segment == segments; }
};

class CudaBackend final : public DeviceBackend {
 public:
  CudaBackend(ReadyDevice ready, std::uint32_t layers_per_segment)
      : layers_per_segment_(layers_per_segment),
        ready_(std::move(ready)),
        driver_(*ready_.parts.driver),
        stream_(ready_.stream.get()),
        layout_(ready_.capacity),
        seen_capacity_(ready_.capacity.seen_entries()),
        device_view_(layout_.view(ready_.workspace.iteration)),
        packer_(ready_.shape, ready_.capacity, ready_.limits.kv_blocks.value()),
        slots_(ready_.limits.max_sequences) {
    last_drawn_.reserve(ready_.limits.max_sequences);
    for (auto& plan : started_) plan.sampled_slices.reserve(ready_.limits.max_sequences);
  }

  ~CudaBackend() override {
    // What still runs writes to memory that is about to go; a failure was reported already.
    static_cast<void>(driver_.make_current());
    static_cast<void>(driver_.synchronize(stream_));
  }

  [[nodiscard]] const DeviceLimits& limits() const override { return ready_.limits; }
  [[nodiscard]] Driver& driver() override { return driver_; }
  [[nodiscard]] Stream compute_stream() const override { return stream_; }
  [[nodiscard]] DeviceLogits logits() const override {
    return {ready_.workspace.logits, ready_.logit_stride};
  }
  [[nodiscard]] KvPool kv_pool() const override {
    return {ready_.pool.data(), ready_.shape, ready_.limits.kv_blocks};
  }
  [[nodiscard]] KvCopies* kv_copies() override { return ready_.copies.get(); }

  [[nodiscard]] std::uint32_t num_segments(const Plan& plan) const override {
    if (!plan.offline_only() || replays_graph(plan)) return 1;
    return (ready_.limits.num_layers + layers_per_segment_ - 1) / layers_per_segment_;
  }

  [[nodiscard]] bool runs_ahead(const Plan& plan) const override {
    if (num_segments(plan) != 1) return false;
    // What penalties know of more tokens than are copied at once is copied in turns, and the host
    // waits between them: for one iteration at most, this way.
    std::int64_t known = 0;
    for (const auto& binding : plan.bindings)
      if (penalizes(binding.request->sampling))
        known += static_cast<std::int64_t>(binding.request->prompt.size() + binding.output.size());
    return known <= seen_capacity_;
  }

  void start_segment(const PlanPtr& plan, std::uint32_t index, SegmentCallback done) override {
    if (index == 0) begin(*plan);
    auto& started = newest();
    TANDEM_CHECK(num_started_ > 0 && started.id == plan->id && index == started.next_segment &&
                     index < started.segments,
                 "segments run in order, one plan after another");
    ++started.next_segment;
    const bool last = started.is_queued_whole();
    if (last) remember_samples(*plan);
    if (failed_) return done(*failed_);
    // A segment that others follow is reported done when what was queued before it is: so the
    // caller's next look at its mailbox falls into the time in which this segment runs.
    if (!last) driver_.notify(stream_, done);
    if (auto r = enqueue(*plan, index); !r) {
      failed_ = r.error();
      if (last) done(*failed_);
      return;
    }
    if (last) driver_.notify(stream_, std::move(done));
  }

  Result<std::vector<Sample>> collect(const Plan& plan) override {
    const auto& started = oldest();
    TANDEM_CHECK(num_started_ > 0 && started.id == plan.id && started.is_queued_whole(),
                 "plans are collected once, in order, after their last segment");
    --num_started_;
    std::vector<Sample> samples;
    samples.reserve(started.sampled_slices.size());
    auto* outputs = reinterpret_cast<SampleOutput*>(ready_.outputs.host()) + first_drawn(started);
    for (const auto slice : started.sampled_slices) {
      auto& output = *outputs++;
      if (std::atomic_ref(output.ticket).load(std::memory_order_acquire) != started.ticket)
        return error(Errc::device_failed,
                     "the device finished iteration " + std::to_string(raw(plan.id)) +
                         " without having written the token of slice " + std::to_string(slice),
                     "device");
      if (output.token < 0 || output.token >= ready_.limits.vocab_size)
        return error(Errc::device_failed,
                     "the device drew token " + std::to_string(output.token) +
                         "; allowed are 0 to " + std::to_string(ready_.limits.vocab_size - 1),
                     "device");
      samples.push_back(sample_of(slice, output));
    }
    return samples;
  }

  void abort(const Plan& plan) override {
    // What is queued still runs; it writes beyond every committed length, and before the rerun.
    TANDEM_CHECK(num_started_ == 1 && newest().id == plan.id && !newest().is_queued_whole(),
                 "a plan is aborted between its segments");
    num_started_ = 0;
  }

  std::optional<std::string> take_warning() override { return ready_.attention->take_warning(); }

 private:
  [[nodiscard]] StartedPlan& newest() { return started_[turn_]; }
  [[nodiscard]] StartedPlan& oldest() {
    return num_started_ == max_on_device ? started_[(turn_ + 1) % max_on_device] : newest();
  }
  /// Where the samples of a plan begin in what the device writes.
  [[nodiscard]] std::uint32_t first_drawn(const StartedPlan& plan) const {
    return static_cast<std::uint32_t>(&plan - started_.data()) * ready_.limits.max_sequences;
  }
  [[nodiscard]] std::byte* staging() const { return ready_.staging[turn_].host(); }

  [[nodiscard]] bool replays_graph(const Plan& plan) const {
    if (ready_.graphs.empty()) return false;
    const auto rows = static_cast<std::int64_t>(plan.slices.size());
    return rows <= ready_.graphs.rbegin()->first &&
           std::all_of(plan.slices.begin(), plan.slices.end(),
                       [](const Slice& slice) { return slice.num_tokens == 1; });
  }

  static Sample sample_of(std::uint32_t slice, const SampleOutput& output) {
    Sample sample{.slice = slice, .token = output.token, .logprob = output.logprob};
    const auto count = std::min<std::size_t>(output.num_top, max_top_logprobs);
    for (std::size_t i = 0; i < count; ++i)
      sample.top_logprobs.push_back({output.top[i].token, output.top[i].logprob});
    return sample;
  }

  /// Binds slots, writes the plan to pinned memory and queues its copy. The plan before may still
  /// run: the copy and all that follows stand behind it, and what it draws is read on the device.
  void begin(const Plan& plan) {
    const auto segments = num_segments(plan);
    TANDEM_CHECK(
        num_started_ == 0 || (num_started_ == 1 && newest().is_queued_whole() && segments == 1),
        "a plan starts after the one before was collected or aborted, or whole behind it");
    turn_ = (turn_ + 1) % max_on_device;
    ++num_started_;
    ++ticket_;
    for (const auto& binding : plan.bindings) {
      TANDEM_CHECK(raw(binding.slot) < ready_.limits.max_sequences, "a binding beyond the slots");
      slots_[raw(binding.slot)] = SlotState(binding.request->sampling, binding.output.size());
    }
    auto& started = newest();
    const auto view = layout_.view(staging());
    const auto& packed =
        packer_.pack(plan, last_drawn_, slots_, {ticket_, first_drawn(started)}, view);
    started.id = plan.id;
    started.next_segment = 0;
    started.segments = segments;
    started.ticket = ticket_;
    started.sizes = PassSizes::of(*view.header);
    started.sampled_slices = packed.sampled_slices;
    if (failed_) return;
    auto queued = driver_.make_current();
    if (queued) queued = copy_iteration(packed);
    if (queued) queued = bind_counts(plan);
    if (queued) queued = ready_.attention->plan(view, packed, stream_);
    if (!queued) failed_ = queued.error();
  }

  /// A plan whose last segment is queued will have drawn its tokens when the next plan runs.
  void remember_samples(const Plan& plan) {
    const auto& started = newest();
    last_drawn_.assign(plan.slices.size(), not_drawn);
    auto place = static_cast<std::int32_t>(first_drawn(started));
    for (const auto slice : started.sampled_slices) {
      last_drawn_[slice] = place++;
      ++slots_[raw(plan.slices[slice].slot)].drawn;
    }
  }

  Result<void> copy_part(std::int64_t at, std::int64_t bytes) {
    if (bytes == 0) return {};
    return driver_.copy_to_device(ready_.workspace.iteration + at, staging() + at, Bytes(bytes),
                                  stream_);
  }

  Result<void> copy_iteration(const PackedIteration& packed) {
    if (auto r = copy_part(0, layout_.fixed_bytes); !r) return r;
    if (auto r = copy_part(layout_.tables_at, packed.table_entries * 4); !r) return r;
    return copy_part(layout_.biases_at,
                     packed.biases * static_cast<std::int64_t>(sizeof(BiasEntry)));
  }

  /// What penalties of newly bound slots know. Few requests have any.
  Result<void> bind_counts(const Plan& plan) {
    const auto vocab = ready_.shape.vocab;
    std::int64_t used = 0;
    for (const auto& binding : plan.bindings) {
      const auto& request = *binding.request;
      if (!penalizes(request.sampling)) continue;
      auto* row = ready_.workspace.counts + raw(binding.slot) * vocab;
      if (auto r = driver_.fill(row, 0, Bytes(vocab * 4), stream_); !r) return r;
      auto entries = seen_entries(binding.slot, request.sampling, request.prompt, binding.output);
      std::erase_if(
          entries, [&](const SeenEntry& entry) { return entry.token < 0 || entry.token >= vocab; });
      for (std::size_t first = 0; first < entries.size();) {
        if (used == seen_capacity_) {
          // Many long prompts with penalties at once: their entries go in turns.
          if (auto r = flush_seen(used); !r) return r;
          if (auto r = driver_.synchronize(stream_); !r) return r;
          used = 0;
        }
        const auto count =
            std::min(static_cast<std::int64_t>(entries.size() - first), seen_capacity_ - used);
        auto* to = layout_.view(staging()).seen + used;
        std::copy_n(entries.begin() + static_cast<std::ptrdiff_t>(first), count, to);
        first += static_cast<std::size_t>(count);
        used += count;
      }
    }
    return flush_seen(used);
  }

  Result<void> flush_seen(std::int64_t count) {
    if (auto r = copy_part(layout_.seen_at, count * static_cast<std::int64_t>(sizeof(SeenEntry)));
        !r)
      return r;
    ready_.parts.kernels->remember({.entries = device_view_.seen,
                                    .counts = ready_.workspace.counts,
                                    .num_entries = static_cast<std::int32_t>(count),
                                    .vocab = static_cast<std::int32_t>(ready_.shape.vocab)},
                                   stream_);
    return {};
  }

  Result<void> enqueue(const Plan& plan, std::uint32_t index) {
    if (auto r = driver_.make_current(); !r) return r;
    const auto& sizes = newest().sizes;
    const auto segments = newest().segments;
    if (replays_graph(plan))
      return driver_.launch(ready_.graphs.at(bucket_of(sizes.rows)).get(), stream_);
    const std::int64_t layers = ready_.limits.num_layers;
    const std::int64_t stride = segments == 1 ? layers : layers_per_segment_;
    const auto& forward = *ready_.forward;
    if (index == 0) forward.embed(sizes, stream_);
    if (auto r = forward.run_layers(index * stride, std::min(layers, (index + 1) * stride), sizes,
                                    stream_);
        !r)
      return r;
    if (index + 1 == segments)
      if (auto r = forward.sample(sizes, stream_); !r) return r;
    return driver_.launch_errors();
  }

  const std::uint32_t layers_per_segment_;
  ReadyDevice ready_;
  Driver& driver_;
  const Stream stream_;
  const IterationLayout layout_;
  const std::int64_t seen_capacity_;
  const IterationView device_view_;
  IterationPacker packer_;
  std::vector<SlotState> slots_;

  // What the device has in hand: turn_ is the newest plan's, of which num_started_ are not
  // collected.
  std::array<StartedPlan, max_on_device> started_;
  std::size_t turn_ = 0, num_started_ = 0;
  std::uint32_t ticket_ = 0;
  /// Of the newest plan that is queued whole, by slice: where its token lies in `drawn`.
  std::vector<std::int32_t> last_drawn_;
  std::optional<Error> failed_;  ///< of a segment whose report was given already
};

}  // namespace

Result<std::unique_ptr<DeviceBackend>> make_backend(BackendParts parts,
                                                    const model::Weights& weights,
                                                    const CudaOptions& options) {
  if (auto r = check_ranges(options, weights.config); !r) return r.error();
  if (auto r = check_attention(options.attention, parts.flashinfer); !r) return r.error();
  if (auto r = check_device(parts.driver->properties()); !r) return r.error();
  if (auto r = check_kernel_launch(options.kernel_launch, parts.driver->properties()); !r)
    return r.error();
  auto ready = make_ready(std::move(parts), weights, options);
  if (!ready) return ready.error();
  return std::unique_ptr<DeviceBackend>(
      std::make_unique<CudaBackend>(std::move(*ready), options.layers_per_segment));
}

}  // namespace tandem::gpu::cuda
