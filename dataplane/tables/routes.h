// Where packets go: longest prefix to next hop, next hop to port, Ethernet address and tunnel.
// Immutable once published; a change copies the path in the trie and one chunk of next hops.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/net/address.h"
#include "dataplane/packet.h"
#include "dataplane/tables/lpm.h"
#include "dataplane/tables/pool_table.h"

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
  several,     // one of RouteTable::groups[group], by the flow's hash; no packet is sent by it
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
  std::uint32_t group = 0;
  bool operator==(const NextHop&) const = default;
};
static_assert(sizeof(NextHop) == 64);

// Several paths to one prefix (Linux's multipath). A flow's hash leads to one of 1,024 places, each
// of which belongs to a path, to as many as its weight says, within some percent. Whose a place is
// depends on the paths and weights alone: a path that goes gives its own places to the others and
// moves nobody else's, and has them again when it comes back (weighted rendezvous hashing).
class PathGroup {
 public:
  struct Path {
    NextHopId id = kNoNextHop;
    std::uint32_t weight = 1;    // 1 or more
    std::uint64_t identity = 0;  // what it is, whatever its number: two of a group differ
  };
  explicit PathGroup(const std::vector<Path>& paths);  // one or more
  [[nodiscard]] NextHopId choose(std::uint32_t hash) const noexcept {
    return places_[(hash * kSpread) >> (32U - kPlaceBits)];
  }
  // How many of the places belong to each path, and how many there are.
  static constexpr unsigned kPlaceBits = 10, kPlaces = 1U << kPlaceBits;
  [[nodiscard]] unsigned places_of(NextHopId id) const noexcept;
  [[nodiscard]] const std::vector<Path>& paths() const noexcept { return paths_; }

 private:
  // Other bits of the hash choose the worker and the flow's place in the table.
  static constexpr std::uint32_t kSpread = 0x9e3779b1;
  std::array<NextHopId, kPlaces> places_{};
  const std::vector<Path> paths_;
};

struct RouteTable {
  Lpm<NextHopId> prefixes;                               // both families
  std::vector<NextHop> next_hops;                        // by NextHopId; 0 is "none"
  std::vector<std::shared_ptr<const PathGroup>> groups;  // by NextHop::group
  PoolTable pools;
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
  // The flow's own where there are several.
  [[nodiscard]] NextHopId find(const net::Address& destination, std::uint32_t hash) const noexcept {
    const NextHopId id = find(destination);
    const NextHop& hop = at(id);
    return hop.kind == NextHopKind::several ? groups[hop.group]->choose(hash) : id;
  }
  // Calico's natOutgoing: the source is in a pool that asks for it, the destination in no pool at
  // all.
  [[nodiscard]] bool masquerades(const net::Address& source,
                                 const net::Address& destination) const noexcept {
    const PoolTable::Pool* pool = pools.find(source);
    return pool != nullptr && pool->nat_outgoing && pools.find(destination) == nullptr;
  }
  [[nodiscard]] bool is_tunnel_peer(net::be32 address) const noexcept;
};

}  // namespace podwire::tables
