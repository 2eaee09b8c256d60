#include "net/connection.hpp"

#include <array>
#include <boost/asio/buffer.hpp>

namespace tandem::net {

namespace asio = boost::asio;
using boost::system::error_code;
using std::chrono::steady_clock;

Connection::Connection(asio::io_context& io, Socket socket)
    : changed(io), socket_(std::move(socket)) {
  error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  // Small, so that a reader who stopped is noticed: the kernel would hide megabytes otherwise.
  socket_.set_option(asio::socket_base::send_buffer_size(128 << 10), ignored);
}

void Connection::start_reading() {
  if (reading_ || peer_gone_ || input_.size() >= max_input_bytes) return;
  reading_ = true;
  // Waits without a buffer: an idle connection costs no input memory.
  socket_.async_wait(Socket::wait_read, [self = shared_from_this()](error_code failed) {
    self->reading_ = false;
    if (failed)
      self->peer_gone_ = self->broken_ = true;
    else
      self->on_readable();
    self->changed.raise();
  });
}

void Connection::on_readable() {
  if (broken_) return;
  std::array<char, 16 << 10> piece;
  while (input_.size() < max_input_bytes) {
    error_code failed;
    const auto bytes = socket_.read_some(asio::buffer(piece), failed);
    if (failed == asio::error::would_block || failed == asio::error::try_again) return;
    if (failed) {
      peer_gone_ = true;
      broken_ = broken_ || failed != asio::error::eof;
      return;
    }
    input_.append(piece.data(), bytes);
    if (bytes < piece.size()) return;
  }
}

void Connection::send(std::string_view bytes) {
  if (broken_) return;
  queued_.append(bytes);
  if (writing_.empty()) {
    last_progress_ = steady_clock::now();
    start_writing();
  }
}

void Connection::start_writing() {
  if (written_ == writing_.size()) {
    writing_.clear();
    written_ = 0;
    writing_.swap(queued_);
  }
  if (writing_.empty() || broken_) return;
  socket_.async_write_some(asio::buffer(writing_.data() + written_, writing_.size() - written_),
                           [self = shared_from_this()](error_code failed, std::size_t bytes) {
                             self->written_ += bytes;
                             self->last_progress_ = steady_clock::now();
                             if (failed)
                               self->peer_gone_ = self->broken_ = true;
                             else
                               self->start_writing();
                             self->changed.raise();
                           });
}

asio::awaitable<void> Connection::await_change(SteadyTime deadline) {
  start_reading();
  co_await changed.wait(deadline);
}

asio::awaitable<bool> Connection::drain_to(std::size_t bytes, SteadyTime::duration stall) {
  while (unsent_bytes() > bytes && !broken_) {
    const auto deadline = last_progress_ + stall;
    if (steady_clock::now() >= deadline) {
      abort();
      break;
    }
    co_await changed.wait(deadline);
  }
  co_return !broken_;
}

asio::awaitable<void> Connection::close_gently() {
  error_code ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
  const auto deadline = steady_clock::now() + std::chrono::seconds(1);
  std::size_t discarded = 0;
  while (!peer_gone_ && discarded < (8 << 20) && steady_clock::now() < deadline) {
    discarded += input_.size();
    input_.clear();
    co_await await_change(deadline);
  }
  abort();
}

void Connection::abort() {
  error_code ignored;
  socket_.close(ignored);
  peer_gone_ = broken_ = true;
  changed.raise();
}

Connection::Socket Connection::release() {
  peer_gone_ = broken_ = true;
  error_code ignored;
  socket_.cancel(ignored);
  return std::move(socket_);
}

}  // namespace tandem::net
