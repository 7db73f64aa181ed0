// Two memif ports of this process on one socket, a server and a client, and the memif thread
// between them.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "dataplane/io/memif_service.h"
#include "tests/io/frames.h"

namespace podwire::test {

inline bool eventually(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

inline std::string own_socket(const std::string& name) {
  return "@podwire-" + std::to_string(getpid()) + "-" + name;
}

class MemifPair {
 public:
  using Change = std::function<void(io::MemifSpec& server, io::MemifSpec& client)>;
  explicit MemifPair(const Change& change = nullptr, unsigned workers = 1) {
    packets();  // starts the EAL
    auto started = io::MemifService::start(quiescence, [](const std::string&) {});
    EXPECT_TRUE(started) << started.error().message;
    service = *started;
    static int number = 0;
    server_spec.address.socket = client_spec.address.socket = own_socket(std::to_string(++number));
    client_spec.terms.role = io::MemifRole::client;
    if (change) change(server_spec, client_spec);
    server = open(server_spec, workers);
    client = open(client_spec, workers);
  }
  [[nodiscard]] std::shared_ptr<io::MemifPort> open(const io::MemifSpec& spec,
                                                    unsigned workers = 1) const {
    auto port = service->open(spec, workers, packets(), large());
    EXPECT_TRUE(port) << port.error().message;
    return port ? *port : nullptr;
  }
  [[nodiscard]] bool connect() const {
    return eventually([&] { return server->up() && client->up(); });
  }

  tables::Quiescence quiescence{2};  // nobody of it is online: links go at once
  std::shared_ptr<io::MemifService> service;
  io::MemifSpec server_spec, client_spec;
  std::shared_ptr<io::MemifPort> server, client;
};

}  // namespace podwire::test
