// See faults.hpp.
#include "sim/faults.hpp"

#include <cmath>
#include <numbers>

namespace tandem::sim {
namespace {

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t z = (a ^ (b * 0xd6e8feb86659fd93ULL)) + 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

Duration scaled(Duration cost, double factor) {
  return Duration(static_cast<Duration::rep>(static_cast<double>(cost.count()) * factor));
}

}  // namespace

double Faults::draw(About about, std::uint64_t a, std::uint64_t b) const {
  const std::uint64_t bits = mix(mix(mix(seed_, static_cast<std::uint64_t>(about)), a), b);
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

Duration Faults::cost(const Plan& plan, std::uint64_t life, Duration cost) const {
  const std::uint64_t id = raw(plan.id);
  if (options_.noise > 0) {
    // Box and Muller, "A note on the generation of random normal deviates" (1958).
    const double radius = std::sqrt(-2 * std::log(1 - draw(About::noise, life, 2 * id)));
    const double angle = 2 * std::numbers::pi * draw(About::noise, life, 2 * id + 1);
    const double sigma = options_.noise;
    cost = scaled(cost, std::exp(sigma * radius * std::cos(angle) - sigma * sigma / 2));
  }
  if (draw(About::slow, life, id) < options_.slow_share) cost = scaled(cost, options_.slow_factor);
  // A plan that does not come to its end stops somewhere before.
  if (fate(plan, life) != Fate::done) cost = scaled(cost, draw(About::stop, life, id));
  return std::max(cost, Duration(1));
}

Fate Faults::fate(const Plan& plan, std::uint64_t life) const {
  double at = draw(About::fate, life, raw(plan.id));
  if (at < options_.death_share) return Fate::died;
  at -= options_.death_share;
  if (at < options_.failure_share) return Fate::failed;
  at -= options_.failure_share;
  if (at < options_.abort_share && plan.offline_only()) return Fate::aborted;
  return Fate::done;
}

std::optional<Duration> Faults::cancelled_after(std::uint64_t index) const {
  if (!(draw(About::cancel, index, 0) < options_.cancel_share)) return std::nullopt;
  return scaled(options_.cancel_within, draw(About::cancel_time, index, 0));
}

}  // namespace tandem::sim
