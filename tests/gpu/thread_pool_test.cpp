// The host device's thread pool.
#include "gpu/host/thread_pool.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <ctime>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

using tandem::gpu::ThreadPool;

TEST_CASE("the pool runs every piece once, job after job, with any number of threads") {
  const std::uint32_t threads = GENERATE(1, 2, 5);
  ThreadPool pool(threads);
  CHECK(pool.threads() == threads);
  for (int job = 0; job < 2000; ++job) {
    const std::int64_t count = job % 37;
    std::vector<std::atomic<int>> hits(static_cast<std::size_t>(count));
    pool.run(count, [&](std::int64_t i) { ++hits[static_cast<std::size_t>(i)]; });
    for (const auto& hit : hits) REQUIRE(hit == 1);
  }
}

TEST_CASE("what pieces wrote is seen after the job, and workers see what was written before it") {
  ThreadPool pool(4);
  std::vector<std::int64_t> numbers(64, 0);
  for (int job = 0; job < 500; ++job)
    pool.run(64, [&](std::int64_t i) { ++numbers[static_cast<std::size_t>((i + job) % 64)]; });
  for (const auto number : numbers) CHECK(number == 500);
}

TEST_CASE("a job too small to wake anybody for stays on its caller") {
  ThreadPool pool(3);
  std::set<std::thread::id> seen;
  pool.run(
      20, [&](std::int64_t) { seen.insert(std::this_thread::get_id()); }, 10);
  CHECK(seen == std::set{std::this_thread::get_id()});
}

TEST_CASE("a piece that waits for another is helped by another thread") {
  ThreadPool pool(2);
  std::atomic<bool> reached{false};
  // Piece 0 ends only once another thread runs piece 1: the pool must have woken one.
  pool.run(2, [&](std::int64_t i) {
    if (i == 1) reached = true;
    while (!reached) std::this_thread::yield();
  });
  CHECK(reached);
}

TEST_CASE("an idle pool uses no processor time") {
  ThreadPool pool(4);
  pool.run(64, [](std::int64_t) {});
  const auto sleep_until_idle = std::chrono::milliseconds(20);
  std::this_thread::sleep_for(sleep_until_idle);
  const auto cpu = [] {
    timespec time{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
  };
  const double before = cpu();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  CHECK(cpu() - before < 0.02);
}
