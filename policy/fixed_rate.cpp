// fixed_rate: the HyGen* baseline of HyGen §5.1. online_first, with offline tokens (prompt and
// decode) held to a rate by a token bucket: no look at what an iteration costs. The paper caps
// requests per second; tokens are what costs time, so a cap on them is the stronger baseline.
#include <algorithm>
#include <cmath>

#include "core/check.hpp"
#include "policy/selection_builder.hpp"

namespace tandem::policy {
namespace {

/// With less than this in the bucket an idle engine waits: prompts in crumbs waste iterations.
constexpr double worthwhile = 16;

class FixedRate final : public IterationPlanner {
 public:
  explicit FixedRate(double tokens_per_second) : rate_(tokens_per_second) {
    TANDEM_CHECK(rate_ > 0, "a rate is above zero");
  }
  [[nodiscard]] std::string_view name() const override { return "fixed_rate"; }

  Selection select(const PlanningView& view) override {
    fill_bucket(view);
    builder_.start(view);
    builder_.add_online();
    builder_.keep_headroom();
    const bool waits = builder_.shape().empty() && bucket_ < enough(view);
    builder_.limit_tokens(Tokens(waits ? 0 : static_cast<std::int64_t>(bucket_)));
    const Tokens before = builder_.tokens_left();
    builder_.add_offline();
    bucket_ -= static_cast<double>((before - builder_.tokens_left()).value());
    Selection selection = builder_.finish();
    if (waits && selection.choices.empty() && offline_has_work(view)) {
      const double seconds = (enough(view) - bucket_) / rate_;
      selection.again_at = view.now + Duration(static_cast<Duration::rep>(seconds * 1e9) + 1);
    }
    return selection;
  }

 private:
  void fill_bucket(const PlanningView& view) {
    const double seconds = to_seconds(view.now - filled_at_);
    filled_at_ = view.now;
    bucket_ = std::min(bucket_ + std::max(seconds, 0.0) * rate_, capacity(view));
  }
  /// One second's worth, as far as an iteration can carry it.
  double capacity(const PlanningView& view) const {
    return std::clamp(rate_, 1.0, static_cast<double>(view.token_budget.value()));
  }
  double enough(const PlanningView& view) const { return std::min(worthwhile, capacity(view)); }

  static bool offline_has_work(const PlanningView& view) {
    const auto pending = [](const SequenceView& sequence) { return !sequence.pending.is_zero(); };
    return std::any_of(view.offline_running.begin(), view.offline_running.end(), pending) ||
           std::any_of(view.offline_waiting.begin(), view.offline_waiting.end(), pending);
  }

  double rate_;
  double bucket_ = 0;
  TimePoint filled_at_{};
  SelectionBuilder builder_;
};

}  // namespace

PlannerPtr make_fixed_rate(double offline_tokens_per_second) {
  return std::make_unique<FixedRate>(offline_tokens_per_second);
}

}  // namespace tandem::policy
