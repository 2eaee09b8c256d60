#include "model/safetensors.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <optional>
#include <string_view>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "model/json_file.hpp"

namespace tandem::model {
namespace {

constexpr std::uint64_t max_header_bytes = 100ULL * 1000 * 1000;
constexpr std::size_t max_dimensions = 8;
constexpr std::size_t header_depth = 4;  // the object, a tensor, its lists; one to spare

std::optional<std::uint64_t> dtype_bytes(std::string_view dtype) {
  static constexpr std::array<std::pair<std::string_view, std::uint64_t>, 15> sizes{{
      {"F32", 4},
      {"F16", 2},
      {"BF16", 2},
      {"F64", 8},
      {"I64", 8},
      {"I32", 4},
      {"I16", 2},
      {"I8", 1},
      {"U64", 8},
      {"U32", 4},
      {"U16", 2},
      {"U8", 1},
      {"BOOL", 1},
      {"F8_E4M3", 1},
      {"F8_E5M2", 1},
  }};
  for (const auto& [name, size] : sizes) {
    if (name == dtype) return size;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> whole_number(const boost::json::value& value) {
  if (value.is_uint64()) return value.get_uint64();
  if (value.is_int64() && value.get_int64() >= 0) {
    return static_cast<std::uint64_t>(value.get_int64());
  }
  return std::nullopt;
}

Error bad_file(const std::string& where, const std::string& problem) {
  return error(Errc::invalid_value, where + ": " + problem, where);
}

Error bad_tensor(const std::string& where, std::string_view name, const std::string& problem) {
  return bad_file(where, "tensor \"" + std::string(name) + "\" " + problem);
}

/// A list of at most `most` whole numbers; nothing if `fields` holds anything else under `key`.
std::optional<std::vector<std::uint64_t>> number_list(JsonFields& fields, std::string_view key,
                                                      std::size_t most) {
  const auto* list = fields.array(key);
  if (list == nullptr || list->size() > most) return std::nullopt;
  std::vector<std::uint64_t> numbers;
  for (const auto& entry : *list) {
    const auto number = whole_number(entry);
    if (!number) return std::nullopt;
    numbers.push_back(*number);
  }
  return numbers;
}

/// `data_begin`: where the tensors' bytes start in the file of `file_size` bytes.
Result<StoredTensor> read_tensor(const boost::json::object& object, std::string_view name,
                                 std::uint64_t data_begin, std::uint64_t file_size,
                                 const std::string& where) {
  JsonFields fields(object, where);
  StoredTensor tensor;
  tensor.dtype = fields.string("dtype", "");
  const auto element_bytes = dtype_bytes(tensor.dtype);
  if (!element_bytes) {
    return bad_tensor(where, name,
                      "has the unknown dtype \"" + tensor.dtype.substr(0, 40) +
                          "\"; allowed are F64, F32, F16, BF16, F8_E4M3, F8_E5M2, I64 to I8, U64 "
                          "to U8 and BOOL");
  }
  auto shape = number_list(fields, "shape", max_dimensions);
  if (!shape) {
    return bad_tensor(where, name,
                      "has no valid shape; it must be a list of at most " +
                          std::to_string(max_dimensions) + " whole numbers");
  }
  tensor.shape = std::move(*shape);
  std::uint64_t expected_bytes = *element_bytes;
  for (const std::uint64_t extent : tensor.shape) {
    if (__builtin_mul_overflow(expected_bytes, extent, &expected_bytes)) {
      return bad_tensor(where, name,
                        "has the shape " + shape_text(tensor.shape) + ", whose size overflows");
    }
  }
  const auto offsets = number_list(fields, "data_offsets", 2);
  if (!offsets || offsets->size() != 2 || (*offsets)[0] > (*offsets)[1]) {
    return bad_tensor(where, name,
                      "has no valid data_offsets; they must be [begin, end] with begin <= end");
  }
  const std::uint64_t begin = (*offsets)[0];
  const std::uint64_t end = (*offsets)[1];
  if (end > file_size - data_begin) {
    return bad_tensor(where, name,
                      "ends at byte " + std::to_string(end) + " of the data, but the file holds " +
                          std::to_string(file_size - data_begin) + "; the file is truncated");
  }
  if (end - begin != expected_bytes) {
    return bad_tensor(where, name,
                      "has " + std::to_string(end - begin) + " bytes, but shape " +
                          shape_text(tensor.shape) + " in " + tensor.dtype + " takes " +
                          std::to_string(expected_bytes));
  }
  tensor.begin = data_begin + begin;
  tensor.end = data_begin + end;
  return tensor;
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const std::string name = path.string();
  const auto failed = [&](const char* what) {
    const Errc code = errno == ENOENT ? Errc::not_found : Errc::invalid_value;
    return error(code, name + ": " + what + ": " + std::generic_category().message(errno), name);
  };
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return failed("the file cannot be opened");
  struct stat status {};
  if (::fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(file);
    return bad_file(name, "must be a regular file");
  }
  MappedFile mapped;
  if (status.st_size > 0) {
    const auto size = static_cast<std::size_t>(status.st_size);
    void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
    if (data == MAP_FAILED) {
      auto failure = failed("the file cannot be mapped");
      ::close(file);
      return failure;
    }
    // Weights are read once, front to back, when a device packs them.
    ::madvise(data, size, MADV_SEQUENTIAL);
    mapped.data_ = static_cast<const std::byte*>(data);
    mapped.size_ = size;
  }
  ::close(file);
  return mapped;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

std::string shape_text(std::span<const std::uint64_t> shape) {
  std::string text = "[";
  for (const std::uint64_t extent : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(extent);
  }
  return text + "]";
}

Result<StoredTensors> read_safetensors_header(std::span<const std::byte> file,
                                              const std::string& where) {
  constexpr std::size_t prefix = 8;
  if (file.size() < prefix) {
    return bad_file(
        where, "has " + std::to_string(file.size()) + " bytes; a safetensors file has at least 8");
  }
  std::uint64_t header_bytes = 0;
  for (std::size_t i = 0; i < prefix; ++i) {
    header_bytes |= std::to_integer<std::uint64_t>(file[i]) << (8 * i);
  }
  if (header_bytes > max_header_bytes) {
    return bad_file(where, "says its header has " + std::to_string(header_bytes) +
                               " bytes; at most " + std::to_string(max_header_bytes) +
                               " are allowed");
  }
  if (header_bytes > file.size() - prefix) {
    return bad_file(where, "says its header has " + std::to_string(header_bytes) +
                               " bytes, but the file ends after " +
                               std::to_string(file.size() - prefix) + "; the file is truncated");
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + prefix, header_bytes);
  auto header = parse_json_object(text, where + ": header", header_depth);
  if (!header) return std::move(header).error();

  StoredTensors tensors;
  for (const auto& [key, value] : *header) {
    const std::string_view name(key);
    if (name == "__metadata__") continue;
    if (!value.is_object()) return bad_tensor(where, name, "must be described by an object");
    auto tensor = read_tensor(value.get_object(), name, prefix + header_bytes, file.size(), where);
    if (!tensor) return std::move(tensor).error();
    tensors.emplace(name, std::move(*tensor));
  }
  return tensors;
}

}  // namespace tandem::model
