// Service: for the first packet of a flow, may it begin at all, and where does it really go?
//
// The choice of backend and of masquerading is that of kube-proxy's nftables mode; the README has
// the table. Nothing is written to the packet: the choice stands in its Admission.
//
// The choice depends on the packet and the snapshot alone, session affinity excepted: `key` makes
// it for all fresh packets of a burst, so that the places of both directions in the flow table are
// on their way to the cache when the first of them is decided.
#pragma once

#include <string_view>

#include "dataplane/verdict.h"
#include "dataplane/worker.h"

namespace podwire::stages {

struct Service {
  static constexpr std::string_view name = "service";
  static void key(Packet& p, Worker& w) noexcept;
  static void hint(Packet& p, Worker& w) noexcept;
  static Verdict decide(Packet& p, Worker& w) noexcept;
};

}  // namespace podwire::stages
