// What the kernels take from the device, under one name each: indices, barriers, shuffles, matrix
// instructions, asynchronous copies. Kernel files use these alone, so that the same text runs on
// the host in tests, where tests/cuda/device_emulation.hpp stands in for this file.
#pragma once

#ifndef TANDEM_DEVICE_EMULATED

#include <cstddef>
#include <cstdint>
#include <cuda_runtime.h>

#include "gpu/cuda/driver.hpp"
#include "gpu/cuda/kernels/launching.hpp"

#define TANDEM_KERNEL __global__
#define TANDEM_DEVICE __device__ __forceinline__
#define TANDEM_KERNEL_BUILD device_build
#define TANDEM_UNROLL _Pragma("unroll")
#define TANDEM_LAUNCH_BOUNDS(...) __launch_bounds__(__VA_ARGS__)

namespace tandem::gpu::cuda::device_build {

inline constexpr int warp_size = 32;

TANDEM_DEVICE int thread_index() { return static_cast<int>(threadIdx.x); }
TANDEM_DEVICE int num_threads() { return static_cast<int>(blockDim.x); }
TANDEM_DEVICE int block_x() { return static_cast<int>(blockIdx.x); }
TANDEM_DEVICE int block_y() { return static_cast<int>(blockIdx.y); }
TANDEM_DEVICE int lane_index() { return thread_index() % warp_size; }
TANDEM_DEVICE int warp_index() { return thread_index() / warp_size; }

/// The block's dynamic shared memory; the launch says how much.
TANDEM_DEVICE std::byte* shared_memory() {
  extern __shared__ __align__(16) unsigned char memory[];
  return reinterpret_cast<std::byte*>(memory);
}

/// Returns when everything before this kernel in its stream is done and can be seen, and lets the
/// next kernel come as far as this. One that was launched `dependent` begins earlier: so every
/// thread calls this before it returns, and before it touches anything that a kernel writes. All
/// kernels do, since one that ended without having waited would be done before what it should have
/// waited for.
TANDEM_DEVICE void wait_for_stream() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

TANDEM_DEVICE void block_barrier() { __syncthreads(); }
TANDEM_DEVICE void warp_barrier() { __syncwarp(); }
template <class T>
TANDEM_DEVICE T shuffle(T value, int lane) {
  return __shfl_sync(0xFFFFFFFFU, value, lane);
}
template <class T>
TANDEM_DEVICE T shuffle_xor(T value, int mask) {
  return __shfl_xor_sync(0xFFFFFFFFU, value, mask);
}
template <class T>
TANDEM_DEVICE T shuffle_up(T value, int distance) {
  return __shfl_up_sync(0xFFFFFFFFU, value, distance);
}

TANDEM_DEVICE void atomic_add(std::uint32_t* to, std::uint32_t value) { atomicAdd(to, value); }
TANDEM_DEVICE void atomic_add(std::uint64_t* to, std::uint64_t value) {
  atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
}
/// Counts up one of a known number of arrivals and gives how many came before; after the last, of
/// which `others` came before, the counter is zero again. Called by one thread of a block after a
/// barrier: what any thread of the block wrote before that barrier is seen by every thread of the
/// last block to arrive, after its next barrier. For the count is a release and an acquire at once:
/// barriers order the block's other threads before the release, which is cumulative, and after the
/// acquire; and all arrivals are read-modify-writes of one word, so that each is synchronised with
/// every one before it.
TANDEM_DEVICE std::uint32_t count_arrival(std::uint32_t* counter, std::uint32_t others) {
  std::uint32_t before;
  asm volatile("atom.acq_rel.gpu.inc.u32 %0, [%1], %2;"
               : "=r"(before)
               : "l"(counter), "r"(others)
               : "memory");
  return before;
}
/// What was written before is seen by the host before what is written after.
TANDEM_DEVICE void system_fence() { __threadfence_system(); }

TANDEM_DEVICE float bits_as_float(std::uint32_t bits) { return __uint_as_float(bits); }
TANDEM_DEVICE std::uint32_t float_as_bits(float value) { return __float_as_uint(value); }
/// 2^x; minus infinity gives 0.
TANDEM_DEVICE float exp2_of(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}
TANDEM_DEVICE float log2_of(float x) { return __log2f(x); }

/// Two bf16, rounded to nearest even; `low` in the lower half.
TANDEM_DEVICE std::uint32_t pack_bf16(float low, float high) {
  std::uint32_t result;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
}

/// d += a * b for 16x8x16 tiles of bf16, accumulated in f32; fragments as PTX lays them out.
TANDEM_DEVICE void multiply_tiles(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                  std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Four 8x8 tiles of 16-bit elements: lane i gives the address of row i % 8 of tile i / 8.
TANDEM_DEVICE void load_tiles(std::uint32_t (&r)[4], const std::uint16_t* row) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
/// The same, each tile transposed.
TANDEM_DEVICE void load_tiles_transposed(std::uint32_t (&r)[4], const std::uint16_t* row) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

/// Copies 16 bytes to shared memory without waiting, or zeros if not `valid`.
TANDEM_DEVICE void copy_async(void* to, const void* from, bool valid) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(to));
  const int size = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(address), "l"(from), "r"(size)
               : "memory");
}
TANDEM_DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until at most `pending` of this thread's groups are on their way.
template <int pending>
TANDEM_DEVICE void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

/// What the code of `kernel` that this device runs was compiled for, times ten. Returns the
/// runtime's error, or 0.
template <auto kernel>
int compiled_for(int& architecture) {
  cudaFuncAttributes attributes{};
  const auto status = cudaFuncGetAttributes(&attributes, kernel);
  architecture = attributes.ptxVersion;
  return status;
}

/// Launches `kernel` on a grid of (x, y) blocks. More than 48 KB of shared memory must be asked
/// for.
template <Launching how, auto kernel, class Args>
void launch(std::int64_t x, std::int64_t y, int threads, std::size_t shared_bytes, Stream stream,
            const Args& args) {
  if (x <= 0 || y <= 0) return;
  if (shared_bytes > (48U << 10))
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         static_cast<int>(shared_bytes));
  cudaLaunchAttribute dependent{};
  dependent.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  dependent.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(x), static_cast<unsigned>(y));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = reinterpret_cast<cudaStream_t>(stream);
  config.attrs = &dependent;
  config.numAttrs = how == Launching::dependent ? 1 : 0;
  cudaLaunchKernelEx(&config, kernel, args);
}

}  // namespace tandem::gpu::cuda::device_build

#endif
