#include "net/exchange.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>

#include "api/errors.hpp"

namespace tandem::net {
namespace {

namespace asio = boost::asio;
using std::chrono::steady_clock;

/// Uploads slower than this are cut off, after the first read_timeout: a byte now and then would
/// hold a connection for ever.
constexpr std::int64_t min_body_bytes_per_second = 4096;

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 206: return "Partial Content";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 426: return "Upgrade Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Status";
  }
}

std::string http_date() {
  std::array<char, 40> text{};
  const auto now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  const auto size = std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return {text.data(), size};
}

void add_field(std::string& header, std::string_view name, std::string_view value) {
  header.append(name).append(": ").append(value).append("\r\n");
}

std::string status_line(int status) {
  std::string line = "HTTP/1.1 " + std::to_string(status) + ' ';
  line.append(reason_phrase(status)).append("\r\n");
  add_field(line, "Date", http_date());
  return line;
}

std::optional<api::TraceContext> span_of(const RequestHead& head) {
  const auto caller = api::parse_traceparent(head.value("traceparent"));
  return caller ? std::optional(api::new_span(*caller)) : std::nullopt;
}

}  // namespace

int retry_after_seconds(Services& services) {
  return std::uniform_int_distribution<int>(1, 8)(services.random);
}

std::string refusal(Services& services, const Rejection& why, std::string_view request_id) {
  auto code = Errc::invalid_value;
  if (why.status == 413) code = Errc::too_large;
  if (why.status == 503) code = Errc::overloaded;
  const auto body = api::error_body(error(code, why.message), why.status);
  auto reply = status_line(why.status);
  add_field(reply, "Content-Type", "application/json");
  add_field(reply, "Content-Length", std::to_string(body.size()));
  add_field(reply, "X-Request-Id", request_id);
  if (why.status == 503)
    add_field(reply, "Retry-After", std::to_string(retry_after_seconds(services)));
  else
    add_field(reply, "X-Should-Retry", "false");
  add_field(reply, "Connection", "close");
  return reply + "\r\n" + body;
}

Exchange::Exchange(Services& shared, std::shared_ptr<Connection> peer, RequestParser& parser,
                   std::string id)
    : services(shared),
      connection(std::move(peer)),
      head(parser.head()),
      request_id(std::move(id)),
      trace(span_of(parser.head())),
      parser_(parser) {}

bool Exchange::keep_alive() const {
  return head.keep_alive && !close_after_ && body_consumed() && !services.draining;
}

std::string Exchange::header(int status, std::string_view content_type, const Fields& fields,
                             std::optional<std::uint64_t> length) {
  status_ = status;
  auto text = status_line(status);
  add_field(text, "Content-Type", content_type);
  if (length)
    add_field(text, "Content-Length", std::to_string(*length));
  else if (head.http_1_1)
    add_field(text, "Transfer-Encoding", "chunked");
  else
    close_after_ = true;
  add_field(text, "X-Request-Id", request_id);
  if (trace) add_field(text, "Traceparent", trace->header());
  const auto elapsed =
      std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - started_);
  add_field(text, "OpenAI-Processing-Ms", std::to_string(elapsed.count()));
  add_field(text, "X-Content-Type-Options", "nosniff");
  if (!keep_alive())
    add_field(text, "Connection", "close");
  else if (!head.http_1_1)
    add_field(text, "Connection", "keep-alive");
  for (const auto& [name, value] : fields) add_field(text, name, value);
  return text += "\r\n";
}

void Exchange::reply(int status, std::string_view content_type, std::string_view body,
                     const Fields& fields) {
  auto bytes = header(status, content_type, fields, body.size());
  if (head.method != "HEAD") bytes += body;
  connection->send(bytes);
}

void Exchange::fail(const Error& reason, Fields fields) {
  const auto status = api::http_status(reason.code);
  if (status == 429 || status == 503)
    fields.emplace_back("Retry-After", std::to_string(retry_after_seconds(services)));
  else if (api::is_permanent(reason.code))
    fields.emplace_back("X-Should-Retry", "false");
  if (reason.code == Errc::shutting_down) close_after();
  reply(status, "application/json", api::error_body(reason), fields);
}

void Exchange::fail(int status, Errc code, std::string_view message, Fields fields) {
  fields.emplace_back("X-Should-Retry", "false");
  reply(status, "application/json", api::error_body(error(code, std::string(message))), fields);
}

void Exchange::begin_stream(std::string_view content_type, const Fields& fields) {
  connection->send(header(200, content_type, fields, std::nullopt));
  chunked_ = head.http_1_1;
}

void Exchange::stream(std::string_view piece) {
  if (piece.empty()) return;
  if (!chunked_) return connection->send(piece);
  std::array<char, 20> size{};
  auto* end = std::to_chars(size.data(), size.data() + 16, piece.size(), 16).ptr;
  *end++ = '\r';
  *end++ = '\n';
  connection->send({size.data(), static_cast<std::size_t>(end - size.data())});
  connection->send(piece);
  connection->send("\r\n");
}

void Exchange::end_stream() {
  if (chunked_) connection->send("0\r\n\r\n");
}

void Exchange::begin_reply(int status, std::string_view content_type, std::uint64_t length,
                           const Fields& fields) {
  connection->send(header(status, content_type, fields, length));
}

asio::awaitable<std::optional<std::string>> Exchange::read_body() {
  std::string body;
  const bool complete = co_await read_body(services.options.max_body_bytes,
                                           [&body](std::string_view piece) { body.append(piece); });
  if (!complete) co_return std::nullopt;
  co_return std::move(body);
}

asio::awaitable<bool> Exchange::read_body(std::uint64_t limit,
                                          std::function<void(std::string_view)> sink) {
  if (!head.has_body()) co_return true;
  if (head.content_length.value_or(0) > limit) {
    fail(error(Errc::too_large, "the body is larger than " + std::to_string(limit) + " bytes"));
    co_return false;
  }
  parser_.limit_body(limit);
  if (connection->input().empty() && head.http_1_1 && !continue_sent_ && head.find("expect")) {
    continue_sent_ = true;
    connection->send("HTTP/1.1 100 Continue\r\n\r\n");
  }
  const auto begun = steady_clock::now();
  auto last_piece = begun;
  std::int64_t received = 0;
  for (;;) {
    std::size_t consumed = 0;
    const auto no = parser_.feed(connection->input(), consumed, sink);
    connection->consume(consumed);
    received += static_cast<std::int64_t>(consumed);
    if (no) {
      if (!replied())
        fail(no->status, no->status == 413 ? Errc::too_large : Errc::invalid_value, no->message);
      close_after();
      co_return false;
    }
    if (replied()) co_return false;
    if (parser_.done()) co_return true;
    if (connection->peer_gone()) co_return false;
    const auto now = steady_clock::now();
    if (consumed > 0) last_piece = now;
    const auto& patience = services.options.read_timeout;
    const auto deadline = std::min<SteadyTime>(
        last_piece + patience,
        begun + patience + std::chrono::seconds(received / min_body_bytes_per_second));
    if (now >= deadline) {
      fail(408, Errc::invalid_value, "the body did not arrive in time");
      close_after();
      co_return false;
    }
    co_await connection->await_change(deadline);
  }
}

}  // namespace tandem::net
