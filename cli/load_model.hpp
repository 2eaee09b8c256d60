// A model folder and a device, as the configuration names them: what `serve` and `profile` begin
// with.
#pragma once

#include "actors/served_model.hpp"
#include "config/config.hpp"
#include "core/result.hpp"
#include "model/weights.hpp"

namespace tandem::cli {

/// Everything that comes out of a model folder.
struct LoadedModel {
  ServedModel served;  ///< max_context is the device's to say
  model::WeightsPtr weights;
};

Result<LoadedModel> load_model(const config::Config& config);
/// The one line about where the model runs, and why not elsewhere.
Result<void> choose_device(const config::Config& config);

}  // namespace tandem::cli
