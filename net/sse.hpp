// A streamed reply: server-sent events of one call, at the pace of its reader. What the reader has
// not taken yet waits as merged deltas; beyond a bound, or without progress for a while, the call
// is cancelled and the connection closed.
#pragma once

#include <string>

#include "net/awaitable.hpp"
#include "net/exchange.hpp"
#include "net/live_call.hpp"

namespace tandem::net {

/// How the events of one endpoint look.
class SseWriter {
 public:
  virtual ~SseWriter() = default;
  virtual void add(const StreamedCall::Pending& pending, std::string& out) = 0;
  virtual void close(const StreamedCall& call, std::string& out) = 0;
  virtual void fail(const StreamedCall& call, const Error& reason, std::string& out) = 0;
};

/// Waits until the engine has begun `call`. False: it will not, or its client has gone; answered
/// then where there is someone to answer. A flex call waits for options.flex_wait at most.
boost::asio::awaitable<bool> await_begin(Exchange& exchange, const LiveCall& call);

/// Answers with the stream, to its end. `call` has been submitted.
boost::asio::awaitable<void> stream_reply(Exchange& exchange, StreamedCall& call,
                                          SseWriter& writer);

}  // namespace tandem::net
