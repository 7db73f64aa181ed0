#include "tests/packet/packet_case.h"

namespace podwire::test {
namespace {

PACKET_CASE(ServicePodToClusterIp) {
  World world;
  world.add_cluster_ip(17, "10.96.0.1:53", {"10.244.1.3:5353"});
  world.publish();
  const Frame question = udp("10.244.1.2", 4000, "10.96.0.1", 53);
  RUN(world, {.in = {{"a", question}},
              .out = {{"b", question.to("10.244.1.3", 5353).one_hop_less()}},
              .counters = {{"flows_created", 1}}});
  const Frame answer = udp("10.244.1.3", 5353, "10.244.1.2", 4000);
  RUN(world, {.in = {{"b", answer}}, .out = {{"a", answer.from("10.96.0.1", 53).one_hop_less()}}});
  RUN(world,
      {.in = {{"a", question}}, .out = {{"b", question.to("10.244.1.3", 5353).one_hop_less()}}});
}

}  // namespace
}  // namespace podwire::test
