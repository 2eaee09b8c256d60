// See skinny_gemm.hpp.
#include "gpu/cuda/skinny_gemm.hpp"

#include "core/check.hpp"

namespace tandem::gpu::cuda {
namespace {

constexpr std::int64_t bytes_at_once = 16;  ///< of an asynchronous copy

std::int32_t narrow(std::int64_t value) { return static_cast<std::int32_t>(value); }

bool is_aligned(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address) % bytes_at_once == 0;
}

}  // namespace

Result<std::unique_ptr<SkinnyGemm>> SkinnyGemm::make(Driver& driver, const KernelTable& kernels) {
  auto counters =
      DeviceBuffer::make(driver, Bytes(std::int64_t{driver.properties().multiprocessors} * 4));
  if (!counters) return counters.error();
  const auto stream = make_stream(driver, StreamPriority::normal);
  if (!stream) return stream.error();
  if (auto r = driver.fill(counters->data(), 0, counters->size(), stream->get()); !r)
    return r.error();
  if (auto r = driver.synchronize(stream->get()); !r) return r.error();
  return std::unique_ptr<SkinnyGemm>(new SkinnyGemm(driver, kernels, std::move(*counters)));
}

SkinnyGemm::SkinnyGemm(Driver& driver, const KernelTable& kernels, DeviceBuffer counters)
    : kernels_(kernels),
      multiprocessors_(narrow(driver.properties().multiprocessors)),
      block_memory_(driver.properties().block_memory),
      counters_(std::move(counters)) {}

void SkinnyGemm::set_workspace(std::byte* memory, Bytes size) {
  workspace_ = memory;
  workspace_size_ = size;
}

SkinnyPlan SkinnyGemm::plan_of(const GemmKey& key) const {
  return {narrow(key.n), narrow(key.k), multiprocessors_};
}

Result<void> SkinnyGemm::supports(const GemmKey& key) const {
  const auto refused = [&](const std::string& what) {
    return error(Errc::unsupported, "our own kernel does not take " + text_of(key) + ": " + what);
  };
  if (key.rows < 1 || key.rows > skinny_rows)
    return refused("rows are 1 to " + std::to_string(skinny_rows));
  if (!SkinnyPlan::can_divide(key.n, key.k, multiprocessors_))
    return refused("n and k are at least 1, and n / 128 * k / 64 times the device's " +
                   std::to_string(multiprocessors_) + " multiprocessors is below 2^31");
  if (key.k * 2 % bytes_at_once != 0) return refused("k is a multiple of 8");
  const auto columns = skinny_columns(key.rows);
  const auto shared = skinny_shared_bytes(columns);
  if (shared > block_memory_.value())
    return refused("it needs " + std::to_string(shared) +
                   " bytes of shared memory a block, and this device has " +
                   std::to_string(block_memory_.value()));
  const auto partials = skinny_workspace_bytes(plan_of(key).blocks, columns);
  if (partials > workspace_size_.value())
    return refused("it needs a workspace of " + std::to_string(partials) + " bytes, and has " +
                   std::to_string(workspace_size_.value()));
  return {};
}

Result<void> SkinnyGemm::prepare(const GemmKey& key, std::int64_t) { return supports(key); }

Result<void> SkinnyGemm::run(const GemmKey& key, const GemmOperands& operands, Stream stream) {
  TANDEM_CHECK(supports(key).has_value(), "a product whose shape was not prepared");
  TANDEM_CHECK(is_aligned(operands.a) && is_aligned(operands.weights),
               "operands are aligned to 16 bytes");
  kernels_.skinny({.a = operands.a,
                   .weights = operands.weights,
                   .out = operands.out,
                   .partials = reinterpret_cast<float*>(workspace_),
                   .counters = reinterpret_cast<std::uint32_t*>(counters_.data()),
                   .out_stride = operands.out_stride,
                   .rows = narrow(key.rows),
                   .n = narrow(key.n),
                   .k = narrow(key.k),
                   .blocks = plan_of(key).blocks,
                   .output = key.output},
                  stream);
  return {};
}

void ChosenGemm::set_workspace(std::byte* memory, Bytes size) {
  library_->set_workspace(memory, size);
  own_->set_workspace(memory, size);
}

Result<void> ChosenGemm::prepare(const GemmKey& key, std::int64_t out_stride) {
  auto result = of(key).prepare(key, out_stride);
  if (result || !chosen_(key)) return result;
  return error(Errc::invalid_value,
               "gemm_tuning_file chooses 'own' where it cannot be: " + result.error().message,
               "gemm_tuning_file");
}

Result<void> ChosenGemm::run(const GemmKey& key, const GemmOperands& operands, Stream stream) {
  return of(key).run(key, operands, stream);
}

}  // namespace tandem::gpu::cuda
