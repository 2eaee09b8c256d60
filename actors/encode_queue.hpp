// Which call is rendered and tokenized next, and by which encoder. Values in, values out: the actor
// around it (request intake) sends the messages. At most `max_waiting` jobs wait; those that an
// encoder has taken do not count.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "core/request.hpp"

namespace tandem {

class EncodeQueue {
 public:
  using Job = std::uint64_t;
  struct Start {
    Job job = 0;
    std::size_t encoder = 0;
    friend bool operator==(const Start&, const Start&) = default;
  };

  /// Encoders are numbered from 0.
  EncodeQueue(std::size_t encoders, std::size_t max_waiting);

  /// False, and nothing is added, if every encoder is busy and so many jobs wait as may.
  [[nodiscard]] bool add(Job job, RequestClass request_class);
  /// What to start now: the oldest online job, else the oldest offline one, if an encoder is idle.
  std::optional<Start> next();
  /// The encoder has ended its job.
  void done(std::size_t encoder);
  /// Takes a job out that waits; false if none of that number does.
  bool remove(Job job);

  [[nodiscard]] std::size_t waiting() const;
  [[nodiscard]] std::size_t max_waiting() const { return max_waiting_; }

 private:
  std::vector<std::size_t> idle_;            ///< encoders; the last is taken first
  std::array<std::deque<Job>, 2> by_class_;  ///< waiting, by age
  std::size_t max_waiting_;
};

}  // namespace tandem
