// Everything the workers read, as of one moment. Built on the control thread, published by storing
// one pointer, loaded by a worker once per batch, destroyed on the control thread after every
// worker has passed a quiescent point.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/net/address.h"
#include "dataplane/tables/policies.h"
#include "dataplane/tables/policy_table.h"
#include "dataplane/tables/ports.h"
#include "dataplane/tables/routes.h"
#include "dataplane/tables/services.h"

namespace podwire::tables {

struct Snapshot {
  std::uint64_t generation = 0;  // moves with every publication
  // A flow remembers both; on a difference it is judged or routed again at its next packet.
  std::uint32_t policy_generation = 0;  // moves when an answer of `policies` may have changed
  std::uint32_t route_generation = 0;   // moves when a prefix leads to another NextHopId
  // False until every object source has delivered its first complete set. Until then only the
  // node's own traffic passes (host <-> uplink), so that the source can be reached at all.
  bool synced = false;

  std::shared_ptr<const PortTable> ports;        // never null
  std::shared_ptr<const ServiceTable> services;  // never null
  std::shared_ptr<const PolicyTable> policies;   // never null
  std::shared_ptr<const RouteTable> routes;      // never null
  std::vector<net::Address> node_addresses;      // this node's own, sorted

  // Moves with either of them, as both only grow.
  [[nodiscard]] std::uint32_t flow_generation() const noexcept {
    return policy_generation + route_generation;
  }
  [[nodiscard]] bool is_own_address(const net::Address& address) const noexcept;
};

}  // namespace podwire::tables
