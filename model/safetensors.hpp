// One .safetensors file, mapped read-only: an 8-byte little-endian header length, a JSON header,
// then the tensors' bytes. Nothing in the header is believed before it is checked against the
// file's length. Internal to model/; weights.hpp is what others see.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/result.hpp"

namespace tandem::model {

/// Where a tensor lies: bytes [begin, end) of the file, checked to be inside it and to be as many
/// as shape and dtype say.
struct StoredTensor {
  std::string dtype;  ///< "F32", "BF16", …
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};
using StoredTensors = std::map<std::string, StoredTensor, std::less<>>;

/// A whole file, mapped read-only and private. A file that another process truncates while it is
/// mapped ends this one with SIGBUS; model folders are not to be written while they are served.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::filesystem::path& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  [[nodiscard]] std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Reads the header at the beginning of `file`. `where` names the file in errors.
Result<StoredTensors> read_safetensors_header(std::span<const std::byte> file,
                                              const std::string& where);

/// "[2, 3]"
std::string shape_text(std::span<const std::uint64_t> shape);

}  // namespace tandem::model
