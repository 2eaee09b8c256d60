// `tandem version`: what this program is and what this machine can run.
#include <cstdio>
#include <string>

#include "cli/commands.hpp"
#include "gpu/cuda_devices.hpp"
#include "gpu/host/kernels.hpp"
#include "store/store.hpp"

namespace tandem::cli {

std::string version_text() { return TANDEM_VERSION; }

int version() {
  const std::string sanitizers = TANDEM_SANITIZE;
  std::string kernels;
  for (const auto* table : gpu::supported_kernels())
    kernels += (kernels.empty() ? "" : ", ") + std::string(table->name);
  std::printf("tandem %s\n", TANDEM_VERSION);
  std::printf("build     %s%s\n", TANDEM_BUILD,
              sanitizers.empty() ? "" : (", sanitizers " + sanitizers).c_str());
  std::printf("compiler  %s %s\n",
#ifdef __clang__
              "clang", __clang_version__
#else
              "gcc", __VERSION__
#endif
  );
  std::printf("cuda      %s\n", gpu::cuda_compiled()
                                    ? "kernels compiled in"
                                    : "not compiled in");
  std::printf("kernels   %s\n", kernels.c_str());
  std::printf("sqlite    %s\n", store::Store::sqlite_version().c_str());
  return exit_ok;
}

}  // namespace tandem::cli
