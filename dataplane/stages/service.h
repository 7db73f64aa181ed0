// Service: for the first packet of a flow, may it begin at all, and where does it really go?
//
// The choice of backend and of masquerading is that of kube-proxy's nftables mode; the README has
// the table. Nothing is written to the packet: the choice stands in its Admission.
#pragma once

#include <string_view>

#include "dataplane/verdict.h"
#include "dataplane/worker.h"

namespace podwire::stages {

struct Service {
  static constexpr std::string_view name = "service";
  static Verdict decide(Packet& p, Worker& w) noexcept;
};

}  // namespace podwire::stages
