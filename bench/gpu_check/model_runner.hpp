// Sequences on a backend, by plans made by hand: each has blocks of its own.
#pragma once

#include <cstdint>
#include <future>
#include <memory>
#include <vector>

#include "bench/gpu_check/lab.hpp"
#include "bench/gpu_check/timed_driver.hpp"

namespace tandem::gpu_check {

class ModelRunner {
 public:
  ModelRunner(const Lab& lab, const model::Weights& weights, const gpu::CudaOptions& options);

  /// Forgets everything and makes sequences, each with room for `most_tokens` positions.
  void make_sequences(std::size_t count, std::int64_t most_tokens, RequestClass request_class,
                      const SamplingParams& sampling);
  /// One iteration: a chunk of tokens for each given sequence that gets any.
  std::vector<Sample> prefill(const std::vector<std::vector<TokenId>>& chunks);
  /// One iteration of one token for every sequence: the one drawn last.
  std::vector<Sample> decode();
  /// `steps` iterations of one token for every sequence, each started behind the one before and
  /// taking its tokens on the device, as in service; returns what each drew.
  std::vector<std::vector<Sample>> decode_ahead(std::size_t steps);
  /// As if every sequence had `context` positions already; what is in them does not matter.
  void pretend_context(std::int64_t context);

  [[nodiscard]] const Lab& lab() const { return lab_; }
  [[nodiscard]] gpu::cuda::DeviceBackend& backend() { return *backend_; }
  [[nodiscard]] TimedDriver& timed_driver() { return *driver_; }
  [[nodiscard]] const BlockTable& blocks_of(std::size_t sequence) const {
    return *tables_[sequence];
  }
  /// Every logit of the samples drawn last, (samples, vocab).
  std::vector<float> logits(std::size_t samples);
  /// Blocks of the pool that no sequence has, at most `count`.
  [[nodiscard]] std::vector<BlockId> other_blocks(std::size_t count);
  /// Waits for what is queued on the compute stream.
  void finish();
  /// Seconds that the host spent in start_segment and collect since the last call.
  double take_host_seconds() { return std::exchange(host_seconds_, 0); }
  /// The plan of a prefill, not run.
  PlanPtr prefill_plan(const std::vector<std::vector<TokenId>>& chunks);
  /// Runs one segment and waits for its report.
  void run_segment(const PlanPtr& plan, std::uint32_t index);

 private:
  std::vector<Sample> run(const PlanPtr& plan);
  std::future<Result<void>> start(const PlanPtr& plan, std::uint32_t segment);
  std::vector<Sample> collect(const Plan& plan);
  /// One token for every sequence: what the plan before draws.
  PlanPtr following_plan();
  Slice slice_of(std::size_t sequence, std::uint32_t tokens) const;

  const Lab& lab_;
  TimedDriver* driver_ = nullptr;  ///< of the backend
  std::unique_ptr<gpu::cuda::DeviceBackend> backend_;
  double host_seconds_ = 0;
  std::uint64_t next_id_ = 1;
  RequestClass request_class_ = RequestClass::online;
  std::vector<SlotBinding> bindings_;  ///< of the next plan
  std::vector<BlockTablePtr> tables_;
  std::vector<std::uint32_t> contexts_;
  std::vector<TokenId> last_;
};

void measure_decode(ModelRunner& runner, const ModelSize& size, const Ceilings& ceilings,
                    Report& report);
void measure_prefill(ModelRunner& runner, const ModelSize& size, const Ceilings& ceilings,
                     Report& report);
void measure_graphs(ModelRunner& runner, const ModelSize& size, Report& report);
/// Of a backend whose segments have `group` layers.
void measure_preemption(ModelRunner& runner, const ModelSize& size, std::uint32_t group,
                        Report& report);
/// KV blocks to the host and back, alone and beside a decoding batch.
void measure_kv_copies(ModelRunner& runner, const ModelSize& size, Report& report);

/// As many tokens as wanted, the same ones each time, another row for another salt.
std::vector<TokenId> some_tokens(std::size_t count, std::int64_t vocab, std::size_t salt);

}  // namespace tandem::gpu_check
