// NetworkPolicy as the workers ask for it: may this flow begin (or go on)?
// Immutable once published; the row of a pod that did not change is shared between snapshots.
#pragma once

#include <cstdint>

#include "dataplane/net/address.h"

namespace podwire::tables {

// A flow as policy sees it: after service DNAT, before masquerading (Kubernetes NetworkPolicy API).
struct PolicyQuestion {
  net::Address source, destination;
  net::be16 destination_port;  // 0 for ICMP
  std::uint8_t protocol = 0;
  bool from_own_node = false;  // the node itself is the source: always allowed into its own pods
};

struct PolicyAnswer {
  bool allowed = true;
  bool egress_denied = false;  // when not allowed: which side refused
  bool ingress_denied = false;
  // When refused: a policy that isolates the pod and did not allow this; an index for
  // PolicyTable::policy_name.
  std::uint32_t policy = 0;
};

// Small numbers, given by the maker of a PolicyTable; each stands for the addresses that no rule
// can tell apart. 0: an address that no selector and no ipBlock names; rules for any peer match it.
using IdentityId = std::uint32_t;
class PolicyRow;

// What PolicyTable knows of a question's two ends: a step on the way to the answer, valid as long
// as the table.
struct PolicyEnds {
  // Of the source, and of the destination; null: it is no pod of this node, or not isolated.
  const PolicyRow *egress = nullptr, *ingress = nullptr;
  IdentityId source = 0, destination = 0;
};

}  // namespace podwire::tables
