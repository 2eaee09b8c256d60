// Our own products of few rows (kernels/skinny.cu) as a Gemm, and a Gemm that takes them where they
// were chosen and the library's everywhere else.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "gpu/cuda/gemm.hpp"
#include "gpu/cuda/kernels/kernels.hpp"
#include "gpu/cuda/resources.hpp"
#include "gpu/cuda/skinny_plan.hpp"

namespace tandem::gpu::cuda {

/// Products of 1 to skinny_rows rows; k a multiple of 8, operands aligned to 16 bytes. One product
/// at a time: they share the workspace and the counters, as products of one stream may.
class SkinnyGemm final : public Gemm {
 public:
  /// Allocates one word per multiprocessor and waits until it is cleared. The driver and the
  /// kernels outlive it.
  static Result<std::unique_ptr<SkinnyGemm>> make(Driver& driver, const KernelTable& kernels);

  [[nodiscard]] std::string name() const override { return "skinny"; }
  void set_workspace(std::byte* memory, Bytes size) override;
  /// Fails if `supports` does.
  Result<void> prepare(const GemmKey& key, std::int64_t out_stride) override;
  Result<void> run(const GemmKey& key, const GemmOperands& operands, Stream stream) override;

  /// Whether the kernel takes this shape on this device and in this workspace; the error says what
  /// it takes.
  [[nodiscard]] Result<void> supports(const GemmKey& key) const;

 private:
  SkinnyGemm(Driver& driver, const KernelTable& kernels, DeviceBuffer counters);
  [[nodiscard]] SkinnyPlan plan_of(const GemmKey& key) const;

  const KernelTable& kernels_;
  const std::int32_t multiprocessors_;
  const Bytes block_memory_;
  DeviceBuffer counters_;  ///< zero whenever no product runs
  std::byte* workspace_ = nullptr;
  Bytes workspace_size_{0};
};

class ChosenGemm final : public Gemm {
 public:
  using Choice = std::function<bool(const GemmKey&)>;
  /// `chosen` are the shapes that `own` computes; a shape among them that it does not take is an
  /// error when it is prepared.
  ChosenGemm(std::unique_ptr<Gemm> library, std::unique_ptr<Gemm> own, Choice chosen)
      : library_(std::move(library)), own_(std::move(own)), chosen_(std::move(chosen)) {}

  [[nodiscard]] std::string name() const override { return library_->name() + "+" + own_->name(); }
  void set_workspace(std::byte* memory, Bytes size) override;
  Result<void> prepare(const GemmKey& key, std::int64_t out_stride) override;
  Result<void> run(const GemmKey& key, const GemmOperands& operands, Stream stream) override;

 private:
  [[nodiscard]] Gemm& of(const GemmKey& key) { return chosen_(key) ? *own_ : *library_; }

  const std::unique_ptr<Gemm> library_, own_;
  const Choice chosen_;
};

}  // namespace tandem::gpu::cuda
