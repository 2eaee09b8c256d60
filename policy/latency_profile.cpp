// See latency_profile.hpp.
#include "policy/latency_profile.hpp"

namespace tandem::policy {

std::vector<std::string> differences(const ProfileKey& profile, const ProfileKey& service) {
  std::vector<std::string> found;
  const auto compare = [&](const char* what, const std::string& has, const std::string& wanted) {
    if (has != wanted)
      found.push_back(std::string(what) + ": the profile is of '" + has + "', the service has '" +
                      wanted + "'");
  };
  compare("model", profile.model, service.model);
  compare("device", profile.device, service.device);
  compare("dtype", profile.dtype, service.dtype);
  return found;
}

}  // namespace tandem::policy
