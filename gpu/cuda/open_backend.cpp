// The backend of cuda_backend.hpp on a real device, with the real libraries.
#include <fstream>
#include <iterator>

#include "gpu/cuda/cublas_gemm.hpp"
#include "gpu/cuda/cuda_backend.hpp"
#include "gpu/cuda/cuda_driver.hpp"
#include "gpu/cuda/start_checks.hpp"

namespace tandem::gpu {
namespace {

constexpr std::size_t max_tuning_bytes = 16U << 20;

Result<cuda::GemmTuning> read_tuning(const std::filesystem::path& path, const std::string& device,
                                     std::uint64_t library) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return error(Errc::not_found, path.string() + " cannot be read", "gemm_tuning_file");
  std::string text;
  for (std::istreambuf_iterator<char> next(in), end; next != end && text.size() <= max_tuning_bytes;
       ++next)
    text += *next;
  if (text.size() > max_tuning_bytes)
    return error(Errc::too_large,
                 path.string() + " is larger than " + std::to_string(max_tuning_bytes) + " bytes",
                 "gemm_tuning_file");
  auto tuning = cuda::parse_tuning(text, path.string());
  if (!tuning) return tuning.error();
  if (auto r = cuda::check_tuning(*tuning, device, library, path.string()); !r) return r.error();
  return tuning;
}

}  // namespace

Result<void> check_attention(const std::string& attention) {
  return cuda::check_attention(attention, cuda::flashinfer::built_in());
}

Result<cuda::BackendParts> cuda::open_parts(const CudaOptions& options) {
  auto driver = cuda::open_driver(options.device_index);
  if (!driver) return driver.error();
  if (auto r = (*driver)->make_current(); !r) return r.error();
  auto gemm = cuda::open_cublas();
  if (!gemm) return gemm.error();
  if (!options.gemm_tuning_file.empty()) {
    auto tuning = read_tuning(options.gemm_tuning_file, (*driver)->properties().name,
                              (*gemm)->library_version());
    if (!tuning) return tuning.error();
    (*gemm)->use(std::move(*tuning));
  }
  return cuda::BackendParts{std::move(*driver), &cuda::device_kernels(), std::move(*gemm),
                            cuda::flashinfer::built_in()};
}

Result<std::unique_ptr<Backend>> make_cuda_backend(const model::Weights& weights,
                                                   const CudaOptions& options) {
  if (auto r = check_attention(options.attention); !r) return r.error();
  auto parts = cuda::open_parts(options);
  if (!parts) return parts.error();
  auto backend = cuda::make_backend(std::move(*parts), weights, options);
  if (!backend) return backend.error();
  return std::unique_ptr<Backend>(std::move(*backend));
}

}  // namespace tandem::gpu
