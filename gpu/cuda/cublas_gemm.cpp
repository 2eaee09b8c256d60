// See cublas_gemm.hpp. cuBLAS counts matrices by columns: our row-major product out = a * w^T is
// its column-major out^T = w * a^T, with w transposed, since w (n, k) by rows is (k, n) by columns.
#include "gpu/cuda/cublas_gemm.hpp"

#include <algorithm>
#include <cstring>
#include <dlfcn.h>
#include <map>
#include <optional>
#include <utility>

#include "core/check.hpp"
#include "gpu/cuda/cublas_api.hpp"

namespace tandem::gpu::cuda {
namespace {

/// Where the toolkit's installers put the libraries, after the loader's own places.
constexpr const char* folders[] = {"", "/usr/local/cuda/lib64/", "/usr/local/cuda/lib/"};
constexpr const char* versions[] = {".so.13", ".so.12"};

class Library {
 public:
  static Result<Library> open(const std::string& name) {
    std::string tried;
    for (const auto* version : versions)
      for (const auto* folder : folders) {
        const auto file = folder + name + version;
        if (auto* handle = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) return Library(handle);
        tried += (tried.empty() ? "" : ", ") + file;
      }
    return error(Errc::unsupported,
                 "cuBLAS of CUDA 12 or 13 was not found; tried " + tried +
                     ". Install it or name its folder in LD_LIBRARY_PATH",
                 "device");
  }
  Library(Library&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Library& operator=(Library&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Library() {
    if (handle_) ::dlclose(handle_);
  }

  /// Looks a function up; the first that is missing is kept in `missing`.
  template <class Function>
  void find(Function& function, const char* name, std::string& missing) const {
    function = reinterpret_cast<Function>(::dlsym(handle_, name));
    if (!function && missing.empty()) missing = name;
  }

 private:
  explicit Library(void* handle) : handle_(handle) {}
  void* handle_ = nullptr;
};

#define TANDEM_FIND(function) library.find(functions.function, #function, missing)

std::string find_all(const Library& library, cublas::LtFunctions& functions) {
  std::string missing;
  TANDEM_FIND(cublasLtGetVersion);
  TANDEM_FIND(cublasLtCreate);
  TANDEM_FIND(cublasLtDestroy);
  TANDEM_FIND(cublasLtMatmulDescCreate);
  TANDEM_FIND(cublasLtMatmulDescDestroy);
  TANDEM_FIND(cublasLtMatmulDescSetAttribute);
  TANDEM_FIND(cublasLtMatrixLayoutCreate);
  TANDEM_FIND(cublasLtMatrixLayoutDestroy);
  TANDEM_FIND(cublasLtMatmulPreferenceCreate);
  TANDEM_FIND(cublasLtMatmulPreferenceDestroy);
  TANDEM_FIND(cublasLtMatmulPreferenceSetAttribute);
  TANDEM_FIND(cublasLtMatmulAlgoGetHeuristic);
  TANDEM_FIND(cublasLtMatmulAlgoCheck);
  TANDEM_FIND(cublasLtMatmul);
  return missing;
}

std::string find_all(const Library& library, cublas::Functions& functions) {
  std::string missing;
  TANDEM_FIND(cublasCreate_v2);
  TANDEM_FIND(cublasDestroy_v2);
  TANDEM_FIND(cublasSetStream_v2);
  TANDEM_FIND(cublasSetWorkspace_v2);
  TANDEM_FIND(cublasGemmEx);
  return missing;
}

Result<void> judge(cublas::Status status, const std::string& doing) {
  if (status == cublas::success) return {};
  return error(Errc::device_failed, "cuBLAS, " + doing + ": status " + std::to_string(status),
               "device");
}

/// A cuBLASLt object that is destroyed with its owner.
class Object {
 public:
  using Destroy = cublas::Status (*)(cublas::Handle);
  Object() = default;
  Object(cublas::Handle handle, Destroy destroy) : handle_(handle), destroy_(destroy) {}
  Object(Object&& other) noexcept
      : handle_(std::exchange(other.handle_, nullptr)), destroy_(other.destroy_) {}
  Object& operator=(Object&& other) noexcept {
    std::swap(handle_, other.handle_);
    std::swap(destroy_, other.destroy_);
    return *this;
  }
  ~Object() {
    if (handle_) destroy_(handle_);
  }
  [[nodiscard]] cublas::Handle get() const { return handle_; }

 private:
  cublas::Handle handle_ = nullptr;
  Destroy destroy_ = nullptr;
};

/// What a product of one shape is made of, in cuBLASLt's terms.
struct Description {
  Object operation, weights, rows, out;
};

struct GemmPlan {
  Description description;
  std::int64_t out_stride = 0;
  /// None: cuBLASLt knows no algorithm, and cuBLAS computes it.
  std::optional<TunedGemm> choice;
};

cublas::DataType type_of(GemmOutput output) {
  return output == GemmOutput::bf16 ? cublas::real_bf16 : cublas::real_f32;
}

cublas::MatmulAlgorithm algorithm_of(const TunedGemm& choice) {
  cublas::MatmulAlgorithm algorithm{};
  std::copy(choice.algorithm.begin(), choice.algorithm.end(), algorithm.data);
  return algorithm;
}

class OpenedCublas final : public CublasGemm {
 public:
  OpenedCublas(Library library, const cublas::LtFunctions& lt, Object handle)
      : library_(std::move(library)), lt_(lt), handle_(std::move(handle)) {}

  [[nodiscard]] std::uint64_t library_version() const override { return lt_.cublasLtGetVersion(); }
  [[nodiscard]] std::string name() const override {
    return "cublaslt_" + std::to_string(library_version()) +
           (tuning_.choices.empty() ? "" : "_tuned");
  }
  void set_workspace(std::byte* memory, Bytes size) override {
    workspace_ = memory;
    workspace_bytes_ = static_cast<std::size_t>(size.value());
  }
  void use(GemmTuning tuning) override { tuning_ = std::move(tuning); }

  Result<std::vector<TunedGemm>> candidates(const GemmKey& key, std::int64_t out_stride,
                                            std::size_t count) override {
    auto description = describe(key, out_stride);
    if (!description) return description.error();
    return ask_heuristic(*description, count);
  }

  Result<void> prepare(const GemmKey& key, std::int64_t out_stride) override {
    const auto known = plans_.find(key);
    if (known != plans_.end() && known->second.out_stride == out_stride) return {};
    auto description = describe(key, out_stride);
    if (!description) return description.error();
    const auto tuned = tuning_.choices.find(key);
    if (tuned != tuning_.choices.end() && allowed(*description, tuned->second))
      return keep(key, {std::move(*description), out_stride, tuned->second});
    auto found = ask_heuristic(*description, 1);
    if (!found) return found.error();
    if (!found->empty()) return keep(key, {std::move(*description), out_stride, found->front()});
    if (auto r = open_fallback(); !r) return r;
    return keep(key, {std::move(*description), out_stride, std::nullopt});
  }

  Result<void> prepare_with(const GemmKey& key, std::int64_t out_stride,
                            const TunedGemm& choice) override {
    auto description = describe(key, out_stride);
    if (!description) return description.error();
    if (!allowed(*description, choice))
      return error(Errc::unsupported, "this algorithm cannot compute " + text_of(key));
    return keep(key, {std::move(*description), out_stride, choice});
  }

  Result<void> run(const GemmKey& key, const GemmOperands& operands, Stream stream) override {
    const auto found = plans_.find(key);
    TANDEM_CHECK(found != plans_.end() && found->second.out_stride == operands.out_stride,
                 "a product whose shape was not prepared");
    const auto& plan = found->second;
    if (!plan.choice) return run_fallback(key, operands, stream);
    const float one = 1.0F, beta = key.output == GemmOutput::f32_added ? 1.0F : 0.0F;
    const auto algorithm = algorithm_of(*plan.choice);
    const auto& d = plan.description;
    return judge(lt_.cublasLtMatmul(handle_.get(), d.operation.get(), &one, operands.weights,
                                    d.weights.get(), operands.a, d.rows.get(), &beta, operands.out,
                                    d.out.get(), operands.out, d.out.get(), &algorithm, workspace_,
                                    workspace_bytes_, stream),
                 text_of(key));
  }

 private:
  Result<void> keep(const GemmKey& key, GemmPlan plan) {
    plans_.insert_or_assign(key, std::move(plan));
    return {};
  }

  Result<Object> layout(cublas::DataType type, std::int64_t rows, std::int64_t columns,
                        std::int64_t stride) {
    cublas::Handle handle = nullptr;
    if (auto r =
            judge(lt_.cublasLtMatrixLayoutCreate(&handle, type, static_cast<std::uint64_t>(rows),
                                                 static_cast<std::uint64_t>(columns), stride),
                  "describing a matrix");
        !r)
      return r.error();
    return Object(handle, lt_.cublasLtMatrixLayoutDestroy);
  }

  Result<Description> describe(const GemmKey& key, std::int64_t out_stride) {
    Description made;
    cublas::Handle handle = nullptr;
    if (auto r = judge(lt_.cublasLtMatmulDescCreate(&handle, cublas::compute_f32, cublas::real_f32),
                       "describing a product");
        !r)
      return r.error();
    made.operation = Object(handle, lt_.cublasLtMatmulDescDestroy);
    const std::int32_t transpose = cublas::operation_transpose;
    if (auto r = judge(lt_.cublasLtMatmulDescSetAttribute(handle, cublas::matmul_transpose_a,
                                                          &transpose, sizeof transpose),
                       "describing a product");
        !r)
      return r.error();
    auto weights = layout(cublas::real_bf16, key.k, key.n, key.k);
    if (!weights) return weights.error();
    auto rows = layout(cublas::real_bf16, key.k, key.rows, key.k);
    if (!rows) return rows.error();
    auto out = layout(type_of(key.output), key.n, key.rows, out_stride);
    if (!out) return out.error();
    made.weights = std::move(*weights);
    made.rows = std::move(*rows);
    made.out = std::move(*out);
    return made;
  }

  Result<std::vector<TunedGemm>> ask_heuristic(const Description& description, std::size_t count) {
    cublas::Handle handle = nullptr;
    if (auto r = judge(lt_.cublasLtMatmulPreferenceCreate(&handle), "asking for algorithms"); !r)
      return r.error();
    const Object preference(handle, lt_.cublasLtMatmulPreferenceDestroy);
    const std::uint64_t most = workspace_bytes_;
    if (auto r = judge(lt_.cublasLtMatmulPreferenceSetAttribute(
                           handle, cublas::preference_workspace, &most, sizeof most),
                       "asking for algorithms");
        !r)
      return r.error();
    std::vector<cublas::HeuristicResult> results(count);
    int found = 0;
    const auto status = lt_.cublasLtMatmulAlgoGetHeuristic(
        handle_.get(), description.operation.get(), description.weights.get(),
        description.rows.get(), description.out.get(), description.out.get(), handle,
        static_cast<int>(count), results.data(), &found);
    std::vector<TunedGemm> choices;
    // A status that is no success means that there is none; the fallback takes over.
    for (int i = 0; status == cublas::success && i < found; ++i) {
      const auto& result = results[static_cast<std::size_t>(i)];
      if (result.state != cublas::success) continue;
      TunedGemm choice{.workspace_bytes = result.workspace_bytes};
      std::copy(std::begin(result.algorithm.data), std::end(result.algorithm.data),
                choice.algorithm.begin());
      choices.push_back(choice);
    }
    return choices;
  }

  /// A choice from a file is the library's to judge.
  bool allowed(const Description& description, const TunedGemm& choice) const {
    const auto algorithm = algorithm_of(choice);
    cublas::HeuristicResult result{};
    return lt_.cublasLtMatmulAlgoCheck(handle_.get(), description.operation.get(),
                                       description.weights.get(), description.rows.get(),
                                       description.out.get(), description.out.get(), &algorithm,
                                       &result) == cublas::success &&
           result.workspace_bytes <= workspace_bytes_;
  }

  // ---- cuBLAS ----------------------------------------------------------------------------------

  Result<void> open_fallback() {
    if (fallback_handle_.get()) return {};
    auto library = Library::open("libcublas");
    if (!library) return library.error();
    if (const auto missing = find_all(*library, fallback_); !missing.empty())
      return error(Errc::unsupported, "libcublas has no function " + missing, "device");
    cublas::Handle handle = nullptr;
    if (auto r = judge(fallback_.cublasCreate_v2(&handle), "starting"); !r) return r;
    fallback_library_ = std::move(*library);
    fallback_handle_ = Object(handle, fallback_.cublasDestroy_v2);
    return {};
  }

  Result<void> run_fallback(const GemmKey& key, const GemmOperands& operands, Stream stream) {
    auto* handle = fallback_handle_.get();
    if (auto r = judge(fallback_.cublasSetStream_v2(handle, stream), "choosing a stream"); !r)
      return r;
    // Choosing a stream takes the workspace away again.
    if (auto r = judge(fallback_.cublasSetWorkspace_v2(handle, workspace_, workspace_bytes_),
                       "setting the workspace");
        !r)
      return r;
    const float one = 1.0F, beta = key.output == GemmOutput::f32_added ? 1.0F : 0.0F;
    const auto narrow = [](std::int64_t value) { return static_cast<int>(value); };
    return judge(fallback_.cublasGemmEx(
                     handle, cublas::operation_transpose, cublas::operation_none, narrow(key.n),
                     narrow(key.rows), narrow(key.k), &one, operands.weights, cublas::real_bf16,
                     narrow(key.k), operands.a, cublas::real_bf16, narrow(key.k), &beta,
                     operands.out, type_of(key.output), narrow(operands.out_stride),
                     cublas::compute_f32, cublas::gemm_default),
                 text_of(key));
  }

  Library library_;
  const cublas::LtFunctions lt_;
  Object handle_;
  std::optional<Library> fallback_library_;
  cublas::Functions fallback_{};
  Object fallback_handle_;
  std::byte* workspace_ = nullptr;
  std::size_t workspace_bytes_ = 0;
  GemmTuning tuning_;
  std::map<GemmKey, GemmPlan> plans_;
};

}  // namespace

Result<std::unique_ptr<CublasGemm>> open_cublas() {
  auto library = Library::open("libcublasLt");
  if (!library) return library.error();
  cublas::LtFunctions functions{};
  if (const auto missing = find_all(*library, functions); !missing.empty())
    return error(Errc::unsupported, "libcublasLt has no function " + missing, "device");
  cublas::Handle handle = nullptr;
  if (auto r = judge(functions.cublasLtCreate(&handle), "starting"); !r) return r.error();
  return std::unique_ptr<CublasGemm>(std::make_unique<OpenedCublas>(
      std::move(*library), functions, Object(handle, functions.cublasLtDestroy)));
}

}  // namespace tandem::gpu::cuda
