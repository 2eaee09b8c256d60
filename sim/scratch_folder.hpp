// A folder that lives as long as this object: what a run writes for itself alone.
#pragma once

#include <filesystem>

#include "core/result.hpp"

namespace tandem::sim {

class ScratchFolder {
 public:
  /// Makes a new one in `parent`; empty: in the system's folder for temporary files.
  static Result<ScratchFolder> make(const std::filesystem::path& parent);
  ~ScratchFolder();
  ScratchFolder(ScratchFolder&& other) noexcept : path_(std::move(other.path_)) {
    other.path_.clear();
  }
  ScratchFolder& operator=(ScratchFolder&&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  explicit ScratchFolder(std::filesystem::path path) : path_(std::move(path)) {}

  std::filesystem::path path_;
};

}  // namespace tandem::sim
