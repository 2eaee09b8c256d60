// A server on a free port over fake actors.
#pragma once

#include <atomic>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <catch2/catch.hpp>
#include <memory>
#include <string>

#include "net/server.hpp"
#include "tests/net/client.hpp"
#include "tests/net/fake_actors.hpp"

namespace tandem::tests {

class Service {
 public:
  explicit Service(net::ServerOptions options = {}) : engine(system), queue(system) {
    options.port = 0;
    options.allowed_hosts.emplace_back("x");  // what the tests' requests say
    auto started = net::Server::start(system, std::move(options), parts());
    REQUIRE(started.has_value());
    server = std::move(*started);
  }
  net::ServerParts parts() {
    return {engine.intake(),
            queue.queue(),
            fake_model(),
            [] { return "tandem_up 1\n"; },
            [this] { return std::string(not_ready.load()); },
            "1.2.3"};
  }
  [[nodiscard]] Client connect(int receive_buffer = 0) {
    return Client(server->port(), receive_buffer);
  }
  /// One request on a connection of its own.
  HttpReply ask(std::string_view request) {
    Client client(server->port());
    client.send(request);
    return client.read_reply();
  }

  struct Config : caf::actor_system_config {
    Config() {
      set("scheduler.policy", caf::atom("sharing"));
      set("scheduler.max-threads", std::size_t{2});
    }
  } config;
  caf::actor_system system{config};
  FakeEngine engine;
  FakeQueue queue;
  std::atomic<const char*> not_ready{""};
  std::unique_ptr<net::Server> server;
};

}  // namespace tandem::tests
