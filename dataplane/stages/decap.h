// IPIP (RFC 2003) from the uplink: the outer header goes, the inner packet is parsed as any other
// and continues as Source::tunnel.
//
// Accepted only towards one of this node's own addresses and only from a known node; what the inner
// packet may be for is checked when its flow is routed (route.h), so that a known flow does not pay
// for it.
#pragma once

#include <string_view>

#include "dataplane/verdict.h"
#include "dataplane/worker.h"

namespace podwire::stages {

struct Decap {
  static constexpr std::string_view name = "decap";
  static Verdict decide(Packet& p, Worker& w) noexcept;
};

}  // namespace podwire::stages
