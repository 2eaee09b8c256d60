// Virtual time as a driver steers it.
#include "sim/virtual_runtime.hpp"

#include <caf/event_based_actor.hpp>
#include <catch2/catch.hpp>

namespace tandem::sim {
namespace {

using namespace std::chrono_literals;

/// Notes the virtual time of each of its ticks, one every 10 ms.
struct Ticker {
  VirtualRuntime virtual_time;
  std::shared_ptr<std::vector<Duration>> ticks = std::make_shared<std::vector<Duration>>();

  Ticker() {
    const auto body = [](caf::event_based_actor* self,
                         const std::shared_ptr<std::vector<Duration>>& noted) -> caf::behavior {
      self->delayed_send(self, 10ms, 1);
      return {[self, noted](int next) {
        noted->push_back(
            std::chrono::duration_cast<Duration>(self->clock().now().time_since_epoch()));
        self->delayed_send(self, 10ms, next + 1);
      }};
    };
    virtual_time.own(virtual_time.system().spawn(body, ticks));
    virtual_time.run();
  }
};

}  // namespace

TEST_CASE("virtual time begins at zero, and timers that are due fire at their times") {
  Ticker ticker;
  CHECK(ticker.virtual_time.now() == TimePoint{});
  ticker.virtual_time.advance(35ms);
  CHECK(*ticker.ticks == std::vector<Duration>{10ms, 20ms, 30ms});
  CHECK(ticker.virtual_time.now() == TimePoint(35ms));
}

TEST_CASE("time that is moved fires no timer before it is advanced") {
  Ticker ticker;
  REQUIRE(ticker.virtual_time.next_timer() == TimePoint(10ms));
  ticker.virtual_time.move_to(TimePoint(10ms));
  ticker.virtual_time.run();
  CHECK(ticker.ticks->empty());
  CHECK(ticker.virtual_time.next_timer() == TimePoint(10ms));
  ticker.virtual_time.advance(0ms);
  CHECK(*ticker.ticks == std::vector<Duration>{10ms});
  CHECK(ticker.virtual_time.next_timer() == TimePoint(20ms));
}

TEST_CASE("without timers there is no next one") {
  const VirtualRuntime virtual_time;
  CHECK_FALSE(virtual_time.next_timer().has_value());
}

}  // namespace tandem::sim
