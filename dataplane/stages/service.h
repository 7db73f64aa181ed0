// Service: for the first packet of a flow, may it begin at all, and where does it really go?
//
// The choice of backend and of masquerading is that of kube-proxy's nftables mode; the README has
// the table. Nothing is written to the packet: the choice stands in its Admission.
//
// The choice depends on the packet and the snapshot alone, session affinity excepted: the steps
// make it for all fresh packets of a burst, so that the places of both directions in the flow table
// are on their way to the cache when the first of them is decided.
#pragma once

#include <string_view>

#include "dataplane/verdict.h"
#include "dataplane/worker.h"

namespace podwire::stages {

struct Service {
  static constexpr std::string_view name = "service";
  static void seek(Packet& p, Worker& w) noexcept;    // the places of the flow and the frontend
  static void find(Packet& p, Worker& w) noexcept;    // the frontend and its Service
  static void draw(Packet& p, Worker& w) noexcept;    // one of its backends
  static void choose(Packet& p, Worker& w) noexcept;  // where the packet goes, and its reply's key
  static constexpr std::array<Step, 4> steps{seek, find, draw, choose};
  static Verdict decide(Packet& p, Worker& w) noexcept;
};

}  // namespace podwire::stages
