// The first packet of a flow, when there is nothing odd about it: its short ways around the stages.
//
// Opening::take does for it what parse, decap and track do for everything; Start does what rewrite,
// route, encap and tx do, in the way that the flow's next packets will take. Both leave to the
// stages whatever else there is to do or to say.
#pragma once

#include <string_view>

#include "dataplane/flow/flow.h"
#include "dataplane/verdict.h"
#include "dataplane/worker.h"

namespace podwire::stages {

// Both are for frames that the fast path has found to be TCP or UDP over IPv4, without options, and
// of no flow.
struct Opening {
  // It would begin a flow, for which this burst makes no room any more.
  static bool is_refused(const rte_mbuf& mbuf, Worker& w) noexcept;
  // `hash` is its key's. False when its packet is not plain: then it has to be parsed.
  static bool take(Packet& p, std::uint32_t hash, Worker& w) noexcept;
};

// Of a flow's way, the first packet: the reply's first, or any after routes have changed. After a
// change of policy the stages judge the flow first.
struct FirstOfWay {
  rte_mbuf* mbuf;
  std::uint8_t* ip;
  PortId in_port;
  bool in_tunnel;
  std::uint32_t hash;  // of its key
};
// Asks what parse, decap and route ask about key, port and tables, and remembers the answer in the
// flow. Null when the stages have to see the packet; it is as it was then.
const tables::NextHop* learn_way(const FirstOfWay& first, flow::Flow<flow::V4>& flow,
                                 Worker& w) noexcept;

struct Start {
  static constexpr std::string_view name = "start";
  static Verdict decide(Packet& p, Worker& w) noexcept;
};

}  // namespace podwire::stages
