// Which errors of the CUDA runtime end the use of a device by this process. After one of them every
// later call fails with the same error, whatever it is; only a new process can go on. Source: the
// descriptions of cudaError in the CUDA Runtime API ("the process must be terminated and
// relaunched"). As numbers, so that the rule is tested without the toolkit.
#pragma once

namespace tandem::gpu::cuda {

constexpr bool is_sticky(int error) {
  switch (error) {
    case 4:    // driver is shutting down
    case 214:  // uncorrectable memory error
    case 220:  // uncorrectable NVLink error
    case 700:  // illegal address
    case 702:  // launch timeout
    case 709:  // context is destroyed
    case 710:  // device-side assertion
    case 714:  // hardware stack error
    case 715:  // illegal instruction
    case 716:  // misaligned address
    case 717:  // invalid address space
    case 718:  // invalid program counter
    case 719:  // launch failure
    case 721:  // a contained error
    case 999:  // unknown
      return true;
    default: return false;
  }
}

}  // namespace tandem::gpu::cuda
