#include "net/resumables.hpp"

#include <algorithm>
#include <iterator>
#include <spdlog/spdlog.h>

#include "net/response_stream.hpp"

namespace tandem::net {
namespace {

using std::chrono::steady_clock;

/// Ids that were resumable once: so many are told apart from those that never were.
constexpr std::size_t max_expired_ids = 4096;

}  // namespace

Resumables::Resumables(boost::asio::io_context& io, const ServerOptions& options)
    : options_(options), changed_(io) {}
Resumables::~Resumables() = default;

void Resumables::add(ResponseStreamPtr stream, Holder& holder) {
  const auto id = stream->id();
  entries_.emplace(id, Entry{std::move(stream), &holder, never});
}

void Resumables::hand_back(const std::string& response_id) {
  const auto found = entries_.find(response_id);
  if (found == entries_.end()) return;
  auto& entry = found->second;
  if (closed_ || !entry.stream->opened()) {
    entries_.erase(found);
    return;
  }
  entry.holder = nullptr;
  keep_until(response_id, entry, steady_clock::now() + options_.resume_window);
  if (!entry.stream->ended()) running_.insert(response_id);
  entry.stream->rewire(changed_);
  changed_.raise();
}

void Resumables::keep_until(const std::string& id, Entry& entry, SteadyTime until) {
  kept_.erase({entry.keep_until, id});
  entry.keep_until = until;
  kept_.emplace(until, id);
}

/// Somebody else looks after it.
void Resumables::leave_alone(const std::string& id, Entry& entry) {
  kept_.erase({entry.keep_until, id});
  running_.erase(id);
  entry.keep_until = never;
}

Result<ResponseStreamPtr> Resumables::find(const std::string& response_id,
                                           const std::string& tenant) const {
  const auto found = entries_.find(response_id);
  if (found != entries_.end() && found->second.stream->tenant() == tenant)
    return found->second.stream;
  const auto expired = expired_.find(response_id);
  if (expired != expired_.end() && expired->second == tenant)
    return error(Errc::resume_window_expired,
                 "this response can no longer be resumed: its events are kept for a while only",
                 "response_id");
  return error(Errc::response_not_found,
               "no resumable response of that id is known to this process", "response_id");
}

Result<ResponseStreamPtr> Resumables::take(const std::string& response_id,
                                           const std::string& tenant, std::int64_t starting_after,
                                           Holder& holder, Signal& wake) {
  const auto stream = find(response_id, tenant);
  if (!stream) return stream.error();
  auto& entry = entries_.at(response_id);
  const auto last = (*stream)->num_events() - 1;
  if (starting_after > last)
    return error(Errc::invalid_value,
                 "'starting_after' is " + std::to_string(starting_after) +
                     "; the last event so far has the number " + std::to_string(last),
                 "starting_after");
  if (entry.holder != nullptr) entry.holder->release(response_id);
  leave_alone(response_id, entry);
  entry.holder = &holder;
  (*stream)->rewire(wake);
  (*stream)->rewind(starting_after + 1);
  return stream;
}

void Resumables::forget(const std::string& id) {
  const auto at = entries_.find(id);
  const auto stream = at->second.stream;
  leave_alone(id, at->second);
  entries_.erase(at);
  stream->drop_log();
  expired_.emplace(id, stream->tenant());
  expired_order_.push_back(id);
  if (expired_order_.size() > max_expired_ids) {
    expired_.erase(expired_order_.front());
    expired_order_.pop_front();
  }
}

std::string Resumables::victim() const {
  if (!kept_.empty()) return kept_.begin()->second;
  // What is being replayed does not grow, and cannot be taken away from its reader.
  for (const auto& [id, entry] : entries_)
    if (entry.stream->replayed() && entry.stream->log_bytes() > 0) return id;
  return {};
}

void Resumables::make_room() {
  while (log_bytes_ > options_.resume_buffer_bytes) {
    const auto id = victim();
    if (id.empty()) return;
    spdlog::debug("response_not_resumable id={} reason=buffer_full", id);
    forget(id);
  }
}

SteadyTime Resumables::next_deadline() const {
  auto next = kept_.empty() ? never : kept_.begin()->first;
  for (const auto& id : running_) next = std::min(next, entries_.at(id).stream->next_deadline());
  return next;
}

boost::asio::awaitable<void> Resumables::run() {
  while (!closed_) {
    const auto now = steady_clock::now();
    for (auto at = running_.begin(); at != running_.end();) {
      auto& entry = entries_.at(*at);
      entry.stream->keep();
      const bool ended = entry.stream->ended();
      if (ended) keep_until(*at, entry, now + options_.resume_window);
      at = ended ? running_.erase(at) : std::next(at);
    }
    while (!kept_.empty() && now >= kept_.begin()->first)
      forget(std::string(kept_.begin()->second));
    make_room();
    co_await changed_.wait(next_deadline());
  }
}

void Resumables::close() {
  closed_ = true;
  kept_.clear();
  running_.clear();
  std::erase_if(entries_, [](const auto& one) { return one.second.holder == nullptr; });
  changed_.raise();
}

}  // namespace tandem::net
