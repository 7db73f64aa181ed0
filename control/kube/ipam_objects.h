// Pools of addresses and what Calico keeps of them in the API server: projectcalico.org/v3 and
// crd.projectcalico.org/v1 IPPool, BlockAffinity, IPAMBlock, IPAMConfig, IPReservation. Sources:
// projectcalico/calico api/pkg/apis/projectcalico/v3/{ippool,ipamblocks,ipreservation}.go,
// libcalico-go/lib/apis/v3/{blockaffinity,ipamconfig}.go.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "control/kube/calico_selector.h"
#include "control/kube/meta.h"
#include "dataplane/net/address.h"

namespace podwire::control::kube {

enum class TunnelMode : std::uint8_t { never, always, cross_subnet };
struct IpPool {
  Meta meta;
  net::Prefix cidr;
  TunnelMode ipip = TunnelMode::never;
  bool nat_outgoing = false;
  bool disabled = false;
  bool disable_bgp_export = false;
  bool for_pods = true;          // allowedUses holds Workload
  bool for_tunnels = true;       // allowedUses holds Tunnel
  bool manual = false;           // assignmentMode Manual: only for pods that name the pool
  std::uint8_t block_size = 26;  // length of its blocks' prefixes
  CalicoSelector nodes, namespaces;
  bool operator==(const IpPool&) const = default;
};

// A node says that a block is its own. Only a confirmed one is.
struct BlockAffinity {
  enum class State : std::uint8_t { pending, confirmed, pending_deletion };
  Meta meta;
  State state = State::pending;
  std::string node;
  net::Prefix cidr;
  bool deleted = false;
  bool operator==(const BlockAffinity&) const = default;
};

struct IpamBlock {
  struct Allocation {
    net::Address address;
    std::string handle;           // whose it is: "k8s-pod-network.<container id>"
    std::string node, pod, type;  // "node", "namespace/name"; type: not of a pod
    bool operator==(const Allocation&) const = default;
  };
  Meta meta;
  net::Prefix cidr;
  std::string node;  // it has affinity to; empty: none
  bool deleted = false;
  std::uint32_t free = 0;  // addresses
  std::vector<Allocation> allocations;
  bool operator==(const IpamBlock&) const = default;
};

struct IpamConfig {
  Meta meta;
  bool strict_affinity = false;       // nobody takes addresses of others' blocks
  bool allocate_blocks = true;        // autoAllocateBlocks
  std::uint32_t blocks_per_host = 0;  // maxBlocksPerHost; 0: kBlocksPerHost
  bool operator==(const IpamConfig&) const = default;
};
inline constexpr unsigned kLargestBlockBits = 12;    // a /20, or a /116
inline constexpr std::uint32_t kBlocksPerHost = 20;  // libcalico-go/lib/ipam/ipam.go

struct IpReservation {  // addresses that are given to nobody
  Meta meta;
  std::vector<net::Prefix> cidrs;
  bool operator==(const IpReservation&) const = default;
};

}  // namespace podwire::control::kube
