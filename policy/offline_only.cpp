// offline_only: what offline work gets when it has the engine to itself; the ceiling that harvested
// throughput is measured against. Online requests wait for ever.
#include "policy/selection_builder.hpp"

namespace tandem::policy {
namespace {

class OfflineOnly final : public IterationPlanner {
 public:
  [[nodiscard]] std::string_view name() const override { return "offline_only"; }

  Selection select(const PlanningView& view) override {
    PlanningView offline = view;
    offline.online_running = {};
    offline.online_waiting = {};
    builder_.start(offline);
    builder_.add_offline();
    return builder_.finish();
  }

 private:
  SelectionBuilder builder_;  ///< kept for its buffers alone
};

}  // namespace

PlannerPtr make_offline_only() { return std::make_unique<OfflineOnly>(); }

}  // namespace tandem::policy
