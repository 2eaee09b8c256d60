// A real encoder on a thread of its own: how nice that thread is while it encodes.
#include <algorithm>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <catch2/catch.hpp>
#include <sys/resource.h>

#include "actors/spawn.hpp"

using namespace tandem;

namespace {

/// The one token of any text is the niceness of the thread that encodes it.
class NicenessTokenizer final : public model::Tokenizer {
 public:
  std::vector<TokenId> encode(std::string_view, bool, bool) const override {
    return {getpriority(PRIO_PROCESS, 0)};
  }
  std::string_view token_bytes(TokenId) const override { return "x"; }
  bool is_special(TokenId) const override { return false; }
  std::optional<TokenId> find(std::string_view) const override { return std::nullopt; }
  std::size_t vocab_size() const override { return 20; }
};

TokenId niceness_of_encoder(caf::actor_system& system, bool detached, std::uint32_t niceness) {
  ServedModel model{.name = "nice", .max_context = Tokens(200)};
  model.tokenizer = std::make_shared<NicenessTokenizer>();
  const auto encoder = spawn_encoder(system, detached, niceness,
                                     std::make_shared<const ServedModel>(std::move(model)));
  GenerateCall call{.model = "nice", .prompts = {"text"}};
  TokenId seen = -1;
  caf::scoped_actor self{system};
  self->request(encoder, std::chrono::seconds(20),
                msg::Prepare{std::make_shared<const GenerateCall>(call), "", 0})
      .receive(
          [&](const msg::Reply<PreparedCall>& reply) {
            REQUIRE(reply.value.has_value());
            seen = reply.value->requests.at(0).prompt.at(0);
          },
          [](const caf::error&) { FAIL("no answer"); });
  self->send_exit(encoder, caf::exit_reason::user_shutdown);
  self->wait_for(encoder);
  return seen;
}

}  // namespace

TEST_CASE("an encoder's thread is nicer than the process, and no other thread is") {
  caf::actor_system_config config;
  caf::actor_system system{config};
  const auto own = getpriority(PRIO_PROCESS, 0);
  CHECK(niceness_of_encoder(system, true, 0) == own);
  CHECK(niceness_of_encoder(system, true, 7) == std::min(own + 7, 19));
  CHECK(niceness_of_encoder(system, true, 19) == 19);
  CHECK(niceness_of_encoder(system, false, 7) == own);  // the thread is not its own
  CHECK(getpriority(PRIO_PROCESS, 0) == own);
}
