// A model folder and a device, as the configuration names them: what `serve` and `profile` begin
// with.
#pragma once

#include "actors/served_model.hpp"
#include "config/config.hpp"
#include "core/result.hpp"
#include "gpu/backend.hpp"
#include "model/weights.hpp"

namespace tandem::cli {

/// Everything that comes out of a model folder.
struct LoadedModel {
  ServedModel served;  ///< max_context is the device's to say
  model::WeightsPtr weights;
};

Result<LoadedModel> load_model(const config::Config& config);
/// Can the device that the configuration names be there at all? Before a model is loaded for it.
Result<void> check_device(const config::Config& config);
/// The device, with the model on it, and one line about which it is and why not another.
Result<std::unique_ptr<gpu::Backend>> open_device(const config::Config& config,
                                                  const model::WeightsPtr& weights);

}  // namespace tandem::cli
