// The list of a model's tensors is written once (for_each_tensor); loading fills it from files,
// dummy_weights from a counter-based generator.
#include "model/weights.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <new>
#include <optional>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <utility>
#include <vector>

#include "core/check.hpp"
#include "model/float_formats.hpp"
#include "model/json_file.hpp"
#include "model/safetensors.hpp"

namespace tandem::model {
namespace {

constexpr std::uint64_t max_index_bytes = 100ULL << 20;
constexpr std::size_t max_shards = 4096;

/// Memory for generated weights, in 2 MiB pages where the system has them.
class Buffer {
 public:
  explicit Buffer(std::size_t size) : size_(std::max<std::size_t>(size, 1)) {
    data_ = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data_ == MAP_FAILED) throw std::bad_alloc();
    ::madvise(data_, size_, MADV_HUGEPAGE);
  }
  ~Buffer() { ::munmap(data_, size_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  [[nodiscard]] std::byte* data() const { return static_cast<std::byte*>(data_); }

 private:
  void* data_ = nullptr;
  std::size_t size_;
};

/// Calls `visit(name, view, rows, cols, is_norm)` for every tensor that a model of this config has;
/// rows == 0 stands for a vector. Stops when `visit` returns false.
template <class Visit>
bool for_each_tensor(Weights& weights, Visit visit) {
  const ModelConfig& config = weights.config;
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t q_size = config.num_heads * config.head_dim;
  const std::int64_t kv_size = config.num_kv_heads * config.head_dim;
  const std::int64_t wide = config.intermediate_size;
  if (!visit("model.embed_tokens.weight", weights.embedding, config.vocab_size, hidden, false)) {
    return false;
  }
  weights.layers.resize(static_cast<std::size_t>(config.num_layers));
  for (std::size_t i = 0; i < weights.layers.size(); ++i) {
    LayerWeights& layer = weights.layers[i];
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    const std::string attention = prefix + "self_attn.";
    const bool plain =
        visit(prefix + "input_layernorm.weight", layer.input_norm, 0, hidden, true) &&
        visit(attention + "q_proj.weight", layer.q, q_size, hidden, false) &&
        visit(attention + "k_proj.weight", layer.k, kv_size, hidden, false) &&
        visit(attention + "v_proj.weight", layer.v, kv_size, hidden, false) &&
        visit(attention + "o_proj.weight", layer.o, hidden, q_size, false) &&
        visit(prefix + "post_attention_layernorm.weight", layer.post_attention_norm, 0, hidden,
              true) &&
        visit(prefix + "mlp.gate_proj.weight", layer.gate, wide, hidden, false) &&
        visit(prefix + "mlp.up_proj.weight", layer.up, wide, hidden, false) &&
        visit(prefix + "mlp.down_proj.weight", layer.down, hidden, wide, false);
    if (!plain) return false;
    if (config.qkv_bias && !(visit(attention + "q_proj.bias", layer.q_bias, 0, q_size, false) &&
                             visit(attention + "k_proj.bias", layer.k_bias, 0, kv_size, false) &&
                             visit(attention + "v_proj.bias", layer.v_bias, 0, kv_size, false))) {
      return false;
    }
    if (config.qk_norm &&
        !(visit(attention + "q_norm.weight", layer.q_norm, 0, config.head_dim, true) &&
          visit(attention + "k_norm.weight", layer.k_norm, 0, config.head_dim, true))) {
      return false;
    }
  }
  if (!visit("model.norm.weight", weights.final_norm, 0, hidden, true)) return false;
  if (config.tied_head) {
    weights.head = weights.embedding;
    return true;
  }
  return visit("lm_head.weight", weights.head, config.vocab_size, hidden, false);
}

// ---- files -------------------------------------------------------------------------------------

struct Shard {
  std::string path;
  MappedFile file;
  StoredTensors tensors;
};

Result<Shard> open_shard(const std::filesystem::path& path) {
  auto file = MappedFile::open(path);
  if (!file) return std::move(file).error();
  auto tensors = read_safetensors_header(file->bytes(), path.string());
  if (!tensors) return std::move(tensors).error();
  return Shard{path.string(), std::move(*file), std::move(*tensors)};
}

/// The folder's tensors: which shard holds which.
struct ShardSet {
  std::string where;  ///< what to name when a tensor is missing
  std::vector<Shard> shards;
  std::map<std::string, std::size_t, std::less<>> shard_of;
};

Result<ShardSet> open_indexed(const std::filesystem::path& folder,
                              const std::filesystem::path& index_path) {
  auto index = read_json_object(index_path, max_index_bytes);
  if (!index) return std::move(index).error();
  ShardSet set;
  set.where = index_path.string();
  JsonFields fields(*index, set.where);
  const auto* map = fields.object("weight_map");
  if (map == nullptr) fields.fail("weight_map", "is missing; it must name each tensor's file");
  if (fields.error()) return *fields.error();

  std::map<std::string, std::size_t, std::less<>> shard_numbers;
  for (const auto& [tensor, file] : *map) {
    const std::string name = file.is_string() ? std::string(file.get_string()) : "";
    if (name.empty() || std::filesystem::path(name).filename() != name || name == "..") {
      return error(Errc::invalid_value,
                   set.where + ": tensor \"" + std::string(tensor) + "\" is said to be in " +
                       describe(file) + "; it must be the name of a file in the same folder",
                   set.where);
    }
    auto known = shard_numbers.find(name);
    if (known == shard_numbers.end()) {
      if (set.shards.size() == max_shards) {
        return error(Errc::too_large,
                     set.where + ": names more than " + std::to_string(max_shards) + " files",
                     set.where);
      }
      auto shard = open_shard(folder / name);
      if (!shard) return std::move(shard).error();
      known = shard_numbers.emplace(name, set.shards.size()).first;
      set.shards.push_back(std::move(*shard));
    }
    set.shard_of.emplace(std::string(tensor), known->second);
  }
  return set;
}

Result<ShardSet> open_folder(const std::filesystem::path& folder) {
  std::error_code failure;
  const auto single = folder / "model.safetensors";
  const auto index = folder / "model.safetensors.index.json";
  if (!std::filesystem::exists(single, failure)) {
    if (std::filesystem::exists(index, failure)) return open_indexed(folder, index);
    return error(
        Errc::not_found,
        folder.string() + ": holds neither model.safetensors nor model.safetensors.index.json",
        folder.string());
  }
  auto shard = open_shard(single);
  if (!shard) return std::move(shard).error();
  ShardSet set;
  set.where = single.string();
  for (const auto& [name, tensor] : shard->tensors) set.shard_of.emplace(name, 0);
  set.shards.push_back(std::move(*shard));
  return set;
}

std::optional<Dtype> float_dtype(std::string_view name) {
  if (name == "F32") return Dtype::f32;
  if (name == "F16") return Dtype::f16;
  if (name == "BF16") return Dtype::bf16;
  return std::nullopt;
}

/// The view of `name`, which must have the shape (rows, cols), or (cols) if rows == 0.
Result<TensorView> find_tensor(const ShardSet& set, const std::string& name, std::int64_t rows,
                               std::int64_t cols) {
  std::vector<std::uint64_t> expected;
  if (rows != 0) expected.push_back(static_cast<std::uint64_t>(rows));
  expected.push_back(static_cast<std::uint64_t>(cols));

  const auto place = set.shard_of.find(name);
  if (place == set.shard_of.end()) {
    return error(Errc::invalid_value,
                 set.where + ": tensor \"" + name + "\" is missing; config.json wants it with " +
                     "shape " + shape_text(expected),
                 name);
  }
  const Shard& shard = set.shards[place->second];
  const auto found = shard.tensors.find(name);
  if (found == shard.tensors.end()) {
    return error(Errc::invalid_value,
                 shard.path + ": tensor \"" + name + "\" is missing, though " + set.where +
                     " says it is here",
                 name);
  }
  const StoredTensor& tensor = found->second;
  if (tensor.shape != expected) {
    return error(Errc::invalid_value,
                 shard.path + ": tensor \"" + name + "\" has shape " + shape_text(tensor.shape) +
                     ", but config.json makes it " + shape_text(expected),
                 name);
  }
  const auto dtype = float_dtype(tensor.dtype);
  if (!dtype) {
    return error(Errc::unsupported,
                 shard.path + ": tensor \"" + name + "\" is stored as " + tensor.dtype +
                     "; it must be F32, F16 or BF16",
                 name);
  }
  return TensorView{shard.file.bytes().data() + tensor.begin, *dtype,
                    std::max<std::int64_t>(rows, 1), cols};
}

// ---- generated numbers -------------------------------------------------------------------------

/// A bijection that scatters its input over 64 bits (the finalizer of SplitMix64).
constexpr std::uint64_t scatter(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

constexpr float bell_scale = 1.0F / 37837.23F;  // sqrt(3) / 2^16

/// Element `index` of stream `key`: the sum of four uniform 16-bit numbers around 0, near enough to
/// a normal of deviation 1 / bell_scale for weights, at the price of one hash.
inline float bell(std::uint64_t key, std::uint64_t index) {
  const std::uint64_t bits = scatter(key + index * 0x9E3779B97F4A7C15ULL);
  const auto sum = static_cast<std::int32_t>((bits & 0xFFFF) + ((bits >> 16) & 0xFFFF) +
                                             ((bits >> 32) & 0xFFFF) + (bits >> 48));
  return static_cast<float>(sum - 131070);
}

/// Calls part(begin, end) for parts of 0 .. count, at once on as many threads as there are cores.
template <class Part>
void in_parts(std::size_t count, const Part& part) {
  constexpr std::size_t least = 1U << 20;  // a smaller part is sooner done than a thread begun
  const std::size_t cores = std::max(1U, std::thread::hardware_concurrency());
  const auto parts = std::clamp<std::size_t>(count / least, 1, cores);
  std::vector<std::jthread> others;
  for (std::size_t i = 1; i < parts; ++i)
    others.emplace_back([=, &part] { part(count * i / parts, count * (i + 1) / parts); });
  part(0, count / parts);
}

/// Writes make(0) … make(count - 1) as `dtype`.
template <class Make>
void fill(std::byte* to, Dtype dtype, std::size_t count, Make make) {
  const auto put = [&](std::size_t i, auto value) {
    std::memcpy(to + i * sizeof value, &value, sizeof value);
  };
  in_parts(count, [&](std::size_t begin, std::size_t end) {
    switch (dtype) {
      case Dtype::f32:
        for (std::size_t i = begin; i < end; ++i) put(i, make(i));
        break;
      case Dtype::f16:
        for (std::size_t i = begin; i < end; ++i) put(i, f16_of_f32(make(i)));
        break;
      case Dtype::bf16:
        for (std::size_t i = begin; i < end; ++i) put(i, bf16_of_f32(make(i)));
        break;
    }
  });
}

constexpr std::size_t tensor_alignment = 64;

std::size_t padded_bytes(std::int64_t elements, Dtype dtype) {
  const std::size_t bytes = static_cast<std::size_t>(elements) * size_of(dtype);
  return (bytes + tensor_alignment - 1) / tensor_alignment * tensor_alignment;
}

}  // namespace

struct Weights::Storage {
  std::vector<Shard> shards;
  std::optional<Buffer> generated;
};

Weights::Weights(std::unique_ptr<Storage> storage) : storage_(std::move(storage)) {}
Weights::~Weights() = default;

void to_f32(const TensorView& view, std::int64_t first, std::span<float> out) {
  const auto count = static_cast<std::int64_t>(out.size());
  TANDEM_CHECK(first >= 0 && count <= view.size() && first <= view.size() - count,
               "a range outside its tensor");
  const std::byte* from = view.data + static_cast<std::size_t>(first) * size_of(view.dtype);
  if (view.dtype == Dtype::f32) {
    if (!out.empty()) std::memcpy(out.data(), from, out.size_bytes());
    return;
  }
  const bool brain = view.dtype == Dtype::bf16;
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, from + 2 * i, sizeof bits);
    out[i] = brain ? f32_of_bf16(bits) : f32_of_f16(bits);
  }
}

Result<WeightsPtr> load_weights(const std::filesystem::path& folder, const ModelConfig& config) {
  auto set = open_folder(folder);
  if (!set) return std::move(set).error();
  auto storage = std::make_unique<Weights::Storage>();
  Weights::Storage& files = *storage;
  auto weights = std::make_shared<Weights>(std::move(storage));
  weights->config = config;
  std::optional<Error> failure;
  for_each_tensor(*weights, [&](const std::string& name, TensorView& view, std::int64_t rows,
                                std::int64_t cols, bool) {
    auto found = find_tensor(*set, name, rows, cols);
    if (!found) {
      failure = found.error();
      return false;
    }
    view = *found;
    return true;
  });
  if (failure) return *failure;
  files.shards = std::move(set->shards);  // The mappings do not move with their owners.
  return WeightsPtr(std::move(weights));
}

WeightsPtr dummy_weights(const ModelConfig& config, Dtype dtype, std::uint64_t seed) {
  auto storage = std::make_unique<Weights::Storage>();
  Weights::Storage& memory = *storage;
  auto weights = std::make_shared<Weights>(std::move(storage));
  weights->config = config;

  std::size_t total = 0;
  for_each_tensor(*weights,
                  [&](const std::string&, TensorView&, std::int64_t rows, std::int64_t cols, bool) {
                    total += padded_bytes(std::max<std::int64_t>(rows, 1) * cols, dtype);
                    return true;
                  });
  memory.generated.emplace(total);
  std::byte* next = memory.generated->data();
  std::uint64_t number = 0;
  for_each_tensor(*weights, [&](const std::string&, TensorView& view, std::int64_t rows,
                                std::int64_t cols, bool is_norm) {
    view = TensorView{next, dtype, std::max<std::int64_t>(rows, 1), cols};
    const auto count = static_cast<std::size_t>(view.size());
    const std::uint64_t key = scatter(scatter(seed) + ++number);
    if (is_norm) {
      fill(next, dtype, count, [](std::size_t) { return 1.0F; });
    } else {
      const float scale = bell_scale / std::sqrt(static_cast<float>(cols));
      fill(next, dtype, count, [=](std::size_t i) { return bell(key, i) * scale; });
    }
    next += padded_bytes(view.size(), dtype);
    return true;
  });
  return weights;
}

}  // namespace tandem::model
