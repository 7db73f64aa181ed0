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

constexpr std::uint32_t kSomeFlows[] = {0, 1, 2, 50'001, kMostFlows - 1};

void begin(World& world, const In& in) {
  Burst batch;
  batch.append(world.make_buffer(in), world.port_id(in.port));
  world.worker().process(batch);
  for (const char* name : {"a", "b", "uplink"}) {
    for (rte_mbuf* mbuf : world.port(name).sent) rte_pktmbuf_free(mbuf);
    world.port(name).sent.clear();
  }
}

// What bench/path measures is right: the first packet of a flow, and those that find it.
PACKET_CASE(FlowCasesLeaveAsTheySay) {
  for (const FlowCase& c : flow_cases()) {
    SCOPED_TRACE(c.name);
    World world;
    c.set_up(world);
    for (const std::uint32_t i : kSomeFlows) {
      begin(world, c.opens(i));
      for (const auto& following : c.then) begin(world, following(i));
    }
    for (const std::uint32_t i : kSomeFlows) {
      RUN(world, {.in = {c.packet(i)},
                  .out = {c.leaves(i)},
                  .counters = tunnel_counters(c.packet(i), c.leaves(i))});
    }
  }
}

}  // namespace
}  // namespace podwire::test
