// The filters that go over lists. Internal to model/jinja.
#pragma once

#include "model/jinja/evaluator.hpp"

namespace tandem::model::jinja {

/// Null if there is none of that name.
FilterFunction find_list_filter(std::string_view name);

}  // namespace tandem::model::jinja
