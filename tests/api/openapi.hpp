// Holds our objects against OpenAI's own document where it is at hand, and always against a table
// of the keys that it requires.
#pragma once

#include <boost/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace tandem::api::testing {

/// Keys that `schema` requires and `value` lacks. Schemas: those of the table in openapi.cpp.
std::vector<std::string> missing_keys(std::string_view schema, const boost::json::object& value);

/// What `value` breaks of `schema` in the OpenAPI document; empty if the document is not there. As
/// OpenAI's own replies do, a field that is not required may be null.
std::vector<std::string> violations(std::string_view schema, const boost::json::value& value);

/// Both of the above for a text that is a JSON object: empty if all is well.
std::string problems(std::string_view schema, std::string_view text);

}  // namespace tandem::api::testing
