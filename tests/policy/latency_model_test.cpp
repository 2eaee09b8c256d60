// The latency model as a formula: what counts into a shape, and that the closed form for "how many
// tokens still fit" is what a search over all counts would find.
#include "policy/latency_model.hpp"

#include <catch2/catch.hpp>
#include <random>

#include "tests/support/death.hpp"

namespace tandem::policy {
namespace {

IterationShape prefill(std::int64_t context, std::int64_t tokens) {
  IterationShape shape;
  shape.add(Tokens(context), Tokens(tokens), false);
  return shape;
}

/// Random plans and models of both forms: any coefficient may be zero, budgets may be too small.
class RandomCase {
 public:
  explicit RandomCase(std::mt19937_64& random) : random_(random) {
    for (auto decodes = below(40); decodes > 0; --decodes)
      shape.add(Tokens(below(below(8) == 0 ? 100000 : 3000)), Tokens(1), true);
    for (auto prefills = below(4); prefills > 0; --prefills)
      shape.add(Tokens(below(4000)), Tokens(1 + below(700)), false);
    context = Tokens(below(3) == 0 ? 0 : below(30000));
    limit = Tokens(below(below(4) == 0 ? 5 : 3000));
    model = LatencyModel(below(2) == 0 ? LatencyForm::hygen : LatencyForm::context, coefficients());
    const double some = model.predict_ms(shape);
    IterationShape with = shape;
    with.add(context, Tokens(1 + below(4000)), false);
    budget_ms = below(6) == 0 ? some * 0.9 : some + (model.predict_ms(with) - some) * unit() * 1.5;
  }

  std::int64_t brute_force() const {
    const auto fits = [&](std::int64_t tokens) {
      IterationShape with = shape;
      with.add(context, Tokens(tokens), false);
      return model.predict_ms(with) <= budget_ms;
    };
    std::int64_t tokens = 0;
    while (tokens < limit.value() && fits(tokens + 1)) ++tokens;
    return tokens;
  }

  IterationShape shape;
  LatencyModel model;
  Tokens context{0}, limit{0};
  double budget_ms = 0;

 private:
  std::int64_t below(std::int64_t bound) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(bound));
  }
  double unit() { return static_cast<double>(random_() >> 11) * 0x1p-53; }
  double maybe(double size) { return below(4) == 0 ? 0 : size * unit(); }
  LatencyCoefficients coefficients() {
    LatencyCoefficients k;
    k.fixed = maybe(10);
    k.row = maybe(0.1);
    k.row_above_knee = maybe(0.2);
    k.knee = below(600);
    k.attention = maybe(1e-5);
    k.cached = maybe(1e-4);
    k.prefill_token = maybe(0.1);
    k.prefill_token_squared = maybe(1e-4);
    k.decode_context = maybe(1e-4);
    k.decode_context_squared = maybe(1e-9);
    k.prefill = maybe(1);
    k.decode = maybe(0.1);
    return k;
  }
  std::mt19937_64& random_;
};

}  // namespace

TEST_CASE("a shape is the sums over its slices, and a slice can be taken back") {
  IterationShape shape;
  CHECK(shape.empty());
  shape.add(Tokens(100), Tokens(20), false);
  shape.add(Tokens(0), Tokens(5), false);
  const IterationShape prompts = shape;
  shape.add(Tokens(40), Tokens(1), true);
  CHECK(shape.prefill_tokens == 25);
  CHECK(shape.prefills == 2);
  CHECK(shape.decode_context == 41);
  CHECK(shape.decodes == 1);
  CHECK(shape.rows() == 26);
  CHECK(shape.context() == 140);
  CHECK(shape.attention() == 20 * 120 + 5 * 5 + 41);
  shape.remove(Tokens(40), Tokens(1), true);
  CHECK(shape == prompts);
}

TEST_CASE("a plan's shape tells decodes from chunks of one token") {
  Plan plan;
  plan.slices.resize(3);
  plan.slices[0].context = 50, plan.slices[0].num_tokens = 1, plan.slices[0].decode = true;
  plan.slices[1].context = 7, plan.slices[1].num_tokens = 1;
  plan.slices[2].context = 0, plan.slices[2].num_tokens = 64;
  const auto shape = IterationShape::of(plan);
  CHECK(shape.decodes == 1);
  CHECK(shape.prefills == 2);
  CHECK(shape.rows() == plan.num_rows());
}

TEST_CASE("each form prices its own sums") {
  IterationShape shape = prefill(100, 20);
  shape.add(Tokens(40), Tokens(1), true);
  LatencyCoefficients k;
  k.fixed = 1;
  k.row = 2, k.row_above_knee = 3, k.knee = 20, k.attention = 5, k.cached = 7;
  CHECK(LatencyModel(LatencyForm::context, k).predict_ms(shape) ==
        Approx(1 + 2 * 21 + 3 * 1 + 5 * (20 * 120 + 41) + 7 * 140));
  k = {};
  k.fixed = 1;
  k.prefill_token = 2, k.prefill_token_squared = 3, k.decode_context = 5;
  k.decode_context_squared = 7, k.prefill = 11, k.decode = 13;
  CHECK(LatencyModel(LatencyForm::hygen, k).predict_ms(shape) ==
        Approx(1 + 2 * 20 + 3 * 400 + 5 * 41 + 7 * 41 * 41 + 11 + 13));
}

TEST_CASE("a model that knows nothing predicts nothing and says so") {
  const LatencyModel nothing;
  CHECK_FALSE(nothing.error_is_known());
  CHECK(nothing.predict_ms(prefill(0, 100)) == 0);
  CHECK(nothing.tokens_that_fit({}, Tokens(0), 1, Tokens(50)) == Tokens(50));
}

TEST_CASE("the margin is put on top") {
  LatencyCoefficients k;
  k.row = 1;
  const LatencyModel model(LatencyForm::context, k, {100, 0.02, 0.05});
  CHECK(model.error_is_known());
  CHECK(model.upper_ms(prefill(0, 100)) == Approx(105));
}

TEST_CASE("a negative cost is a bug of whoever fitted it") {
  LatencyCoefficients k;
  k.row = -1e-9;
  CHECK_THAT(test::last_words([&] { (void)LatencyModel(LatencyForm::context, k); }),
             Catch::Contains("at least zero"));
}

TEST_CASE("the closed form equals a search over all counts, on 100,000 random plans") {
  std::mt19937_64 random(1);
  int partly = 0;
  for (int i = 0; i < 100000; ++i) {
    const RandomCase one(random);
    const auto fitting =
        one.model.tokens_that_fit(one.shape, one.context, one.budget_ms, one.limit).value();
    if (fitting > 0 && fitting < one.limit.value()) ++partly;
    if (fitting == one.brute_force()) continue;
    INFO("case " << i << " of seed 1, form " << to_string(one.model.form()));
    REQUIRE(fitting == one.brute_force());
  }
  CHECK(partly > 30000);  // the interesting ones: neither nothing nor all fits
}

}  // namespace tandem::policy
