// Which Host fields a service without keys answers to: see host_allowed in services.hpp.
#include <algorithm>
#include <boost/asio/ip/address.hpp>

#include "net/services.hpp"

namespace tandem::net {

bool host_allowed(std::string_view host, const std::vector<std::string>& allowed) {
  std::string name(host);
  const bool bracketed = name.starts_with('[');
  const auto colon = bracketed ? name.find("]:") : name.rfind(':');
  if (colon != name.npos) name.resize(bracketed ? colon + 1 : colon);
  for (auto& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  if (name == "localhost" || name.ends_with(".localhost")) return true;
  if (std::find(allowed.begin(), allowed.end(), name) != allowed.end()) return true;
  if (bracketed) name = name.substr(1, name.size() - 2);
  boost::system::error_code failed;
  boost::asio::ip::make_address(name, failed);
  return !failed;
}

}  // namespace tandem::net
