// What the packets of a run are: which client, Service and backends flow number n has. The numbers
// come from bench/versus/scene.py as JSON; every system is given the same.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "dataplane/net/address.h"

namespace podwire::versus {

struct Scene {
  net::Mac own_mac, router_mac;
  std::uint32_t first_client, first_service, first_backend;  // addresses as numbers
  std::uint32_t clients, services, backends, backends_per_service;
  std::uint16_t service_port, backend_port;

  [[nodiscard]] static Scene read(const std::string& file);

  // Clients change fastest, so that a thousand flows are a thousand clients.
  [[nodiscard]] std::uint32_t client(std::uint32_t flow) const {
    return first_client + flow % clients;
  }
  [[nodiscard]] std::uint16_t client_port(std::uint32_t flow) const {
    return static_cast<std::uint16_t>(1024 + flow / clients);
  }
  [[nodiscard]] std::uint32_t service(std::uint32_t flow) const {
    return first_service + flow % services;
  }
  // Is this one of the backends behind the flow's Service?
  [[nodiscard]] bool serves(std::uint32_t address, std::uint32_t flow) const {
    const std::uint32_t first = flow % services * backends_per_service % backends;
    const std::uint32_t place = address - first_backend;
    return place < backends && (place + backends - first) % backends < backends_per_service;
  }
};

}  // namespace podwire::versus
