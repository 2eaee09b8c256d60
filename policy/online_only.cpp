// online_only: what online requests get when they have the engine to themselves; the yardstick that
// interference is measured against. Offline requests wait for ever.
#include "policy/selection_builder.hpp"

namespace tandem::policy {
namespace {

class OnlineOnly final : public IterationPlanner {
 public:
  [[nodiscard]] std::string_view name() const override { return "online_only"; }

  Selection select(const PlanningView& view) override {
    PlanningView online = view;
    online.offline_running = {};
    online.offline_waiting = {};
    builder_.start(online);
    builder_.add_online();
    return builder_.finish();
  }

 private:
  SelectionBuilder builder_;  ///< kept for its buffers alone
};

}  // namespace

PlannerPtr make_online_only() { return std::make_unique<OnlineOnly>(); }

}  // namespace tandem::policy
