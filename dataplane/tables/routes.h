// Where packets go: longest prefix to next hop, next hop to port, Ethernet address and tunnel.
// Immutable once published; a change copies the path in the trie and one chunk of next hops.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/net/address.h"
#include "dataplane/packet.h"
#include "dataplane/tables/lpm.h"

namespace podwire::tables {

// A next hop keeps its number for as long as it means the same prefix or gateway, also while its
// Ethernet address changes: flows hold the number.
using NextHopId = std::uint32_t;
inline constexpr NextHopId kNoNextHop = 0;

enum class NextHopKind : std::uint8_t {
  none,
  pod,         // a pod port of this node
  host,        // this node itself: the host tap
  link,        // out of the uplink to `mac`
  tunnel,      // as link, in an IPIP packet (RFC 2003) from tunnel_source to tunnel_destination
  unresolved,  // out of the uplink, but the Ethernet address of `gateway` (or, when that is
               // unspecified, of the packet's destination) is not known yet
  blackhole,   // dropped under `blackhole`
};

struct alignas(64) NextHop {  // one cache line: every packet reads one
  NextHopKind kind = NextHopKind::none;
  PortId port = kNoPort;
  std::uint16_t mtu = 1500;  // of the IP packet before encapsulation: 1480 for a tunnel over 1500
  // In the order of the frame, with what stands behind them when it carries IPv4 without options:
  // a frame's first sixteen bytes, but for the type of service.
  net::Mac destination_mac, source_mac;
  net::be16 ether_type = net::be16(net::ether_type::ipv4);
  std::uint8_t version_ihl = 0x45, tos = 0;
  net::Address gateway;
  net::be32 tunnel_source, tunnel_destination;
  // For a node's own address: the tunnel to that node, taken by packets whose source is a pod
  // address, so that the fabric never sees a pod address where the pool says tunnel. kNoNextHop:
  // none.
  NextHopId pod_source_twin = kNoNextHop;
  bool operator==(const NextHop&) const = default;
};

struct RouteTable {
  Lpm<NextHopId> prefixes;              // both families
  std::vector<NextHop> next_hops;       // by NextHopId; 0 is "none"
  Lpm<bool> pools;                      // every IPPool's prefix; true where natOutgoing
  std::vector<net::be32> tunnel_peers;  // sorted by raw value: nodes from which IPIP is accepted
  net::Address masquerade_v4, masquerade_v6;  // this node's address towards the outside
  bool has_masquerade_v4 = false, has_masquerade_v6 = false;

  [[nodiscard]] NextHopId find(const net::Address& destination) const noexcept {
    const NextHopId* id = prefixes.find(destination);
    return id == nullptr ? kNoNextHop : *id;
  }
  [[nodiscard]] const NextHop& at(NextHopId id) const noexcept {
    return next_hops[id < next_hops.size() ? id : 0];
  }
  // Calico's natOutgoing: the source is in a pool that asks for it, the destination in no pool at
  // all.
  [[nodiscard]] bool masquerades(const net::Address& source,
                                 const net::Address& destination) const noexcept {
    const bool* nat = pools.find(source);
    return nat != nullptr && *nat && pools.find(destination) == nullptr;
  }
  [[nodiscard]] bool is_tunnel_peer(net::be32 address) const noexcept;
};

}  // namespace podwire::tables
