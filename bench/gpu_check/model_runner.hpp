// Sequences on a backend, by plans made by hand: each has blocks of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "bench/gpu_check/lab.hpp"

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
  /// As if every sequence had `context` positions already; what is in them does not matter.
  void pretend_context(std::int64_t context);

  [[nodiscard]] gpu::Backend& backend() { return *backend_; }
  /// The plan of a prefill, not run.
  PlanPtr prefill_plan(const std::vector<std::vector<TokenId>>& chunks);
  /// Runs one segment and waits for its report.
  void run_segment(const PlanPtr& plan, std::uint32_t index);

 private:
  std::vector<Sample> run(const PlanPtr& plan);
  Slice slice_of(std::size_t sequence, std::uint32_t tokens) const;

  const Lab& lab_;
  std::unique_ptr<gpu::Backend> backend_;
  std::uint64_t next_id_ = 1;
  RequestClass request_class_ = RequestClass::online;
  std::vector<SlotBinding> bindings_;  ///< of the next plan
  std::vector<BlockTablePtr> tables_;
  std::vector<std::uint32_t> contexts_;
  std::vector<TokenId> last_;
};

/// Of the model that figures are given for.
struct ModelSize {
  model::ModelConfig config;
  std::string name;
};
void measure_decode(ModelRunner& runner, const ModelSize& size, Report& report);
void measure_prefill(ModelRunner& runner, const ModelSize& size, Report& report);
void measure_graphs(ModelRunner& runner, const ModelSize& size, Report& report);
void measure_preemption(ModelRunner& runner, const ModelSize& size, Report& report);

}  // namespace tandem::gpu_check
