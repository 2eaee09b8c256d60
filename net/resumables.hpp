// The resumable responses of all connections: which connection each is on, and, for those on none,
// their life without one. A response that lost its connection goes on, and its events are kept, for
// options.resume_window; so are those of a response that has ended. After that it is cancelled if
// it still runs, and forgotten. All logs together stay below options.resume_buffer_bytes: beyond
// it those without a connection are forgotten first, the nearest to their end before the others;
// one that has a connection merely stops being resumable. Nothing survives the process. Io thread
// only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "core/result.hpp"
#include "net/awaitable.hpp"
#include "net/signal.hpp"

namespace tandem::net {

struct ServerOptions;
class ResponseStream;
using ResponseStreamPtr = std::shared_ptr<ResponseStream>;

class Resumables {
 public:
  /// A connection, as the place where a response is.
  class Holder {
   public:
    /// The response goes to another connection.
    virtual void release(const std::string& response_id) = 0;

   protected:
    ~Holder() = default;
  };

  Resumables(boost::asio::io_context& io, const ServerOptions& options);
  ~Resumables();
  Resumables(const Resumables&) = delete;
  Resumables& operator=(const Resumables&) = delete;

  /// A new response on `holder`, which calls hand_back() before it ends.
  void add(ResponseStreamPtr stream, Holder& holder);
  /// Its connection is gone, or all of it has been written. It is dropped unless its client has
  /// heard of it.
  void hand_back(const std::string& response_id);
  /// The response of that id and tenant. Errors: response_not_found, resume_window_expired.
  Result<ResponseStreamPtr> find(const std::string& response_id, const std::string& tenant) const;
  [[nodiscard]] bool is_on(const std::string& response_id, const Holder& holder) const {
    const auto found = entries_.find(response_id);
    return found != entries_.end() && found->second.holder == &holder;
  }
  /// As find(), and it is on `holder` from now on, sending everything after event `starting_after`
  /// and raising `wake`. Errors: also invalid_value if there is no such event yet. Not for what
  /// is_on(`holder`) already.
  Result<ResponseStreamPtr> take(const std::string& response_id, const std::string& tenant,
                                 std::int64_t starting_after, Holder& holder, Signal& wake);
  /// From the streams: their logs have so many bytes more, or less.
  void logs_changed(std::ptrdiff_t bytes) { log_bytes_ += static_cast<std::size_t>(bytes); }
  /// To be called after logs have grown.
  void make_room();

  /// Keeps the responses without a connection going, until close().
  boost::asio::awaitable<void> run();
  /// Cancels and forgets those without a connection; none is kept from now on.
  void close();

 private:
  struct Entry {
    ResponseStreamPtr stream;
    Holder* holder = nullptr;
    SteadyTime keep_until = never;  ///< without a holder
  };
  using Entries = std::unordered_map<std::string, Entry>;

  void keep_until(const std::string& id, Entry& entry, SteadyTime until);
  void leave_alone(const std::string& id, Entry& entry);
  void forget(const std::string& id);
  /// Whom to forget first; empty: nobody can be.
  [[nodiscard]] std::string victim() const;
  [[nodiscard]] SteadyTime next_deadline() const;

  const ServerOptions& options_;
  Signal changed_;
  std::size_t log_bytes_ = 0;
  Entries entries_;
  std::set<std::pair<SteadyTime, std::string>> kept_;  ///< those without a holder, by keep_until
  std::set<std::string> running_;                      ///< and of them, those that have not ended
  std::deque<std::string> expired_order_;
  std::unordered_map<std::string, std::string> expired_;  ///< id to tenant, the newest ones
  bool closed_ = false;
};

}  // namespace tandem::net
