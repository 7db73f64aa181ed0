// Where the packet goes, by its destination as rewritten. A known flow remembers its next hop for
// as long as the snapshot's route_generation stands.
//
// What may not pass: anything but the node's own traffic before the first sync; from the uplink or
// a tunnel what claims to come from this node or one of its pods; from a tunnel what comes from no
// pod and no node, or goes elsewhere than to this node and its pods; and what entered by the uplink
// and would leave by it untranslated, because a node is no router for strangers.
#pragma once

#include <string_view>

#include "dataplane/verdict.h"
#include "dataplane/worker.h"

namespace podwire::stages {

struct Route {
  static constexpr std::string_view name = "route";
  static Verdict decide(Packet& p, Worker& w) noexcept;
};

// Where the flow of a packet, which has not been rewritten yet, goes from where it came: remembered
// in the flow. Null when nothing leads there, or it may not go.
const tables::NextHop* first_hop(const Packet& p, Worker& w) noexcept;

// The next hop of the packet as it stands, by the tables alone.
tables::NextHopId find_next_hop(const Packet& p, const tables::RouteTable& routes) noexcept;

}  // namespace podwire::stages
