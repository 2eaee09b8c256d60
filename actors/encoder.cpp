// Encoder: renders and tokenizes what would hold request intake up. One of a small pool; owns
// nothing but the tokenizer's word cache of its thread.
//   in   Prepare     answered by a PreparedCall, or by the Error that the caller will see
//        AnswerText  answered by the body of the reply, or likewise
//   Detached in service, on a thread that yields to those that make tokens. Intake gives it one job
//   at a time, so its mailbox holds no queue.
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <sys/resource.h>

#include "actors/actor_support.hpp"
#include "actors/prepare.hpp"
#include "actors/spawn.hpp"
#include "actors/text_answer.hpp"

namespace tandem {
namespace {

struct EncoderState {
  static inline const char* name = "encoder";
  ServedModelPtr model;
};
using Self = Encoder::stateful_pointer<EncoderState>;

/// Of the calling thread alone: Linux takes the 0 for it. What is more than 19 becomes 19.
void add_niceness(std::uint32_t niceness) {
  const auto now = getpriority(PRIO_PROCESS, 0);
  if (setpriority(PRIO_PROCESS, 0, now + static_cast<int>(niceness)) != 0)
    spdlog::warn("encoder_niceness_failed niceness={}", niceness);
}

Encoder::behavior_type encoder(Self self, std::uint32_t niceness, ServedModelPtr model) {
  install_handlers(self);
  if (niceness > 0) add_niceness(niceness);
  self->state.model = std::move(model);
  return {
      [self](const msg::Prepare& job) {
        return msg::Reply<PreparedCall>{
            prepare(*job.call, *self->state.model, job.tenant, job.default_seed)};
      },
      [self](const msg::AnswerText& job) {
        return msg::Reply<msg::TextBody>{text_body(*job.call, *self->state.model)};
      },
  };
}

}  // namespace

Encoder spawn_encoder(caf::actor_system& system, bool detached, std::uint32_t niceness,
                      ServedModelPtr model) {
  return spawn_actor(system, detached, encoder, detached ? niceness : 0, std::move(model));
}

}  // namespace tandem
