// Encoder: renders and tokenizes what would hold request intake up. One of a small pool; owns
// nothing but the tokenizer's word cache of its thread.
//   in   Prepare     answered by a PreparedCall, or by the Error that the caller will see
//        AnswerText  answered by the body of the reply, or likewise
//   Detached in service. Intake gives it one job at a time, so its mailbox holds no queue.
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

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

Encoder::behavior_type encoder(Self self, ServedModelPtr model) {
  install_handlers(self);
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

Encoder spawn_encoder(caf::actor_system& system, bool detached, ServedModelPtr model) {
  return spawn_actor(system, detached, encoder, std::move(model));
}

}  // namespace tandem
