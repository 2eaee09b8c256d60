// POST /tokenize and /detokenize: one question to request intake each.
#include <memory>
#include <spdlog/spdlog.h>
#include <utility>

#include "api/text_call.hpp"
#include "net/exchange.hpp"
#include "net/parse_limits.hpp"
#include "net/routes.hpp"

namespace tandem::net {
namespace {

namespace asio = boost::asio;
using Parse = Result<api::ParsedTextCall>(std::string_view, const api::ParseLimits&);

asio::awaitable<void> answer(Exchange& exchange, Parse& parse) {
  const auto body = co_await exchange.read_body();
  if (!body) co_return;
  auto parsed = parse(*body, parse_limits(exchange.services));
  if (!parsed) co_return exchange.fail(parsed.error());
  for (const auto& name : parsed->ignored_fields)
    spdlog::debug("field_ignored request_id={} field={}", exchange.request_id, name);
  auto& connection = *exchange.connection;
  const auto question =
      exchange.services.bridge.ask(std::make_shared<const TextCall>(std::move(parsed->call)),
                                   parsed->num_ignored, connection.changed);
  while (!question->answer()) {
    if (connection.peer_gone()) co_return;
    co_await connection.await_change(never);
  }
  if (const auto& json = *question->answer())
    exchange.reply_json(*json->json);
  else
    exchange.fail(json.error());
}

}  // namespace

asio::awaitable<void> post_tokenize(Exchange& exchange) {
  return answer(exchange, api::parse_tokenize);
}

asio::awaitable<void> post_detokenize(Exchange& exchange) {
  return answer(exchange, api::parse_detokenize);
}

}  // namespace tandem::net
