// See item_desk.hpp.
#include "actors/item_desk.hpp"

#include "actors/batch_validation.hpp"
#include "actors/prepare.hpp"
#include "api/errors.hpp"
#include "api/format.hpp"
#include "api/ids.hpp"
#include "core/fnv.hpp"

namespace tandem {
namespace {

/// Items without a seed get one from their place in the batch: a rerun after a crash draws the same
/// tokens.
std::uint64_t item_seed(const ItemText& item) {
  return fnv1a(item.batch_id, fnv_basis ^ static_cast<std::uint64_t>(item.line_no));
}

}  // namespace

Result<PreparedItem> prepare_item(const ItemText& item, const ServedModel& model,
                                  const api::ParseLimits& limits) {
  const auto line = api::parse_batch_line(item.text);
  if (!line) return line.error();
  const auto endpoint = batch_endpoint(item.endpoint);
  if (!endpoint)
    return error(Errc::invalid_value,
                 "endpoint '" + std::string(item.endpoint) + "' is not allowed in batches", "url");
  auto parsed = api::parse_call(*endpoint, line->body, limits);
  if (!parsed) return parsed.error();
  auto& call = parsed->call;
  call.request_class = RequestClass::offline;
  call.service_tier = "flex";
  auto prepared = prepare(call, model, {}, item_seed(item));
  if (!prepared) return prepared.error();
  return PreparedItem{std::move(call), std::move(prepared->requests), prepared->prompt_end};
}

ItemDesk::ItemDesk(ServedModelPtr model, api::ParseLimits limits)
    : model_(std::move(model)), limits_(std::move(limits)) {}

Result<std::vector<RequestPtr>> ItemDesk::open(const store::ClaimedItem& item, TimePoint now) {
  auto prepared = prepare_item({.text = item.text,
                                .endpoint = item.endpoint,
                                .batch_id = item.ref.batch_id,
                                .line_no = item.ref.line_no},
                               *model_, limits_);
  if (!prepared) return prepared.error();
  Item entry{
      .ref = item.ref, .collector = {}, .requests_left = prepared->requests.size(), .requests = {}};
  std::vector<AcceptedChoice> choices;
  std::vector<RequestPtr> requests;
  for (auto& request : prepared->requests) {
    request.id = RequestId(next_request_++);
    request.arrival = now;
    item_of_.emplace(request.id, next_item_);
    entry.requests.push_back(request.id);
    choices.push_back({request.id, Tokens(static_cast<std::int64_t>(request.prompt.size())),
                       prepared->prompt_end});
    requests.push_back(std::make_shared<const Request>(std::move(request)));
  }
  entry.collector = std::make_unique<api::CallCollector>(
      std::move(prepared->call), std::move(choices),
      api::AnswerSource{model_->tokenizer, model_->answer_format});
  items_.emplace(next_item_++, std::move(entry));
  return requests;
}

store::FinishedItem ItemDesk::rejected(const store::ItemRef& ref, const Error& reason) {
  return {.ref = ref,
          .status_code = api::http_status(reason.code),
          .request_id = api::random_id("req-"),
          .body = api::error_body(reason)};
}

ItemDesk::Step ItemDesk::push(const TokenEvent& event, std::int64_t unix_now) {
  const auto found = item_of_.find(event.id);
  if (found == item_of_.end()) return {};
  const auto key = found->second;
  auto& item = items_.at(key);
  Step step;
  if (item.collector->push(event)) step.cancel.push_back(event.id);
  if (!event.finish) return step;
  if (event.finish == FinishReason::failed) item.engine_failed = true;
  item_of_.erase(found);
  if (--item.requests_left > 0) return step;
  auto closed = close(key, unix_now);
  closed.cancel = std::move(step.cancel);
  return closed;
}

ItemDesk::Step ItemDesk::close(std::uint64_t key, std::int64_t unix_now) {
  const auto node = items_.extract(key);
  const auto& item = node.mapped();
  Step step;
  if (item.engine_failed || item.given_up || item.collector->cancelled()) {
    step.returned = item.ref;
    step.return_reason =
        item.engine_failed ? store::ReturnReason::engine_failed : store::ReturnReason::drained;
    return step;
  }
  const auto usage = item.collector->usage();
  step.finished = store::FinishedItem{
      .ref = item.ref,
      .status_code = 200,
      .request_id = api::random_id("req-"),
      .body = api::reply_body(
          api::new_reply_head(item.collector->call(), unix_now, model_->fingerprint),
          *item.collector),
      .prompt_tokens = usage.prompt.value(),
      .cached_tokens = usage.cached.value(),
      .completion_tokens = usage.completion.value(),
      .reasoning_tokens = usage.reasoning.value()};
  return step;
}

std::vector<RequestId> ItemDesk::give_up_batch(const std::string& batch_id) {
  std::vector<RequestId> requests;
  for (auto& [key, item] : items_) {
    if (item.ref.batch_id != batch_id) continue;
    item.given_up = true;
    requests.insert(requests.end(), item.requests.begin(), item.requests.end());
  }
  return requests;
}

}  // namespace tandem
