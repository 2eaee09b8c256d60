// online_first: the Sarathi++ baseline. Online takes what it wants; offline fills what is left of
// the token budget and of the blocks. It looks at no clock and at no latency model.
#include "policy/selection_builder.hpp"

namespace tandem::policy {
namespace {

class OnlineFirst final : public IterationPlanner {
 public:
  [[nodiscard]] std::string_view name() const override { return "online_first"; }

  Selection select(const PlanningView& view) override {
    builder_.start(view);
    builder_.add_online();
    builder_.keep_headroom();
    builder_.add_offline();
    return builder_.finish();
  }

 private:
  SelectionBuilder builder_;  ///< kept for its buffers alone
};

}  // namespace

PlannerPtr make_online_first() { return std::make_unique<OnlineFirst>(); }

}  // namespace tandem::policy
