// /v1/batches: each call becomes one question to the offline queue.
#include "api/format.hpp"
#include "api/parse.hpp"
#include "net/exchange.hpp"
#include "net/parse_limits.hpp"
#include "net/query.hpp"
#include "net/routes.hpp"

namespace tandem::net {
namespace {

namespace asio = boost::asio;
constexpr std::size_t max_idempotency_key_bytes = 255;

void reply_batch(Exchange& exchange, const Result<store::BatchInfo>& batch) {
  if (batch)
    exchange.reply_json(api::batch_object(*batch));
  else
    exchange.fail(batch.error());
}

/// A caller's own Idempotency-Key, or what stands for one: official clients send none, but say
/// which try it is, so the same body again within the store's ten minutes is the batch that was
/// made the first time. A first try is always a new batch.
void add_idempotency(const Exchange& exchange, std::string_view key, std::string_view body,
                     msg::CreateBatch& create) {
  const auto& tries = exchange.head.value("x-stainless-retry-count");
  create.takes_over_key = key.empty() && (tries.empty() || tries == "0");
  create.idempotency_key =
      exchange.tenant + (key.empty() ? "/body/" + hex(sha256(body)) : "/key/" + std::string(key));
}

}  // namespace

asio::awaitable<void> post_batches(Exchange& exchange) {
  const auto key = exchange.head.value("idempotency-key");
  if (key.size() > max_idempotency_key_bytes)
    co_return exchange.fail(error(
        Errc::invalid_value,
        "an Idempotency-Key has at most " + std::to_string(max_idempotency_key_bytes) + " bytes",
        "Idempotency-Key"));
  const auto body = co_await exchange.read_body();
  if (!body) co_return;
  auto parsed = api::parse_batch_create(*body, parse_limits(exchange.services));
  if (!parsed) co_return exchange.fail(parsed.error());
  msg::CreateBatch create;
  create.input_file_id = std::move(parsed->input_file_id);
  create.endpoint = std::move(parsed->endpoint);
  create.completion_window = std::move(parsed->completion_window);
  create.window_seconds = parsed->window_seconds;
  create.metadata = std::move(parsed->metadata);
  create.output_expires_after_seconds = parsed->output_expires_after_seconds;
  create.ignored_fields = parsed->num_ignored;
  add_idempotency(exchange, key, *body, create);
  const auto batch = co_await exchange.services.bridge.ask(std::move(create));
  reply_batch(exchange, batch);
}

asio::awaitable<void> list_batches(Exchange& exchange) {
  const auto limit = query_number(exchange.head.query, "limit", 1, 100, 20);
  if (!limit) co_return exchange.fail(limit.error());
  msg::ListBatches list;
  list.limit = *limit;
  list.after = query_value(exchange.head.query, "after").value_or("");
  const auto page = co_await exchange.services.bridge.ask(std::move(list));
  if (page)
    exchange.reply_json(api::batch_list(page->batches, page->has_more));
  else
    exchange.fail(page.error());
}

asio::awaitable<void> get_batch(Exchange& exchange) {
  msg::GetBatch get{exchange.parameters.at(0)};
  const auto batch = co_await exchange.services.bridge.ask(std::move(get));
  reply_batch(exchange, batch);
}

asio::awaitable<void> cancel_batch(Exchange& exchange) {
  // Clients send an empty JSON object, or nothing.
  if (!co_await exchange.read_body()) co_return;
  msg::CancelBatch cancel{exchange.parameters.at(0)};
  const auto batch = co_await exchange.services.bridge.ask(std::move(cancel));
  reply_batch(exchange, batch);
}

}  // namespace tandem::net
