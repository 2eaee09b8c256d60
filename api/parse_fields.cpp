// See parse_fields.hpp.
#include "api/parse_fields.hpp"

namespace tandem::api {

constexpr std::size_t max_ignored_names = 16;

void check_model(Fields& fields, const ParseLimits& limits, std::string_view model) {
  if (limits.model.empty() || model == limits.model) return;
  fields.fail(Errc::model_not_found,
              "the model '" + std::string(model) + "' does not exist; this service has '" +
                  limits.model + "'",
              "model");
}

UnknownFields read_unknown(Fields& fields, const ParseLimits& limits) {
  UnknownFields unknown{.names = fields.unknown(max_ignored_names),
                        .count = static_cast<std::uint32_t>(fields.num_unknown())};
  if (limits.strict_fields && !unknown.names.empty())
    fields.fail(Errc::unsupported, "'" + unknown.names.front() + "' is not a field of this request",
                unknown.names.front());
  return unknown;
}

}  // namespace tandem::api
