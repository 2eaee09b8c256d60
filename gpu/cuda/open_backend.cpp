// The backend of cuda_backend.hpp on a real device, with the real libraries.
#include <fstream>
#include <iterator>
#include <set>

#include "gpu/cuda/cublas_gemm.hpp"
#include "gpu/cuda/cuda_backend.hpp"
#include "gpu/cuda/cuda_driver.hpp"
#include "gpu/cuda/skinny_gemm.hpp"
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

/// cuBLASLt, and our own kernel for the shapes at which the tuning file has found it faster.
Result<std::unique_ptr<cuda::Gemm>> open_gemm(cuda::Driver& driver,
                                              const cuda::KernelTable& kernels,
                                              const std::filesystem::path& tuning_file) {
  auto library = cuda::open_cublas();
  if (!library) return library.error();
  if (tuning_file.empty()) return std::unique_ptr<cuda::Gemm>(std::move(*library));
  auto tuning = read_tuning(tuning_file, driver.properties().name, (*library)->library_version());
  if (!tuning) return tuning.error();
  std::set<cuda::GemmKey> own;
  for (const auto& [key, microseconds] : tuning->own) own.insert(key);
  (*library)->use(std::move(*tuning));
  if (own.empty()) return std::unique_ptr<cuda::Gemm>(std::move(*library));
  auto skinny = cuda::SkinnyGemm::make(driver, kernels);
  if (!skinny) return skinny.error();
  return std::unique_ptr<cuda::Gemm>(std::make_unique<cuda::ChosenGemm>(
      std::move(*library), std::move(*skinny),
      [own = std::move(own)](const cuda::GemmKey& key) { return own.contains(key); }));
}

}  // namespace

Result<void> check_attention(const std::string& attention) {
  return cuda::check_attention(attention, cuda::flashinfer::built_in());
}

Result<cuda::BackendParts> cuda::open_parts(const CudaOptions& options) {
  auto driver = cuda::open_driver(options.device_index);
  if (!driver) return driver.error();
  if (auto r = (*driver)->make_current(); !r) return r.error();
  const auto& kernels = cuda::device_kernels(launching_of(options.kernel_launch));
  auto gemm = open_gemm(**driver, kernels, options.gemm_tuning_file);
  if (!gemm) return gemm.error();
  return cuda::BackendParts{std::move(*driver), &kernels, std::move(*gemm),
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
