// The ports of the node as one snapshot sees them. Immutable once published; workers only read.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/io/port.h"
#include "dataplane/net/address.h"
#include "dataplane/packet.h"
#include "dataplane/tables/rate_limit.h"

namespace podwire::tables {

enum class PortRole : std::uint8_t { none, uplink, host, pod };

struct PortInfo {
  PortRole role = PortRole::none;
  std::string name;          // "uplink0", "host", "ns/pod/eth0"
  net::Mac mac;              // the peer's for a pod or the host; our own for an uplink
  std::uint16_t mtu = 1500;  // largest IP packet that may be sent out of it
  // Pods: the addresses they may send from. One per family.
  net::Address v4, v6;
  bool has_v4 = false, has_v6 = false;
  std::shared_ptr<io::Port> port;      // keeps the driver alive for as long as a worker may poll it
  std::shared_ptr<PortLimits> limits;  // null: neither direction has one
};

struct PortTable {
  // Indexed by PortId; a free place has role none. A PortId is not given to another port before
  // every worker has passed a quiescent point without the old one.
  std::vector<PortInfo> ports;
  PortId uplink = kNoPort;  // the one uplink of this version
  PortId host = kNoPort;
  bool any_limits = false;  // of any port: else nobody looks for them burst by burst
  std::uint64_t generation =
      0;  // moves when a port comes or goes: workers then rebuild their poll lists

  [[nodiscard]] const PortInfo* find(PortId id) const {
    return id < ports.size() && ports[id].role != PortRole::none ? &ports[id] : nullptr;
  }
};

}  // namespace podwire::tables
