#include "net/request_parser.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>

namespace tandem::net {

namespace http = boost::beast::http;
using boost::beast::string_view;
using boost::system::error_code;

namespace {

/// Longer extensions, and trailers, serve no one we know of.
constexpr std::size_t max_chunk_extension_bytes = 256;
constexpr std::size_t max_chunk_header_bytes = 4096;

std::string lower(string_view text) {
  std::string out(text);
  for (auto& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

}  // namespace

class RequestParser::Parser final : public http::basic_parser<true> {
 public:
  RequestHead head;
  bool header_done = false;
  std::uint64_t body_bytes = 0;
  const std::function<void(std::string_view)>* sink = nullptr;

 private:
  void on_request_impl(http::verb, string_view method, string_view target, int version,
                       error_code&) override {
    head.method = std::string(method);
    const auto question = target.find('?');
    head.path = std::string(target.substr(0, question));
    if (question != target.npos) head.query = std::string(target.substr(question + 1));
    head.http_1_1 = version == 11;
  }
  void on_response_impl(int, string_view, int, error_code&) override {}
  void on_field_impl(http::field, string_view name, string_view value, error_code&) override {
    if (!header_done) head.fields.emplace_back(lower(name), std::string(value));
  }
  void on_header_impl(error_code&) override { header_done = true; }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(string_view body, error_code&) override { return take(body); }
  void on_chunk_header_impl(std::uint64_t, string_view extensions, error_code& failed) override {
    if (extensions.size() > max_chunk_extension_bytes) failed = http::error::bad_chunk_extension;
  }
  std::size_t on_chunk_body_impl(std::uint64_t, string_view body, error_code&) override {
    return take(body);
  }
  void on_finish_impl(error_code&) override {}

  std::size_t take(string_view body) {
    body_bytes += body.size();
    if (sink) (*sink)(std::string_view(body.data(), body.size()));
    return body.size();
  }
};

RequestParser::RequestParser() : parser_(std::make_unique<Parser>()) {
  parser_->body_limit(boost::none);
  parser_->header_limit(64 << 10);  // header_guard's limit is the one that counts
}
RequestParser::~RequestParser() = default;

std::optional<Rejection> RequestParser::parse_header(std::string_view header) {
  error_code failed;
  const auto used = parser_->put(boost::asio::buffer(header), failed);
  if (failed || used != header.size() || !parser_->is_header_done())
    return Rejection{400, "the request is malformed"};
  auto& head = parser_->head;
  head.keep_alive = parser_->keep_alive();
  head.chunked = parser_->chunked();
  if (const auto length = parser_->content_length()) head.content_length = *length;
  return std::nullopt;
}

const RequestHead& RequestParser::head() const { return parser_->head; }

void RequestParser::limit_body(std::uint64_t bytes) { parser_->body_limit(bytes); }

bool RequestParser::done() const { return parser_->is_done(); }

std::optional<Rejection> RequestParser::feed(std::string_view bytes, std::size_t& consumed,
                                             const std::function<void(std::string_view)>& sink) {
  consumed = 0;
  parser_->sink = &sink;
  while (!parser_->is_done()) {
    error_code failed;
    const auto rest = bytes.substr(consumed);
    const auto used = parser_->put(boost::asio::buffer(rest), failed);
    consumed += used;
    if (failed == http::error::body_limit)
      return Rejection{413, "the body is larger than this endpoint takes"};
    if (failed && failed != http::error::need_more)
      return Rejection{400, "the request's body is malformed"};
    if (used == 0) {
      if (rest.size() > max_chunk_header_bytes)
        return Rejection{400, "a chunk's header or the trailers are too long"};
      break;
    }
  }
  return std::nullopt;
}

}  // namespace tandem::net
