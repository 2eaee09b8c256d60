// A client that is as strict, or as rude, as the test needs: a plain blocking socket. Every read
// gives up after 20 s by throwing.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace tandem::tests {

struct HttpReply {
  int status = 0;
  std::map<std::string, std::string> fields;  ///< names in lower case
  std::string body;                           ///< unchunked
  bool complete = true;                       ///< false: the connection ended inside the body
};

class Client {
 public:
  /// `receive_buffer`: of the socket, in bytes; 0: the system's.
  explicit Client(std::uint16_t port, int receive_buffer = 0);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// Ignores errors: the other side may have closed.
  void send(std::string_view bytes);
  void close();
  void half_close();

  /// A header and, unless `head_only`, its body.
  HttpReply read_reply(bool head_only = false);
  /// Everything up to and including `mark`.
  std::string read_until(std::string_view mark);
  /// Everything until the other side closes.
  std::string read_to_end();
  /// The other side has closed or reset, and nothing was sent before that.
  bool ended();

  // ---- as a WebSocket ----
  struct Message {
    int opcode = 0;       ///< 1 text, 8 close, 9 ping, 10 pong
    std::string payload;  ///< of a close: the two bytes of its code, then the reason
    [[nodiscard]] int close_code() const;
  };
  /// Upgrades /v1/responses; the reply's status (101 if it worked).
  int upgrade(std::string_view more_fields = {});
  void send_frame(int opcode, std::string_view payload);
  void send_text(std::string_view text) { send_frame(1, text); }
  /// The next message; pings are answered on the way. opcode -1: the connection ended.
  Message read_message();

 private:
  bool fill();  ///< false: the end
  int fd_ = -1;
  std::string buffer_;
};

std::string post(std::string_view path, std::string_view json, std::string_view more_fields = {});
std::string get(std::string_view path, std::string_view more_fields = {});

}  // namespace tandem::tests
