// Asking an actor under virtual time: the answer, or that there will be none, is there after run().
#pragma once

#include <caf/event_based_actor.hpp>
#include <memory>
#include <optional>

#include "sim/virtual_runtime.hpp"

namespace tandem::sim {

template <class Reply>
struct Answer {
  std::optional<Reply> value;
  std::optional<caf::error> failure;
};

template <class Reply, class Handle, class Message>
std::shared_ptr<Answer<Reply>> ask(VirtualRuntime& virtual_time, const Handle& to,
                                   Message message) {
  auto answer = std::make_shared<Answer<Reply>>();
  virtual_time.system().spawn(
      [](caf::event_based_actor* self, const std::shared_ptr<Answer<Reply>>& into,
         const Handle& target, const Message& question) {
        self->request(target, caf::infinite, question)
            .then([into](const Reply& reply) { into->value = reply; },
                  [into](const caf::error& reason) { into->failure = reason; });
      },
      answer, to, std::move(message));
  return answer;
}

}  // namespace tandem::sim
