// What the bodies of all calls have in common.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/json_fields.hpp"
#include "api/parse.hpp"

namespace tandem::api {

/// `model` is the one that is served.
void check_model(Fields& fields, const ParseLimits& limits, std::string_view model);

/// Fields that nobody asked for, once all others were: some of their names and how many they are.
/// With strict_fields the first is an error.
struct UnknownFields {
  std::vector<std::string> names;
  std::uint32_t count = 0;
};
UnknownFields read_unknown(Fields& fields, const ParseLimits& limits);

}  // namespace tandem::api
