// Runs a script (tests/support/script.hpp) against a SchedulerCore. Every action must be expected,
// in order, before the next event.
//
//   options  planner=online_first tokens=512 sequences=8 blocks=64 in_flight=1 window=0 cache=1
//   at T     arrive online|offline r1 prompt=N [max=N] [stop=TOKEN] [like=r0] [common=N]
//                                      # `common` first tokens of the prompt are those of `like`
//   at T     supply r2 r3 prompt=N …   # answers a refill; without requests: nothing is left
//   at T     available
//   at T     cancel r1
//   at T     report i0 [aborted|failed] [r1=TOKEN]   # done by default; samples default to 9000000
//   expect   launch i0 [bind r1 r2] online r1:1 r2:64 offline r3:447     # slices in order
//   expect   emit r1:token r2:stop|length|cancelled|failed [r2.cached=N]
//   expect   refill N
//   expect   nothing
#pragma once

#include <string>

namespace tandem::test {

/// Fails the running Catch2 test case at the first line that does not hold.
void run_script(const std::string& script);

}  // namespace tandem::test
