// The scheduler core's behaviour, told as scripts (script_runner.hpp has the language).
#include <catch2/catch.hpp>

#include "tests/policy/script_runner.hpp"

using tandem::test::run_script;

TEST_CASE("a prompt is computed in chunks, then decoded to max_tokens") {
  run_script(R"(
    options  tokens=100
    at 0ms   arrive online r1 prompt=250 max=3
    expect   launch i0 bind r1 online r1:100
    at 1ms   report i0
    expect   launch i1 bind online r1:100
    at 2ms   report i1
    expect   launch i2 online r1:50
    at 3ms   report i2
    expect   launch i3 online r1:1
    expect   emit r1:token
    at 4ms   report i3
    expect   launch i4 online r1:1
    expect   emit r1:token
    at 5ms   report i4
    expect   emit r1:length
  )");
}

TEST_CASE("two plans are in flight, and none for tokens beyond max_tokens") {
  run_script(R"(
    options  in_flight=2
    at 0ms   arrive online r1 prompt=20 max=3
    expect   launch i0 online r1:20
    expect   launch i1 online r1:1
    at 1ms   report i0
    expect   launch i2 online r1:1
    expect   emit r1:token
    at 2ms   report i1
    expect   emit r1:token
    at 3ms   report i2
    expect   emit r1:length
  )");
}

TEST_CASE("what a later plan yields for a request that has stopped is ignored") {
  run_script(R"(
    options  in_flight=2
    at 0ms   arrive online r1 prompt=20 max=9 stop=7
    expect   launch i0 online r1:20
    expect   launch i1 online r1:1
    at 1ms   report i0 r1=7
    expect   emit r1:stop
    at 2ms   report i1
    expect   nothing
  )");
}

TEST_CASE("a stop token that is also the last allowed token counts as stop") {
  run_script(R"(
    options  tokens=64
    at 0ms   arrive online r1 prompt=4 max=1 stop=7
    expect   launch i0 online r1:4
    at 1ms   report i0 r1=7
    expect   emit r1:stop
  )");
}

TEST_CASE("offline fills what online leaves of the token budget") {
  run_script(R"(
    options  tokens=64
    at 0ms   arrive online r1 prompt=40 max=5
    expect   launch i0 online r1:40
    at 0ms   arrive offline r2 prompt=200 max=5
    at 0ms   arrive online r3 prompt=30 max=5
    at 1ms   report i0
    expect   launch i1 online r1:1 r3:30 offline r2:33
    expect   emit r1:token
    at 2ms   report i1
    expect   launch i2 online r1:1 r3:1 offline r2:62
    expect   emit r1:token r3:token
  )");
}

TEST_CASE("online_only lets offline wait") {
  run_script(R"(
    options  planner=online_only
    at 0ms   arrive offline r1 prompt=16
    expect   nothing
    at 1ms   arrive online r2 prompt=16 max=1
    expect   launch i0 online r2:16
    at 2ms   report i0
    expect   emit r2:length
  )");
}

TEST_CASE("an equal prefix is shared once its report is back, and a last token is computed") {
  run_script(R"(
    at 0ms   arrive online r1 prompt=64 max=1
    expect   launch i0 online r1:64
    at 0ms   arrive online r2 prompt=64 max=1 like=r1
    at 0ms   arrive online r3 prompt=100 max=1 like=r1 common=40
    at 1ms   report i0
    expect   launch i1 online r2:16 r3:68
    expect   emit r1:length r1.cached=0
    at 2ms   report i1
    expect   emit r2:length r3:length r2.cached=48 r3.cached=32
  )");
}

TEST_CASE("without a prefix cache nothing is shared") {
  run_script(R"(
    options  cache=0
    at 0ms   arrive online r1 prompt=64 max=1
    expect   launch i0 online r1:64
    at 1ms   report i0
    expect   emit r1:length
    at 2ms   arrive online r2 prompt=64 max=1 like=r1
    expect   launch i1 online r2:64
  )");
}

TEST_CASE("generated tokens are found by the next turn of a conversation") {
  // r1's prompt and its first output tokens (9000000 each) fill two blocks; r2 continues elsewhere,
  // so it shares the prompt's block alone.
  run_script(R"(
    at 0ms   arrive online r1 prompt=16 max=2
    expect   launch i0 online r1:16
    at 1ms   report i0
    expect   launch i1 online r1:1
    expect   emit r1:token
    at 2ms   report i1
    expect   emit r1:length
    at 3ms   arrive online r2 prompt=33 max=1 like=r1 common=16
    expect   launch i2 online r2:17
    at 4ms   report i2
    expect   emit r2:length r2.cached=16
  )");
}

TEST_CASE("an online arrival preempts the latest offline sequence when blocks are short") {
  run_script(R"(
    options  tokens=512 blocks=12 cache=0
    at 0ms   arrive offline r1 prompt=60 max=40
    expect   launch i0 offline r1:60
    at 0ms   arrive offline r2 prompt=60 max=40
    at 1ms   report i0
    expect   launch i1 offline r1:1 r2:60
    expect   emit r1:token
    at 2ms   arrive online r3 prompt=80 max=2
    at 3ms   report i1
    expect   launch i2 bind r3 online r3:80 offline r1:1
    expect   emit r1:token r2:token
    at 4ms   report i2
    expect   launch i3 online r3:1 offline r1:1
    expect   emit r3:token r1:token
    at 5ms   report i3
    expect   launch i4 bind r2 offline r1:1 r2:61
    expect   emit r3:length r1:token
  )");
}

TEST_CASE("a preempted sequence goes on where it was, and emits nothing twice") {
  run_script(R"(
    options  blocks=4 cache=0
    at 0ms   arrive offline r1 prompt=20 max=3
    expect   launch i0 offline r1:20
    at 1ms   report i0
    expect   launch i1 offline r1:1
    expect   emit r1:token
    at 2ms   arrive online r2 prompt=64 max=1
    at 3ms   report i1
    expect   launch i2 online r2:64
    expect   emit r1:token
    at 4ms   report i2
    expect   launch i3 bind r1 offline r1:22
    expect   emit r2:length
    at 5ms   report i3
    expect   emit r1:length
  )");
}

TEST_CASE("a preempted sequence goes back to the head of its queue") {
  run_script(R"(
    options  blocks=4 cache=0 sequences=2
    at 0ms   arrive offline r1 prompt=20 max=9
    expect   launch i0 offline r1:20
    at 0ms   arrive offline r2 prompt=20 max=9
    at 0ms   arrive online r3 prompt=64 max=1
    at 1ms   report i0
    expect   launch i1 online r3:64
    expect   emit r1:token
    at 2ms   report i1
    expect   launch i2 bind r1 offline r1:21     # before r2, which came later
    expect   emit r3:length
  )");
}

TEST_CASE("with two plans in flight a victim is first left out, then preempted") {
  run_script(R"(
    options  blocks=4 cache=0 in_flight=2
    at 0ms   arrive offline r1 prompt=20 max=30
    expect   launch i0 offline r1:20
    expect   launch i1 offline r1:1
    at 1ms   arrive online r2 prompt=64 max=1
    at 2ms   report i0
    expect   launch i2 bind r2 online r2:32      # what fits beside r1, which is left out
    expect   emit r1:token
    at 3ms   report i1
    expect   launch i3 online r2:32
    expect   emit r1:token
    at 4ms   report i2
    expect   nothing
    at 5ms   report i3
    expect   launch i4 bind r1 offline r1:22
    expect   launch i5 bind offline r1:1
    expect   emit r2:length
  )");
}

TEST_CASE("online sequences make room for each other by arrival, latest first") {
  std::string script = R"(
    options  blocks=5 cache=0
    at 0ms   arrive online r1 prompt=31 max=40
    expect   launch i0 online r1:31
    at 0ms   arrive online r2 prompt=30 max=30
    at 1ms   report i0
    expect   launch i1 online r1:1 r2:30
    expect   emit r1:token
    at 2ms   report i1
    expect   launch i2 online r1:1 r2:1      # r1 takes the last block
    expect   emit r1:token r2:token
    at 3ms   report i2
    expect   launch i3 online r1:1 r2:1
    expect   emit r1:token r2:token
    at 4ms   report i3
    expect   launch i4 online r1:1           # r2 lacks a block, and nobody came later
    expect   emit r1:token r2:token
  )";
  for (int i = 4; i < 17; ++i) {
    const std::string iteration = std::to_string(i), next = std::to_string(i + 1);
    script += "at 5ms report i" + iteration + "\n" + "expect launch i" + next +
              " online r1:1\n expect emit r1:token\n";
  }
  run_script(script + R"(
    at 6ms   report i17
    expect   launch i18 bind online r1:1     # takes a block of r2, which starts anew
    expect   emit r1:token
    at 7ms   cancel r1
    expect   emit r1:cancelled
    at 8ms   report i18
    expect   launch i19 bind r2 online r2:33
  )");
}

TEST_CASE("cancelling ends a request at once, and once") {
  run_script(R"(
    options  in_flight=2 sequences=1
    at 0ms   arrive online r1 prompt=16 max=40
    expect   launch i0 online r1:16
    expect   launch i1 online r1:1
    at 0ms   arrive online r2 prompt=16 max=40
    at 1ms   cancel r1
    expect   emit r1:cancelled
    at 1ms   cancel r1
    expect   nothing
    at 2ms   report i0
    expect   nothing          # the slot is r1's until i1 is back
    at 3ms   report i1
    expect   launch i2 bind r2 online r2:16
    expect   launch i3 online r2:1
    at 4ms   cancel r2
    expect   emit r2:cancelled
  )");
}

TEST_CASE("cancelling a waiting request ends it") {
  run_script(R"(
    options  sequences=1
    at 0ms   arrive online r1 prompt=16 max=1
    expect   launch i0 online r1:16
    at 0ms   arrive online r2 prompt=16
    at 1ms   cancel r2
    expect   emit r2:cancelled
    at 2ms   report i0
    expect   emit r1:length
  )");
}

TEST_CASE("an aborted plan is planned again, with its bindings") {
  run_script(R"(
    options  in_flight=2 tokens=32
    at 0ms   arrive offline r1 prompt=40 max=9
    expect   launch i0 bind r1 offline r1:32
    expect   launch i1 bind offline r1:8
    at 1ms   report i0 aborted
    expect   nothing          # i1 stands on i0 and is aborted too
    at 1ms   report i1 aborted
    expect   launch i2 bind r1 offline r1:32
    expect   launch i3 bind offline r1:8
    at 2ms   report i2
    expect   launch i4 bind offline r1:1
    at 3ms   report i3 aborted
    at 3ms   report i4 aborted
    expect   launch i5 bind offline r1:8
    expect   launch i6 offline r1:1
  )");
}

TEST_CASE("a plan behind an aborted one commits nothing even if it was done") {
  run_script(R"(
    options  in_flight=2
    at 0ms   arrive online r1 prompt=16 max=9
    expect   launch i0 online r1:16
    expect   launch i1 online r1:1
    at 1ms   report i0 aborted
    at 1ms   report i1
    expect   launch i2 bind r1 online r1:16
    expect   launch i3 online r1:1
  )");
}

TEST_CASE("a failed plan fails its requests; others go on") {
  run_script(R"(
    options  tokens=64
    at 0ms   arrive online r1 prompt=16 max=9
    expect   launch i0 online r1:16
    at 0ms   arrive offline r2 prompt=16 max=1
    at 1ms   report i0 failed
    expect   launch i1 offline r2:16
    expect   emit r1:failed
    at 2ms   report i1
    expect   emit r2:length
  )");
}

TEST_CASE(
    "offline items are asked for below half a window, one ask at a time, until there are none") {
  run_script(R"(
    options  window=4 sequences=2 tokens=64
    at 0ms   available
    expect   refill 4
    at 1ms   arrive online r1 prompt=16 max=1
    expect   launch i0 online r1:16
    at 2ms   supply r2 r3 r4 r5 prompt=16 max=1
    expect   nothing
    at 3ms   report i0
    expect   launch i1 offline r2:16 r3:16
    expect   emit r1:length
    at 4ms   report i1
    expect   launch i2 offline r4:16 r5:16
    expect   emit r2:length r3:length
    expect   refill 4
    at 5ms   supply r6 prompt=16 max=1
    expect   nothing          # one of four: the queue is empty
    at 6ms   report i2
    expect   launch i3 offline r6:16
    expect   emit r4:length r5:length
    at 7ms   report i3
    expect   emit r6:length
    at 8ms   available
    expect   refill 4
  )");
}

TEST_CASE("a waiting offline request starts only when all its tokens have blocks") {
  run_script(R"(
    options  blocks=8 cache=0 tokens=16
    at 0ms   arrive offline r1 prompt=64 max=2
    expect   launch i0 offline r1:16
    at 0ms   arrive offline r2 prompt=50 max=2
    at 1ms   report i0
    expect   launch i1 offline r1:16
    at 2ms   report i1
    expect   launch i2 offline r1:16
    at 3ms   report i2
    expect   launch i3 offline r1:16
    at 4ms   report i3
    expect   launch i4 offline r1:1      # r2 needs 4 blocks, r1 has 4 and may grow into one
    expect   emit r1:token
    at 5ms   report i4
    expect   launch i5 offline r2:16
    expect   emit r1:length
  )");
}
