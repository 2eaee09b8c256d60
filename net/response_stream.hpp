// One response of the WebSocket protocol, from response.create to its terminal event. A resumable
// one also keeps what it said: its events, byte for byte, so that another connection can be told
// again. Io thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/parse.hpp"
#include "api/responses_events.hpp"
#include "net/live_call.hpp"

namespace tandem::net {

/// What is to be sent, oldest first, and roughly how many bytes that is.
struct Outbox {
  std::deque<std::string>& frames;
  std::size_t bytes = 0;
  std::size_t max_bytes = 0;  ///< nothing more is added once `bytes` is beyond it

  [[nodiscard]] bool full() const { return bytes > max_bytes; }
  void put(std::string frame) {
    bytes += frame.size();
    frames.push_back(std::move(frame));
  }
};

class ResponseStream {
 public:
  /// `wake` is raised when there may be something to write, and outlives the stream or rewire().
  ResponseStream(Services& services, api::CreateResponse event, std::string tenant, Signal& wake);
  ~ResponseStream() { drop_log(); }
  ResponseStream(const ResponseStream&) = delete;
  ResponseStream& operator=(const ResponseStream&) = delete;

  [[nodiscard]] const std::string& id() const { return events_.id(); }
  [[nodiscard]] const std::string& stream_id() const { return events_.stream_id(); }
  [[nodiscard]] const std::string& tenant() const { return tenant_; }
  /// Its events are kept, from the first one on.
  [[nodiscard]] bool resumable() const { return log_.has_value(); }
  /// Its client knows its id.
  [[nodiscard]] bool opened() const { return opened_; }
  /// The terminal event (or the refusal) has been made; what is not replayed yet may still be left.
  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] std::int64_t num_events() const { return events_.num_events(); }

  void submit(std::string request_id);
  void cancel();
  void rewire(Signal& wake);

  /// Adds what can be sent. True: it has ended and all of it is in the outbox.
  bool write(Outbox& outbox);
  /// Without a connection: what there is goes to the log.
  void keep();
  /// write() begins at this event, which is in the log.
  void rewind(std::int64_t sequence_number) { next_ = static_cast<std::size_t>(sequence_number); }
  /// Everything in the log has been written.
  [[nodiscard]] bool replayed() const { return !log_ || next_ >= log_->size(); }
  /// Only while replayed().
  void drop_log();
  [[nodiscard]] std::size_t log_bytes() const { return log_bytes_; }

  /// Roughly the memory of what waits to be written.
  [[nodiscard]] std::size_t pending_bytes() const { return call_ ? call_->pending_bytes() : 0; }
  /// When write() has something to do even if nothing is raised: a flex response's wait ends.
  [[nodiscard]] SteadyTime next_deadline() const {
    return waits_for_flex() ? flex_deadline_ : never;
  }

 private:
  using Put = std::function<void(std::string)>;

  [[nodiscard]] bool waits_for_flex() const;
  void record(const std::string& frame);
  /// Makes events until `full`; true once the last one is made.
  bool produce(const Put& put, const std::function<bool()>& full);
  bool open(const Put& put);

  Services& services_;
  std::optional<ActiveCall> active_;
  const std::string tenant_, event_id_;
  const std::uint32_t ignored_fields_;
  api::ResponseEvents events_;
  std::unique_ptr<StreamedCall> call_;  ///< until it has ended
  SteadyTime flex_deadline_ = never;
  bool submitted_ = false, opened_ = false, ended_ = false;
  std::optional<FinishReason> finish_;
  std::optional<Error> reason_;  ///< with finish_ == failed

  std::optional<std::vector<std::string>> log_;  ///< by sequence number
  std::size_t log_bytes_ = 0;
  std::size_t next_ = 0;  ///< in the log: what write() sends next
};

}  // namespace tandem::net
