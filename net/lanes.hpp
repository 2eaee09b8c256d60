// The Responses protocol of one WebSocket, without the socket: client events in, server events out.
// Responses of one lane (stream_id) run one after the other, lanes run at the same time. Events are
// numbered when they are written out, so merging leaves no gap. Io thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "api/parse.hpp"
#include "net/response_stream.hpp"
#include "net/resumables.hpp"
#include "net/sessions.hpp"

namespace tandem::net {

class Lanes final : private Resumables::Holder {
 public:
  /// `wake` is raised when there may be something to write, and outlives the lanes.
  Lanes(Services& services, Caller caller, Signal& wake);
  /// Cancels what runs, except what its client may resume.
  ~Lanes();
  Lanes(const Lanes&) = delete;
  Lanes& operator=(const Lanes&) = delete;

  /// One text message of the client. Whatever is wrong with it becomes an `error` event.
  void receive(std::string_view text);
  /// New responses are refused from now on.
  void close() { closed_ = true; }

  /// Moves what can be written to the end of `frames`, until about `max_bytes` are in it. What has
  /// to wait is merged.
  void write(std::deque<std::string>& frames, std::size_t max_bytes);
  [[nodiscard]] bool idle() const { return in_flight_ == 0 && errors_.empty(); }
  /// A response that runs here may be resumed elsewhere.
  [[nodiscard]] bool resumable() const;
  /// Roughly the memory of what waits to be written.
  [[nodiscard]] std::size_t pending_bytes() const;
  /// When write() has something to do even if nothing is raised: a flex response's wait ends.
  [[nodiscard]] SteadyTime next_deadline() const;

 private:
  /// A response, or, until its turn comes, the wish to resume one.
  struct Entry {
    ResponseStreamPtr stream;
    std::string resume_id, event_id;
    std::int64_t starting_after = -1;
  };
  using Lane = std::deque<Entry>;  ///< the first one runs, and has its stream

  void on_event(api::CreateResponse event);
  void on_event(api::CancelResponse event);
  void on_event(api::ResumeResponse event);
  void on_event(api::BadEvent event);
  void release(const std::string& response_id) override;

  void add_error(const Error& reason, std::string_view stream_id, std::string_view event_id);
  /// Why no response more may come to this connection, or to a lane of that name.
  std::optional<Error> refusal(const std::string& lane_name);
  void enqueue(const std::string& lane_name, Entry entry);
  /// Lets the first one that can, begin; those that cannot become errors. The lane may end empty.
  void start(const std::string& lane_name, Lane& lane);

  Services& services_;
  const Caller caller_;
  Signal& wake_;
  std::map<std::string, Lane> lanes_;  ///< by stream_id; "" is the lane without a name
  std::set<std::string> names_;        ///< of all lanes there ever were
  std::deque<std::string> errors_;
  std::size_t error_bytes_ = 0;
  std::size_t in_flight_ = 0;
  std::uint64_t num_responses_ = 0;
  bool closed_ = false;
};

}  // namespace tandem::net
