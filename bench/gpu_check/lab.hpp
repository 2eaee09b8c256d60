// What gpu_check works on: a device through its driver, the kernels, the products, and backends
// made of them. Tests give it the fake device instead, so that the checks themselves are checked.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/gpu_check/report.hpp"
#include "gpu/backend.hpp"
#include "gpu/cuda/cublas_gemm.hpp"
#include "gpu/cuda/cuda_backend.hpp"
#include "gpu/cuda/driver.hpp"
#include "gpu/cuda/gemm.hpp"
#include "gpu/cuda/kernels/kernels.hpp"
#include "gpu/cuda/memory_plan.hpp"
#include "gpu/cuda/resources.hpp"
#include "gpu/cuda/skinny_gemm.hpp"

namespace tandem::gpu_check {

/// A check cannot go on without its device: the program ends with the reason.
[[noreturn]] inline void stop(const Error& reason) {
  std::fprintf(stderr, "gpu_check: error: %s\n", reason.message.c_str());
  std::exit(1);
}
template <class T>
T must(Result<T> result) {
  if (!result) stop(result.error());
  return std::move(*result);
}
inline void must(Result<void> result) {
  if (!result) stop(result.error());
}

struct Lab {
  gpu::cuda::Driver* driver = nullptr;
  const gpu::cuda::KernelTable* kernels = nullptr;
  gpu::cuda::Gemm* gemm = nullptr;
  gpu::cuda::Stream stream = nullptr;
  const gpu::cuda::flashinfer::Functions* flashinfer = nullptr;  ///< none: not built in
  /// A driver, kernels and products for a backend of its own on the same device.
  std::function<Result<gpu::cuda::BackendParts>(const gpu::CudaOptions&)> open_parts;
  /// Lets queued work of a backend happen; a real device needs nothing for it.
  std::function<void()> pump = [] {};
  /// Sizes of measurements: 1 on a device, smaller where it is emulated.
  double scale = 1;
  /// When the command at hand has to come to its end.
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();

  [[nodiscard]] bool late() const { return std::chrono::steady_clock::now() >= deadline; }
  void finish() const {
    must(driver->launch_errors());
    must(driver->synchronize(stream));
  }
};

/// Device memory of `count` elements, poisoned with ones in every bit (NaN, or -1).
template <class T>
class DeviceArray {
 public:
  DeviceArray(const Lab& lab, std::size_t count)
      : lab_(lab),
        count_(count),
        memory_(must(gpu::cuda::DeviceBuffer::make(*lab.driver, bytes()))) {
    must(lab.driver->fill(memory_.data(), 0xFF, bytes(), lab.stream));
  }
  DeviceArray(const Lab& lab, const std::vector<T>& values) : DeviceArray(lab, values.size()) {
    must(lab.driver->copy_to_device(memory_.data(), values.data(), bytes(), lab.stream));
    must(lab.driver->synchronize(lab.stream));
  }
  [[nodiscard]] T* data() const { return reinterpret_cast<T*>(memory_.data()); }
  [[nodiscard]] std::vector<T> read() const {
    std::vector<T> values(count_);
    must(lab_.driver->copy_to_host(values.data(), memory_.data(), bytes(), lab_.stream));
    lab_.finish();
    return values;
  }

 private:
  [[nodiscard]] Bytes bytes() const { return Bytes(static_cast<std::int64_t>(count_ * sizeof(T))); }
  const Lab& lab_;
  std::size_t count_;
  gpu::cuda::DeviceBuffer memory_;
};

/// Seconds of one `work`, which queues on the lab's stream: the mean of `times`, after one more.
template <class Work>
double seconds_of(const Lab& lab, int times, const Work& work) {
  work();
  lab.finish();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < times; ++i) work();
  lab.finish();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / times;
}

/// Seconds of one `work` on the device when a graph holds `times` of them, as decode iterations do:
/// what the host takes to launch it does not count.
template <class Work>
double replayed_seconds_of(const Lab& lab, int times, const Work& work) {
  auto& driver = *lab.driver;
  work();  // code is loaded at its first launch, which cannot be captured
  lab.finish();
  must(driver.begin_capture(lab.stream));
  for (int i = 0; i < times; ++i) work();
  const gpu::cuda::OwnedGraph graph(driver, must(driver.end_capture(lab.stream)));
  const gpu::cuda::OwnedEvent begin(driver, must(driver.create_timing_event()));
  const gpu::cuda::OwnedEvent end(driver, must(driver.create_timing_event()));
  must(driver.launch(graph.get(), lab.stream));
  must(driver.record(begin.get(), lab.stream));
  must(driver.launch(graph.get(), lab.stream));
  must(driver.record(end.get(), lab.stream));
  lab.finish();
  return std::chrono::duration<double>(must(driver.elapsed(begin.get(), end.get()))).count() /
         times;
}

/// Our own products of few rows, with a workspace of their own.
struct OwnProducts {
  explicit OwnProducts(const Lab& lab)
      : workspace(must(
            gpu::cuda::DeviceBuffer::make(*lab.driver, Bytes(gpu::cuda::gemm_workspace_bytes)))),
        gemm(must(gpu::cuda::SkinnyGemm::make(*lab.driver, *lab.kernels))) {
    gemm->set_workspace(workspace.data(), workspace.size());
  }

  gpu::cuda::DeviceBuffer workspace;
  std::unique_ptr<gpu::cuda::SkinnyGemm> gemm;
};

/// What the device reaches at best, by which the shares of everything else are told.
struct Ceilings {
  double bytes_per_second = 0;       ///< of a large copy on the device, read and written
  double operations_per_second = 0;  ///< of a large bf16 product of random numbers
};

/// Of the model that figures are given for.
struct ModelSize {
  model::ModelConfig config;
  std::string name;
};

// ---- the checks --------------------------------------------------------------------------------

void check_row_kernels(const Lab& lab, Report& report);
void check_attention(const Lab& lab, Report& report);
void check_draws(const Lab& lab, Report& report);
void check_products(const Lab& lab, Report& report);
void check_own_products(const Lab& lab, Report& report);
void check_models(const Lab& lab, Report& report);
void check_kv_copies(const Lab& lab, Report& report);

// ---- measurements ------------------------------------------------------------------------------

void measure_attention(const Lab& lab, Report& report);
void measure_copies(const Lab& lab, Report& report);
Ceilings measure_ceilings(const Lab& lab, Report& report);
/// Shares of the ceilings that the products of a model reach, few rows and many; our own kernel's
/// beside the library's at few.
void measure_products(const Lab& lab, const ModelSize& size, const Ceilings& ceilings,
                      Report& report);
/// Tries the library's algorithms for every product of a model, and our own kernel at few rows, and
/// writes the fastest to `file`. Our own is left out where its results are not the library's.
void tune_products(const Lab& lab, gpu::cuda::CublasGemm& gemm, const ModelSize& size,
                   const std::string& file, Report& report);
}  // namespace tandem::gpu_check
