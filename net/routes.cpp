#include "net/routes.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "net/query.hpp"

namespace tandem::net {
namespace {

constexpr std::array table = {
    Route{"GET", "/v1/models", list_models},
    Route{"GET", "/v1/models/{*}", get_model},
    Route{"POST", "/v1/completions", post_completions},
    Route{"POST", "/v1/chat/completions", post_chat_completions},
    Route{"POST", "/v1/responses", post_responses},
    Route{"GET", "/v1/responses", get_responses},
    Route{"POST", "/tokenize", post_tokenize},
    Route{"POST", "/detokenize", post_detokenize},
    Route{"POST", "/v1/files", post_files},
    Route{"GET", "/v1/files", list_files},
    Route{"GET", "/v1/files/{}", get_file},
    Route{"DELETE", "/v1/files/{}", delete_file},
    Route{"GET", "/v1/files/{}/content", get_file_content, true},
    Route{"POST", "/v1/batches", post_batches},
    Route{"GET", "/v1/batches", list_batches},
    Route{"GET", "/v1/batches/{}", get_batch},
    Route{"POST", "/v1/batches/{}/cancel", cancel_batch},
    Route{"GET", "/livez", get_livez, true, true},
    Route{"GET", "/readyz", get_readyz, true, true},
    Route{"GET", "/health", get_readyz, true, true},
    Route{"GET", "/ping", get_ping, true},
    Route{"GET", "/version", get_version, true},
    Route{"GET", "/metrics", get_metrics, true},
};

constexpr std::size_t max_parameter_bytes = 512;

std::string_view next_segment(std::string_view& path) {
  path.remove_prefix(1);  // the '/'
  const auto end = std::min(path.find('/'), path.size());
  const auto segment = path.substr(0, end);
  path.remove_prefix(end);
  return segment;
}

bool take_parameter(std::string_view text, std::vector<std::string>& parameters) {
  auto decoded = percent_decode(text);
  if (!decoded || decoded->empty() || decoded->size() > max_parameter_bytes) return false;
  parameters.push_back(std::move(*decoded));
  return true;
}

std::optional<std::vector<std::string>> match(std::string_view pattern, std::string_view path) {
  std::vector<std::string> parameters;
  while (!pattern.empty() && path.starts_with('/')) {
    const auto want = next_segment(pattern);
    if (want == "{*}") {
      if (!take_parameter(path.substr(1), parameters)) return std::nullopt;
      return parameters;
    }
    const auto segment = next_segment(path);
    if (want == "{}" ? !take_parameter(segment, parameters) : want != segment) return std::nullopt;
  }
  if (!pattern.empty() || !path.empty()) return std::nullopt;
  return parameters;
}

}  // namespace

std::span<const Route> all_routes() { return table; }

RouteMatch find_route(std::string_view method, std::string_view path) {
  RouteMatch found;
  for (const auto& route : table) {
    auto parameters = match(route.pattern, path);
    if (!parameters) continue;
    if (!found.allowed_methods.empty()) found.allowed_methods += ", ";
    found.allowed_methods += route.method;
    if (route.head) found.allowed_methods += ", HEAD";
    if (route.method != method && !(route.head && method == "HEAD")) continue;
    found.route = &route;
    found.parameters = std::move(*parameters);
    return found;
  }
  return found;
}

}  // namespace tandem::net
