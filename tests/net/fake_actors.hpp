// An engine and an offline queue that do as the test says, behind the real protocols.
#pragma once

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "actors/protocols.hpp"
#include "actors/served_model.hpp"
#include "tests/support/temporary_folder.hpp"

namespace tandem::tests {

/// Every token is a letter: ids 0..25 are "a".."z", anything larger is a long word.
ServedModelPtr fake_model();
inline constexpr TokenId long_word = 26;  ///< 1000 letters
inline constexpr TokenId num_fake_tokens = 27;

/// Stands for intake, scheduler and executor. What it is told to do, it does when asked; what it is
/// asked, it remembers.
class FakeEngine {
 public:
  explicit FakeEngine(caf::actor_system& system);
  ~FakeEngine();

  [[nodiscard]] const RequestIntake& intake() const { return intake_; }

  /// How many tokens a call is answered with at once, the last with `finish`; nothing: none, the
  /// test emits them.
  void answer_at_once(std::optional<int> tokens, FinishReason finish = FinishReason::stop);
  /// Calls are refused with this.
  void refuse_with(std::optional<Error> reason);

  /// Calls are neither accepted nor refused until they are abandoned.
  void hold_calls();
  /// Blocks until so many held calls were abandoned; false after 20 s.
  bool wait_for_abandoned(std::size_t count);

  /// Blocks until that many calls were submitted, and returns the last one.
  msg::SubmitTo wait_for_call(std::size_t count);
  /// Ids of the choices of call `index` (from 0), once it was submitted.
  std::vector<RequestId> ids(std::size_t index);
  /// Tokens of one choice, in one message.
  void emit(RequestId id, int tokens, std::optional<FinishReason> finish = std::nullopt,
            TokenId token = 0, std::optional<Error> reason = std::nullopt);
  /// Blocks until that request was cancelled; false after 20 s.
  bool wait_for_cancel(RequestId id);
  bool is_cancelled(RequestId id);
  std::size_t num_calls();
  /// Blocks until that many calls about text came, and returns the last one.
  msg::AskText wait_for_text_call(std::size_t count);

 private:
  friend struct FakeIntakeBehaviour;
  struct Call {
    msg::SubmitTo submit;
    std::vector<RequestId> ids;
  };
  void send(RequestId id, std::vector<TokenEvent> events);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Call> calls_;
  std::vector<msg::AskText> text_calls_;
  std::set<RequestId> cancelled_, ended_;
  std::optional<int> at_once_;
  FinishReason finish_ = FinishReason::stop;
  std::optional<Error> refusal_;
  bool holding_ = false;
  std::size_t num_abandoned_ = 0;
  std::uint64_t next_id_ = 1;
  RequestIntake intake_;
};

/// Files on disk under a temporary folder, batches in memory.
class FakeQueue {
 public:
  explicit FakeQueue(caf::actor_system& system);
  ~FakeQueue();

  [[nodiscard]] const OfflineQueue& queue() const { return queue_; }
  /// Content of a stored file.
  std::string content(const std::string& id);
  std::optional<msg::AddFile> last_added();
  std::size_t num_unclaimed_uploads();
  void fail_probe(bool on);

 private:
  friend struct FakeQueueBehaviour;
  TemporaryFolder folder_;
  std::mutex mutex_;
  std::map<std::string, store::FileInfo> files_;
  std::map<std::string, std::string> paths_;
  std::map<std::string, store::BatchInfo> batches_;
  std::map<std::string, std::string> by_key_;
  std::optional<msg::AddFile> last_added_;
  std::uint64_t next_ = 1;
  bool probe_fails_ = false;
  OfflineQueue queue_;
};

}  // namespace tandem::tests
