// See decode_graphs.hpp.
#include "gpu/cuda/decode_graphs.hpp"

#include <algorithm>

#include "gpu/cuda/buckets.hpp"

namespace tandem::gpu::cuda {

Result<DecodeGraphs> capture_decode_graphs(Driver& driver, Stream stream,
                                           const DeviceForward& forward, std::int64_t layers,
                                           const IterationCapacity& capacity) {
  DecodeGraphs graphs;
  const auto run_pass = [&](const PassSizes& sizes) -> Result<void> {
    forward.embed(sizes, stream);
    if (auto r = forward.run_layers(0, layers, sizes, stream); !r) return r;
    if (auto r = forward.sample(sizes, stream); !r) return r;
    return driver.launch_errors();
  };
  const auto largest = std::min({largest_graph, capacity.sequences, capacity.rows});
  for (const auto bucket : buckets_up_to(largest)) {
    const auto sizes = PassSizes::of_decodes(bucket, capacity);
    // Once as it is, since the driver loads code at its first launch, which cannot be captured;
    // then recorded.
    if (auto r = run_pass(sizes); !r) return r.error();
    if (auto r = driver.synchronize(stream); !r) return r.error();
    if (auto r = driver.begin_capture(stream); !r) return r.error();
    const auto recorded = run_pass(sizes);
    auto graph = driver.end_capture(stream);  // in any case: the stream must be usable
    if (!recorded) return recorded.error();
    if (!graph) return graph.error();
    graphs.emplace(bucket, OwnedGraph(driver, *graph));
  }
  return graphs;
}

}  // namespace tandem::gpu::cuda
