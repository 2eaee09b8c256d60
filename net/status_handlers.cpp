// Health, version, metrics, models: what operators and clients ask before they ask for tokens.
#include <chrono>
#include <string>

#include "api/format.hpp"
#include "net/exchange.hpp"
#include "net/query.hpp"
#include "net/routes.hpp"

namespace tandem::net {
namespace {

namespace asio = boost::asio;
constexpr std::string_view plain_text = "text/plain; charset=utf-8";

void add_check(std::string& text, std::string_view name, const std::string& problem) {
  text += problem.empty() ? "[+]" : "[-]";
  text.append(name).append(problem.empty() ? " ok" : " failed: " + problem).append("\n");
}

}  // namespace

/// The io thread turns: that this is answered is the answer.
asio::awaitable<void> get_livez(Exchange& exchange) {
  exchange.reply(200, plain_text, "ok\n");
  co_return;
}

asio::awaitable<void> get_readyz(Exchange& exchange) {
  auto& services = exchange.services;
  const bool ends = services.draining || services.leaving;
  const std::string draining = ends ? "the service is shutting down" : "";
  const auto engine = services.not_ready_reason ? services.not_ready_reason() : std::string();
  const auto probe = co_await services.bridge.ask(msg::ProbeStore{}, std::chrono::seconds(2));
  const auto store = probe ? std::string() : probe.error().message;
  const bool ready = draining.empty() && engine.empty() && store.empty();
  std::string text = ready ? "ok\n" : "not ready\n";
  // Reasons may name folders: not for those who have no key.
  if (exchange.authorized && (!ready || query_value(exchange.head.query, "verbose"))) {
    add_check(text, "draining", draining);
    add_check(text, "engine", engine);
    add_check(text, "store", store);
  }
  exchange.reply(ready ? 200 : 503, plain_text, text, {{"Cache-Control", "no-store"}});
}

asio::awaitable<void> get_ping(Exchange& exchange) {
  exchange.reply(200, plain_text, "");
  co_return;
}

asio::awaitable<void> get_version(Exchange& exchange) {
  exchange.reply_json(api::version_object(exchange.services.version));
  co_return;
}

asio::awaitable<void> get_metrics(Exchange& exchange) {
  const auto& text = exchange.services.metrics_text;
  exchange.reply(200, "text/plain; version=0.0.4; charset=utf-8", text ? text() : std::string());
  co_return;
}

asio::awaitable<void> list_models(Exchange& exchange) {
  const auto& model = *exchange.services.model;
  exchange.reply_json(api::model_list(model.name, model.created_at, model.max_context.value()));
  co_return;
}

asio::awaitable<void> get_model(Exchange& exchange) {
  const auto& model = *exchange.services.model;
  if (exchange.parameters.at(0) == model.name)
    exchange.reply_json(api::model_object(model.name, model.created_at, model.max_context.value()));
  else
    exchange.fail(error(Errc::model_not_found,
                        "this service has the model '" + model.name + "' only", "model"));
  co_return;
}

}  // namespace tandem::net
