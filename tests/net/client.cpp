#include "tests/net/client.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <netinet/in.h>
#include <stdexcept>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace tandem::tests {
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

}  // namespace

Client::Client(std::uint16_t port, int receive_buffer) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
  if (receive_buffer > 0)
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
  const timeval patience{20, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0)
    throw std::runtime_error("cannot connect to the server");
}

Client::~Client() { close(); }

void Client::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void Client::half_close() { ::shutdown(fd_, SHUT_WR); }

void Client::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

bool Client::fill() {
  char piece[16384];
  const auto bytes = ::recv(fd_, piece, sizeof(piece), 0);
  if (bytes < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
    throw std::runtime_error("the server did not answer; so far: " + buffer_.substr(0, 500));
  if (bytes <= 0) return false;
  buffer_.append(piece, static_cast<std::size_t>(bytes));
  return true;
}

std::string Client::read_until(std::string_view mark) {
  for (;;) {
    if (const auto at = buffer_.find(mark); at != buffer_.npos) {
      auto text = buffer_.substr(0, at + mark.size());
      buffer_.erase(0, at + mark.size());
      return text;
    }
    if (!fill()) throw std::runtime_error("the connection ended; so far: " + buffer_);
  }
}

std::string Client::read_to_end() {
  while (fill()) {
  }
  return std::exchange(buffer_, {});
}

bool Client::ended() { return buffer_.empty() && !fill(); }

HttpReply Client::read_reply(bool head_only) {
  HttpReply reply;
  auto header = read_until("\r\n\r\n");
  reply.status = std::stoi(header.substr(9, 3));
  for (auto at = header.find("\r\n") + 2; at < header.size() - 2;) {
    const auto end = header.find("\r\n", at);
    const auto colon = header.find(": ", at);
    reply.fields[lower(header.substr(at, colon - at))] = header.substr(colon + 2, end - colon - 2);
    at = end + 2;
  }
  if (head_only || reply.status == 100 || reply.status == 101) return reply;
  if (reply.fields["transfer-encoding"] == "chunked") {
    for (;;) {
      if (buffer_.find("\r\n") == buffer_.npos) {
        if (!fill()) break;
        continue;
      }
      const auto size = std::stoul(read_until("\r\n"), nullptr, 16);
      while (buffer_.size() < size + 2 && fill()) {
      }
      if (buffer_.size() < size + 2) break;
      reply.body.append(buffer_, 0, size);
      buffer_.erase(0, size + 2);
      if (size == 0) return reply;
    }
    reply.complete = false;
    return reply;
  }
  const auto size = std::stoul(reply.fields.at("content-length"));
  while (buffer_.size() < size && fill()) {
  }
  reply.complete = buffer_.size() >= size;
  reply.body = buffer_.substr(0, size);
  buffer_.erase(0, size);
  return reply;
}

int Client::Message::close_code() const {
  if (payload.size() < 2) return 0;
  return static_cast<unsigned char>(payload[0]) * 256 + static_cast<unsigned char>(payload[1]);
}

int Client::upgrade(std::string_view more_fields) {
  send(
      "GET /v1/responses HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\n"
      "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
      std::string(more_fields) + "\r\n");
  return read_reply().status;
}

void Client::send_frame(int opcode, std::string_view payload) {
  std::string frame(1, static_cast<char>(0x80 | opcode));
  const auto put = [&](std::uint64_t value, int bytes) {
    while (bytes-- > 0) frame.push_back(static_cast<char>(value >> (8 * bytes)));
  };
  if (payload.size() < 126) {
    put(0x80 | payload.size(), 1);
  } else if (payload.size() < 65536) {
    put(0x80 | 126, 1);
    put(payload.size(), 2);
  } else {
    put(0x80 | 127, 1);
    put(payload.size(), 8);
  }
  const char mask[4] = {0x12, 0x34, 0x56, 0x78};
  frame.append(mask, 4);
  for (std::size_t i = 0; i < payload.size(); ++i)
    frame.push_back(static_cast<char>(payload[i] ^ mask[i % 4]));
  send(frame);
}

Client::Message Client::read_message() {
  const auto need = [this](std::size_t bytes) {
    while (buffer_.size() < bytes)
      if (!fill()) return false;
    return true;
  };
  const auto byte = [this](std::size_t at) {
    return static_cast<std::uint64_t>(static_cast<unsigned char>(buffer_[at]));
  };
  for (;;) {
    if (!need(2)) return {-1, {}};
    Message message{static_cast<int>(byte(0) & 15), {}};
    std::size_t header = 2;
    std::uint64_t size = byte(1) & 127;
    const int extended = size == 126 ? 2 : size == 127 ? 8 : 0;
    header += static_cast<std::size_t>(extended);
    if (!need(header)) return {-1, {}};
    if (extended > 0) size = 0;
    for (int i = 0; i < extended; ++i) size = size * 256 + byte(2 + static_cast<std::size_t>(i));
    if (!need(header + size)) return {-1, {}};
    message.payload = buffer_.substr(header, size);
    buffer_.erase(0, header + size);
    if (message.opcode != 9) return message;
    send_frame(10, message.payload);
  }
}

std::string post(std::string_view path, std::string_view json, std::string_view more_fields) {
  return "POST " + std::string(path) +
         " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " +
         std::to_string(json.size()) + "\r\n" + std::string(more_fields) + "\r\n" +
         std::string(json);
}

std::string get(std::string_view path, std::string_view more_fields) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n" +
         std::string(more_fields) + "\r\n";
}

}  // namespace tandem::tests
