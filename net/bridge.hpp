// Between the actors and the io thread, in plain calls: the only part of net/ that speaks CAF.
//
// One event-based actor per server is the TokenSink of all its calls. Each TokensEmitted becomes
// exactly one post to the io thread, where events are handed to the listener of their request.
// Request intake answers a call before it admits it, and both answers and tokens pass through the
// same actor and the same queue of the io_context: a listener hears on_accepted before any token.
//
// All on the io thread, except the constructor, the destructor and stop(). The death of intake or
// of the offline queue is an Error for everyone who waits for them; nobody waits for ever.
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "actors/messages.hpp"
#include "net/awaitable.hpp"
#include "net/signal.hpp"

namespace caf {
class actor_system;
}

namespace tandem::net {

struct ServerParts;

/// What one call hears of its fate: on_accepted or on_refused once, then events; on_failed, at any
/// time, is the last of all.
class TokenListener {
 public:
  virtual void on_accepted(const msg::Accepted& accepted) = 0;
  virtual void on_refused(const Error& reason) = 0;
  virtual void on_event(const TokenEvent& event) = 0;
  /// After all the events that came together.
  virtual void on_delivered() = 0;
  virtual void on_failed(const Error& reason) = 0;

 protected:
  ~TokenListener() = default;
};

class Bridge {
 public:
  /// One call in the engine. Destroyed before its requests ended, it cancels them.
  class Subscription;

  Bridge(caf::actor_system& system, std::shared_ptr<boost::asio::io_context> io,
         const ServerParts& parts);
  /// As stop().
  ~Bridge();
  Bridge(const Bridge&) = delete;
  Bridge& operator=(const Bridge&) = delete;

  /// `listener` outlives the subscription.
  [[nodiscard]] std::unique_ptr<Subscription> submit(msg::Submit call, TokenListener& listener);

  /// A call about text at request intake, until its answer. Destroyed before, it is abandoned.
  class TextQuestion;
  /// `wake` is raised when the answer is there, and outlives the question.
  [[nodiscard]] std::unique_ptr<TextQuestion> ask(TextCallPtr call, std::uint32_t ignored_fields,
                                                  Signal& wake);

  template <class T>
  using Answer = boost::asio::awaitable<Result<T>>;
  Answer<msg::UploadPath> ask(msg::NewUpload message);
  Answer<store::FileInfo> ask(msg::AddFile message);
  Answer<msg::FilePage> ask(msg::ListFiles message);
  Answer<msg::FileOnDisk> ask(msg::GetFile message);
  Answer<msg::Nothing> ask(msg::RemoveFile message);
  Answer<store::BatchInfo> ask(msg::CreateBatch message);
  Answer<store::BatchInfo> ask(msg::GetBatch message);
  Answer<msg::BatchPage> ask(msg::ListBatches message);
  Answer<store::BatchInfo> ask(msg::CancelBatch message);
  /// Fails with storage_failed after `patience` without an answer.
  Answer<msg::Nothing> ask(msg::ProbeStore message, std::chrono::milliseconds patience);

  /// Fails everything that waits, and all that comes after; what actors still answer is dropped.
  void close();
  /// Ends the actor and waits for it. Not on the io thread, after that has ended or been closed.
  void stop();

  struct Hub;

 private:
  template <class T, class M>
  Answer<T> ask_queue(M message, SteadyTime deadline = never);

  std::unique_ptr<Hub> hub_;
};

class Bridge::Subscription {
 public:
  Subscription(Hub& hub, std::uint64_t ticket) : hub_(hub), ticket_(ticket) {}
  ~Subscription();
  Subscription(const Subscription&) = delete;
  Subscription& operator=(const Subscription&) = delete;

  /// Cancels these requests of the call; their `finish` events still come.
  void cancel(std::vector<RequestId> ids);

 private:
  Hub& hub_;
  std::uint64_t ticket_;
};

class Bridge::TextQuestion {
 public:
  TextQuestion(Hub& hub, std::uint64_t ticket, Signal& wake)
      : hub_(hub), ticket_(ticket), wake_(wake) {}
  ~TextQuestion();
  TextQuestion(const TextQuestion&) = delete;
  TextQuestion& operator=(const TextQuestion&) = delete;

  /// Nothing: not yet.
  [[nodiscard]] const std::optional<Result<msg::TextBody>>& answer() const { return answer_; }

 private:
  friend struct Hub;
  Hub& hub_;
  std::uint64_t ticket_;
  Signal& wake_;
  std::optional<Result<msg::TextBody>> answer_;
};

}  // namespace tandem::net
