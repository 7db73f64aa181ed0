#include "tests/packet/flow_cases.h"

#include "tests/packet/packet_case.h"

namespace podwire::test {
namespace {

Counters tunnel_counters(const In& in, const Out& out) {
  Counters counters;
  if (in.frame.tunnel) counters["tunnel_in"] = 1;
  if (out.frame.tunnel) counters["tunnel_out"] = 1;
  return counters;
}

// What bench/path measures is right: the first packet of a flow, and those that find it.
PACKET_CASE(FlowCasesLeaveAsTheySay) {
  for (const FlowCase& c : flow_cases()) {
    SCOPED_TRACE(c.name);
    World world;
    c.set_up(world);
    for (const std::uint32_t i : {0U, 1U, 2U, 50001U, 3999999U}) {
      Batch batch;
      batch.append(world.make_buffer(c.opens(i)), world.port_id(c.opens(i).port));
      world.worker().process(batch);
      for (const char* name : {"a", "b", "uplink"}) {
        for (rte_mbuf* mbuf : world.port(name).sent) rte_pktmbuf_free(mbuf);
        world.port(name).sent.clear();
      }
    }
    for (const std::uint32_t i : {0U, 1U, 2U, 50001U, 3999999U}) {
      RUN(world, {.in = {c.packet(i)},
                  .out = {c.leaves(i)},
                  .counters = tunnel_counters(c.packet(i), c.leaves(i))});
    }
  }
}

}  // namespace
}  // namespace podwire::test
