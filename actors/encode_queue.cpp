#include "actors/encode_queue.hpp"

#include <algorithm>

namespace tandem {

EncodeQueue::EncodeQueue(std::size_t encoders, std::size_t max_waiting)
    : max_waiting_(max_waiting) {
  for (std::size_t encoder = encoders; encoder > 0; --encoder) idle_.push_back(encoder - 1);
}

bool EncodeQueue::add(Job job, RequestClass request_class) {
  if (idle_.empty() && waiting() >= max_waiting_) return false;
  by_class_[static_cast<std::size_t>(request_class)].push_back(job);
  return true;
}

std::optional<EncodeQueue::Start> EncodeQueue::next() {
  if (idle_.empty()) return std::nullopt;
  for (const auto request_class : {RequestClass::online, RequestClass::offline}) {
    auto& jobs = by_class_[static_cast<std::size_t>(request_class)];
    if (jobs.empty()) continue;
    const Start start{jobs.front(), idle_.back()};
    jobs.pop_front();
    idle_.pop_back();
    return start;
  }
  return std::nullopt;
}

void EncodeQueue::done(std::size_t encoder) { idle_.push_back(encoder); }

bool EncodeQueue::remove(Job job) {
  const auto taken = [&](auto& jobs) { return std::erase(jobs, job) > 0; };
  return std::any_of(by_class_.begin(), by_class_.end(), taken);
}

std::size_t EncodeQueue::waiting() const { return by_class_[0].size() + by_class_[1].size(); }

}  // namespace tandem
