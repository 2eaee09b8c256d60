// The AMX kernels once more, on tiles in software: for every CPU with AVX-512 (tile_emulation.hpp).
#include "tests/gpu/tile_emulation.hpp"

#define NATIVE_BF16 0
#define amx_bf16_kernels emulated_amx_kernels
#include "gpu/host/kernels_amx_bf16.cpp"
