// One generation in the engine, as its session follows it: refused, or begun, token by token, to
// its end. Destroying it cancels what still runs. Io thread only.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/choice_stream.hpp"
#include "core/generate.hpp"
#include "net/services.hpp"
#include "net/signal.hpp"

namespace tandem::net {

class LiveCall : private TokenListener {
 public:
  /// `wake` is raised whenever something changed, and outlives the call.
  LiveCall(Services& services, GenerateCall call, Signal& wake);
  virtual ~LiveCall() = default;
  LiveCall(const LiveCall&) = delete;
  LiveCall& operator=(const LiveCall&) = delete;

  /// To request intake, in the name of a tenant; `ignored` fields of the call were not understood.
  void submit(std::string request_id, std::string tenant, std::uint32_t ignored);
  /// Another one to be raised from now on.
  void rewire(Signal& wake) { wake_ = &wake; }
  /// Asks the engine to end it; the end still comes as an event.
  void cancel();

  [[nodiscard]] const GenerateCall& call() const { return *call_; }
  [[nodiscard]] const std::vector<AcceptedChoice>& choices() const { return choices_; }
  /// Refused, or failed as a whole.
  [[nodiscard]] const std::optional<Error>& error() const { return error_; }
  /// The engine has said something of it.
  [[nodiscard]] bool begun() const { return begun_; }
  /// Every choice has ended.
  [[nodiscard]] virtual bool done() const = 0;

 protected:
  virtual void accepted() = 0;
  virtual void take(const TokenEvent& event) = 0;
  void fail(const Error& reason);
  void cancel_choice(RequestId id) { subscription_->cancel({id}); }

  Services& services_;

 private:
  void on_accepted(const msg::Accepted& accepted) final;
  void on_refused(const Error& reason) final { fail(reason); }
  void on_event(const TokenEvent& event) final;
  void on_delivered() final { wake_->raise(); }
  void on_failed(const Error& reason) final { fail(reason); }

  Signal* wake_;
  const GenerateCallPtr call_;
  std::vector<AcceptedChoice> choices_;
  std::unique_ptr<Bridge::Subscription> subscription_;
  std::optional<Error> error_;
  bool begun_ = false, cancelled_ = false;
};

/// For a reply in one piece.
class CollectedCall final : public LiveCall {
 public:
  using LiveCall::LiveCall;
  [[nodiscard]] bool done() const override { return collector_ && collector_->done(); }
  /// Once done().
  [[nodiscard]] const api::CallCollector& collected() const { return *collector_; }

 private:
  void accepted() override;
  void take(const TokenEvent& event) override;

  std::optional<api::CallCollector> collector_;
};

/// For a stream: what came and is not written out yet waits as deltas.
class StreamedCall final : public LiveCall {
 public:
  struct Pending {
    std::uint32_t index = 0;  ///< of the choice
    api::Delta delta;
  };

  using LiveCall::LiveCall;
  [[nodiscard]] bool done() const override { return begun() && left_ == 0; }
  [[nodiscard]] bool has_pending() const { return !pending_.empty(); }
  /// Roughly the memory that pending deltas hold.
  [[nodiscard]] std::size_t pending_bytes() const { return pending_bytes_; }
  [[nodiscard]] const Pending& front_pending() const { return pending_.front(); }
  [[nodiscard]] Pending take_pending();
  /// While on, and always when much is pending, a delta joins the one before it if both are of the
  /// same choice.
  void merge(bool on) { merging_ = on; }
  [[nodiscard]] Usage usage() const;
  /// Answers may hold reasoning or calls beside content.
  [[nodiscard]] bool is_taken_apart() const;

 private:
  void accepted() override;
  void take(const TokenEvent& event) override;

  std::vector<api::ChoiceStream> streams_;
  std::size_t left_ = 0;
  std::deque<Pending> pending_;
  std::size_t pending_bytes_ = 0;
  bool merging_ = false;
};

}  // namespace tandem::net
