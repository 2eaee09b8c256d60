// See flashinfer_attention.hpp.
#include "gpu/cuda/flashinfer/flashinfer_attention.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace tandem::gpu::cuda {
namespace {

using flashinfer::Batch;
using flashinfer::BatchCapacity;
using flashinfer::Kernel;

flashinfer::Heads heads_of(const ModelShape& shape) {
  return {static_cast<std::int32_t>(shape.heads), static_cast<std::int32_t>(shape.kv_heads),
          static_cast<std::int32_t>(shape.head_dim)};
}

BatchCapacity prefill_capacity(const ModelShape& shape, const IterationCapacity& capacity,
                               const DeviceProperties& device) {
  return {heads_of(shape), capacity.rows, std::min(capacity.sequences, capacity.rows),
          device.multiprocessors};
}

BatchCapacity decode_capacity(const ModelShape& shape, const IterationCapacity& capacity,
                              const DeviceProperties& device) {
  const auto sequences = std::min(capacity.sequences, capacity.rows);
  return {heads_of(shape), sequences, sequences, device.multiprocessors};
}

std::int64_t partial_bytes(const BatchCapacity& capacity, const FlashInferChoice& choice) {
  const bool needed = choice.prefills == Kernel::fa2 || choice.decodes;
  return needed ? flashinfer::fa2_partial_bytes(capacity) : 0;
}

}  // namespace

FlashInferChoice FlashInferChoice::best(const flashinfer::Functions& functions,
                                        const ModelShape& shape, const IterationCapacity& capacity,
                                        const DeviceProperties& device) {
  const auto prefills = prefill_capacity(shape, capacity, device);
  return {.prefills = flashinfer::best_kernel(functions, prefills, device)};
}

// ---- memory ------------------------------------------------------------------------------------

Result<FlashInferMemory> FlashInferMemory::make(Driver& driver, const ModelShape& shape,
                                                const IterationCapacity& capacity,
                                                const FlashInferChoice& choice) {
  FlashInferMemory made;
  const auto fill = [&](Part& part, const BatchCapacity& most, Kernel kernel) -> Result<void> {
    part.layout = flashinfer::BatchLayout(most, kernel);
    const Bytes bytes(part.layout.total_bytes);
    auto device = DeviceBuffer::make(driver, bytes);
    if (!device) return device.error();
    part.device = std::move(*device);
    for (auto& staging : part.staging) {
      auto memory = MappedBuffer::make(driver, bytes);
      if (!memory) return memory.error();
      staging = std::move(*memory);
    }
    return {};
  };
  const auto prefills = prefill_capacity(shape, capacity, driver.properties());
  if (auto r = fill(made.prefills, prefills, choice.prefills); !r) return r.error();
  if (choice.decodes) {
    const auto decodes = decode_capacity(shape, capacity, driver.properties());
    if (auto r = fill(made.decodes, decodes, Kernel::fa2); !r) return r.error();
  }
  if (const auto bytes = partial_bytes(prefills, choice); bytes > 0) {
    auto partials = DeviceBuffer::make(driver, Bytes(bytes));
    if (!partials) return partials.error();
    made.partials = std::move(*partials);
  }
  return made;
}

// ---- planning ----------------------------------------------------------------------------------

FlashInferAttention::FlashInferAttention(Driver& driver, const flashinfer::Functions& functions,
                                         const AttentionParts& parts, FlashInferMemory memory,
                                         const FlashInferChoice& choice)
    : driver_(driver),
      functions_(functions),
      parts_(parts),
      own_(parts),
      memory_(std::move(memory)),
      choice_(choice) {
  prefills_.kernel = choice.prefills;
}

std::string FlashInferAttention::name() const {
  const std::string prefills =
      choice_.prefills == Kernel::fa3 ? "flashinfer_fa3" : "flashinfer_fa2";
  if (choice_.decodes) return "flashinfer_fa2_decode+" + prefills;
  return own_.name() + "+" + prefills;
}

Result<void> FlashInferAttention::plan(const IterationView& host, const PackedIteration& packed,
                                       Stream stream) {
  staging_ = (staging_ + 1) % max_on_device;
  prefills_.batch.reset();
  decodes_.batch.reset();
  if (!packed.prefills.empty())
    if (auto r = plan_part(host, packed.prefills, memory_.prefills, prefills_, stream); !r)
      return r;
  if (choice_.decodes && !packed.decodes.empty())
    return plan_part(host, packed.decodes, memory_.decodes, decodes_, stream);
  return {};
}

Result<void> FlashInferAttention::plan_part(const IterationView& host,
                                            std::span<const std::int32_t> slices,
                                            FlashInferMemory::Part& part, Planned& planned,
                                            Stream stream) {
  auto* staging = part.staging[staging_].host();
  const auto last = *std::max_element(slices.begin(), slices.end());
  const std::span sequences(host.sequences, static_cast<std::size_t>(last) + 1);
  const auto batch = flashinfer::write_batch(sequences, slices, part.layout, staging);
  const auto plan_bytes = plan_batch(batch, staging, part, planned);
  if (!plan_bytes) {
    warning_ = plan_bytes.error().message + "; our own kernel took its place";
    return {};
  }
  planned.batch = batch;
  return driver_.copy_to_device(part.device.data(), staging, Bytes(part.layout.plan + *plan_bytes),
                                stream);
}

Result<std::int64_t> FlashInferAttention::plan_batch(const Batch& batch, std::byte* staging,
                                                     const FlashInferMemory::Part& part,
                                                     Planned& planned) const {
  const auto& layout = part.layout;
  const auto& device = driver_.properties();
  const auto array = [&](std::int64_t at) {
    return reinterpret_cast<const std::int32_t*>(staging + at);
  };
  const flashinfer::PlanInput input{
      .heads = heads_of(parts_.shape),
      .sequences = batch.sequences,
      .query_starts = array(layout.query_starts),
      .page_starts = array(layout.page_starts),
      .key_counts = array(layout.key_counts),
      .multiprocessors = static_cast<std::int32_t>(device.multiprocessors),
      .compute_major = device.compute_major,
      .compute_minor = device.compute_minor};
  const flashinfer::PlanMemory memory{
      .host = staging + layout.plan,
      .device = part.device.data() + layout.plan,
      .bytes = static_cast<std::size_t>(layout.plan_bytes),
      .partial_bytes = static_cast<std::size_t>(memory_.partials.size().value())};
  if (planned.kernel == Kernel::fa2) {
    const auto made = functions_.plan_fa2(input, memory);
    if (!made) return made.error();
    planned.fa2 = *made;
    return made->used_bytes;
  }
  const auto made = functions_.plan_fa3(input, memory);
  if (!made) return made.error();
  planned.fa3 = *made;
  return made->used_bytes;
}

// ---- running -----------------------------------------------------------------------------------

Result<void> FlashInferAttention::run(std::int64_t layer, const PassSizes& sizes, Stream stream) {
  // A pass that is captured has no rows of its own: a plan made before must not slip into it.
  if (!decodes_.batch || sizes.decode_items == 0) {
    own_.run_decodes(layer, sizes, stream);
  } else if (auto r = run_part(layer, memory_.decodes, decodes_, stream); !r) {
    return r;
  }
  if (prefills_.batch && sizes.prefill_items > 0)
    return run_part(layer, memory_.prefills, prefills_, stream);
  own_.run_prefills(layer, sizes, stream);
  return {};
}

Result<void> FlashInferAttention::run_part(std::int64_t layer, const FlashInferMemory::Part& part,
                                           const Planned& planned, Stream stream) const {
  const auto& shape = parts_.shape;
  const auto& batch = *planned.batch;
  const auto offset = static_cast<std::int64_t>(batch.first_row) * shape.query_width();
  const auto* keys = parts_.pool + layer * parts_.strides.layer;
  const auto array = [&](std::int64_t at) {
    return reinterpret_cast<const std::int32_t*>(part.device.data() + at);
  };
  const flashinfer::RunArgs args{.heads = heads_of(shape),
                                 .sequences = batch.sequences,
                                 .rows = batch.rows,
                                 .query = parts_.query + offset,
                                 .out = parts_.out + offset,
                                 .keys = keys,
                                 .values = keys + parts_.strides.value,
                                 .page_stride = parts_.strides.block,
                                 .head_stride = parts_.strides.head,
                                 .token_stride = parts_.strides.token,
                                 .pages = parts_.iteration.tables,
                                 .query_starts = array(part.layout.query_starts),
                                 .page_starts = array(part.layout.page_starts),
                                 .last_page_keys = array(part.layout.last_page_keys),
                                 .plan = part.device.data() + part.layout.plan,
                                 .partials = memory_.partials.data(),
                                 .scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim))};
  return planned.kernel == Kernel::fa2 ? functions_.run_fa2(args, planned.fa2, stream)
                                       : functions_.run_fa3(args, planned.fa3, stream);
}

}  // namespace tandem::gpu::cuda
