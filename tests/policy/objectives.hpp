// Objectives as tests write them.
#pragma once

#include <string>

#include "policy/slo_budget.hpp"

namespace tandem::policy {

/// objective("tbt_p99", "+10%").
inline Objective objective(const std::string& name, const char* text) {
  const auto quantity = name.starts_with("ttft") ? Quantity::ttft : Quantity::tbt;
  const auto statistic = name.ends_with("mean")  ? Statistic::mean
                         : name.ends_with("p50") ? Statistic::p50
                                                 : Statistic::p99;
  return parse_objective(quantity, statistic, text, "slo_" + name).value().value();
}

}  // namespace tandem::policy
