// See scratch_folder.hpp.
#include "sim/scratch_folder.hpp"

#include <cerrno>
#include <cstdlib>
#include <string>

namespace tandem::sim {

Result<ScratchFolder> ScratchFolder::make(const std::filesystem::path& parent) {
  std::error_code failure;
  const auto folder = parent.empty() ? std::filesystem::temp_directory_path(failure) : parent;
  std::string pattern = (folder / "tandem-simulate-XXXXXX").string();
  if (!failure && ::mkdtemp(pattern.data()) == nullptr)
    failure = std::error_code(errno, std::generic_category());
  if (failure)
    return error(Errc::storage_failed,
                 "cannot make a folder in " + folder.string() + ": " + failure.message(),
                 "scratch");
  return ScratchFolder(pattern);
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

}  // namespace tandem::sim
