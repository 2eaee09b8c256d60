// hygen: HyGen's two-phase scheduling (arXiv 2501.14808, Alg. 1 and 2). Phase one serves online
// work as online_first does; phase two gives offline work what is left of three budgets: time t,
// tokens c, blocks m. Running decodes go before prompts in both; online decodes are never skipped,
// offline ones only run while they fit; how many tokens of a prompt fit is a closed form.
//
// Ours differs: online prompts are not cut to t unless an absolute objective asks for it
// (BudgetSnapshot::online_iteration_ms). The budget is there to bound interference, and an online
// prompt that waits for its own budget would only be later; without that, a larger budget always
// means more offline work and more interference, which is what searching for it relies on. And
// under any budget offline iterations do not run two deep in front of a request that may arrive.
#include <algorithm>
#include <optional>

#include "policy/selection_builder.hpp"

namespace tandem::policy {
namespace {

/// What one prompt, or one offline sequence, gets where not even that much fits.
constexpr Tokens least_progress{16};
/// While the model's error is not known, offline work gets this share of the token budget.
constexpr std::int64_t unproven_share = 8;

class Hygen final : public IterationPlanner {
 public:
  [[nodiscard]] std::string_view name() const override { return "hygen"; }

  Selection select(const PlanningView& view) override {
    const LatencyModel* model = proven_model(view);
    builder_.start(view);
    builder_.add_online_decodes();
    if (const auto limit = online_limit(view); limit && model != nullptr)
      builder_.limit_time(*model, *limit, least_progress);
    builder_.add_online_prompts();
    builder_.lift_time_limit();
    if (waits_for_offline(view)) return builder_.finish();
    builder_.keep_headroom();
    if (const auto limit = offline_limit(view)) limit_offline(view, model, *limit);
    builder_.add_offline();
    return builder_.finish();
  }

 private:
  static const LatencyModel* proven_model(const PlanningView& view) {
    const bool proven = view.model != nullptr && view.model->model.error_is_known();
    return proven ? &view.model->model : nullptr;
  }

  static std::optional<double> online_limit(const PlanningView& view) {
    return view.budget != nullptr ? view.budget->online_iteration_ms : std::nullopt;
  }

  /// What the iteration may take with offline work in it.
  std::optional<double> offline_limit(const PlanningView& view) const {
    if (view.budget == nullptr) return std::nullopt;
    if (builder_.shape().empty()) return view.budget->offline_iteration_ms;
    auto limit = view.budget->iteration_ms;
    if (const auto online = online_limit(view)) limit = std::min(limit.value_or(*online), *online);
    return limit;
  }

  /// An online request that arrives waits for every offline iteration that is in flight. Where
  /// anything is asked for online requests, there is never a second one behind the first; the
  /// device idles for the host's part of an iteration instead.
  bool waits_for_offline(const PlanningView& view) const {
    return builder_.shape().empty() && view.offline_alone_in_flight && view.budget != nullptr &&
           view.budget->limits_anything();
  }

  void limit_offline(const PlanningView& view, const LatencyModel* model, double limit) {
    const bool alone = builder_.shape().empty();
    if (model != nullptr) {
      builder_.limit_time(*model, limit, alone ? least_progress : Tokens(0));
      return;
    }
    const Tokens share(view.token_budget.value() / unproven_share);
    builder_.limit_tokens(std::max(share, alone ? least_progress : Tokens(1)));
  }

  SelectionBuilder builder_;  ///< kept for its buffers alone
};

}  // namespace

PlannerPtr make_hygen() { return std::make_unique<Hygen>(); }

}  // namespace tandem::policy
