// Learning while serving: conservative until the error is known, follows a device that changes,
// remembers what it has not seen for a while, and starts from a profile.
#include "policy/latency_learner.hpp"

#include <catch2/catch.hpp>
#include <random>

namespace tandem::policy {
namespace {

LatencyModel device(double speed = 1) {
  LatencyCoefficients k;
  k.fixed = 7 * speed, k.row = 0.02 * speed, k.attention = 2e-6 * speed, k.cached = 4e-5 * speed;
  return {LatencyForm::context, k};
}

class Traffic {
 public:
  explicit Traffic(std::uint64_t seed) : random_(seed) {}
  IterationShape decodes() {
    IterationShape shape;
    for (auto count = 1 + below(100); count > 0; --count)
      shape.add(Tokens(below(4000)), Tokens(1), true);
    return shape;
  }
  IterationShape mixed() {
    IterationShape shape = below(3) == 0 ? IterationShape() : decodes();
    shape.add(Tokens(below(4000)), Tokens(1 + below(800)), false);
    return shape;
  }
  Duration time(const LatencyModel& model, const IterationShape& shape, double noise = 0.02) {
    const double ms = model.predict_ms(shape) * (1 + noise * normal_(random_));
    return Duration(static_cast<Duration::rep>(ms * 1e6));
  }
  /// Mean size of the errors that `learner` makes over `count` iterations.
  double teach(LatencyLearner& learner, const LatencyModel& truth, int count, bool with_prompts) {
    double sum = 0;
    for (int i = 0; i < count; ++i) {
      const auto shape = with_prompts && below(2) == 0 ? mixed() : decodes();
      sum += std::abs(learner.add(shape, time(truth, shape)).value_or(1));
    }
    return sum / count;
  }

 private:
  std::int64_t below(std::int64_t bound) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(bound));
  }
  std::mt19937_64 random_;
  std::normal_distribution<double> normal_;
};

}  // namespace

TEST_CASE("the error is unknown at first, then known and small") {
  Traffic traffic(1);
  LatencyLearner learner;
  CHECK_FALSE(learner.changed());
  traffic.teach(learner, device(), 31, true);
  CHECK(learner.changed());
  CHECK_FALSE(learner.snapshot().model.error_is_known());
  traffic.teach(learner, device(), 500, true);
  CHECK(learner.changed());
  CHECK_FALSE(learner.changed());
  CHECK(learner.snapshot().model.error_is_known());
  CHECK(learner.snapshot().samples == 531);
  CHECK(traffic.teach(learner, device(), 500, true) < 0.025);
  CHECK(learner.snapshot().model.error().mape < 0.04);
  CHECK(learner.drift_mape() < 0.025);
  CHECK(std::abs(learner.drift_bias()) < 0.01);
  CHECK_FALSE(learner.drifting());
}

TEST_CASE("a device that becomes slower is noticed, and followed at once") {
  const double speed = GENERATE(1.3, 2.0, 0.6);
  Traffic traffic(2);
  LatencyLearner learner;
  traffic.teach(learner, device(), 1000, true);
  bool noticed = false;
  for (int i = 0; i < 300; ++i) {
    traffic.teach(learner, device(speed), 1, true);
    if (!noticed && learner.drifting()) {
      noticed = true;
      // What is said of it is what it was noticed by.
      CHECK((learner.drift_bias() < 0) == (speed > 1));
      CHECK(std::abs(learner.drift_bias()) > 0.1);
      CHECK(learner.drift_mape() > 0.05);
    }
  }
  CHECK(noticed);
  CHECK(traffic.teach(learner, device(speed), 300, true) < 0.04);
  CHECK_FALSE(learner.drifting());
}

TEST_CASE("a slow change is followed without notice") {
  Traffic traffic(3);
  LatencyLearner learner;
  traffic.teach(learner, device(), 1000, true);
  for (int i = 0; i < 4000; ++i) traffic.teach(learner, device(1 + i * 0.0001), 1, true);
  CHECK(traffic.teach(learner, device(1.4), 300, true) < 0.06);
}

TEST_CASE("prompts are remembered through a long time of decodes alone") {
  Traffic traffic(4);
  LatencyLearner learner;
  traffic.teach(learner, device(), 1000, true);
  traffic.teach(learner, device(), 20000, false);
  double sum = 0;
  for (int i = 0; i < 100; ++i) {
    const auto shape = traffic.mixed();
    sum += std::abs(learner.snapshot().model.predict_ms(shape) / device().predict_ms(shape) - 1);
  }
  CHECK(sum / 100 < 0.05);
}

TEST_CASE("a kind of iteration that is new is learned, and is no drift") {
  Traffic traffic(5);
  LatencyLearner learner;
  traffic.teach(learner, device(), 2000, false);
  for (int i = 0; i < 200; ++i) {
    traffic.teach(learner, device(), 1, true);
    CHECK_FALSE(learner.drifting());
  }
  CHECK(traffic.teach(learner, device(), 500, true) < 0.04);
}

TEST_CASE("a profile's model and samples are known from the start, and outlive one-sided traffic") {
  Traffic traffic(6);
  LearnerOptions options;
  options.initial = {LatencyForm::context, device().coefficients(), {1000, 0.02, 0.04}};
  for (int i = 0; i < 500; ++i) {
    const auto shape = traffic.mixed();
    options.samples.push_back({shape, to_ms(traffic.time(device(), shape)), 1});
  }
  LatencyLearner learner(options);
  CHECK(learner.changed());
  CHECK(learner.snapshot().model == options.initial);
  CHECK(traffic.teach(learner, device(), 300, false) < 0.03);
  IterationShape prompt;
  prompt.add(Tokens(2000), Tokens(500), false);
  CHECK(learner.snapshot().model.predict_ms(prompt) ==
        Approx(device().predict_ms(prompt)).epsilon(0.05));
}

TEST_CASE("the bank is bounded, and the kinds not seen for longest go first") {
  SampleBank bank;
  for (std::int64_t decodes = 1; decodes < 3000; decodes = decodes * 3 / 2 + 1)
    for (std::int64_t prompt = 1; prompt < 100000; prompt = prompt * 3 / 2 + 1) {
      IterationShape shape;
      shape.decodes = decodes;
      shape.decode_context = decodes * prompt;
      shape.prefill_tokens = prompt;
      shape.prefills = 1;
      for (int i = 0; i < 40; ++i) bank.add(shape, 1);
    }
  CHECK(bank.num_regions() <= SampleBank::most_regions);
  CHECK(bank.size() <= SampleBank::most_regions * SampleBank::samples_per_region);
  IterationShape last;
  last.decodes = 2000, last.decode_context = 2000000, last.prefill_tokens = 90000,
  last.prefills = 1;
  for (int i = 0; i < 40; ++i) bank.add(last, 7);
  CHECK(bank.knows(last));
  CHECK(bank.samples().back().ms == 7);
  CHECK(bank.samples().back().weight == 1);
  bank.rescale_older(1, 2);
  const auto samples = bank.samples();
  CHECK(samples[samples.size() - 1].ms == 7);
  CHECK(samples[samples.size() - 2].ms == 14);
}

}  // namespace tandem::policy
