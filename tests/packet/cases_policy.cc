// NetworkPolicy as the packets meet it. How policies are compiled is tests/order's matter.
#include "tests/lib/protocols.h"
#include "tests/packet/families.h"

namespace podwire::test {
namespace {

FAMILY_CASE(PolicyEgressDenied) {
  World world;
  world.isolate("a", false, {{.peers = {n.c}}});
  world.publish();
  RUN(world,
      {.in = {{"a", udp(n.a, 4000, n.b, 53)}}, .out = {}, .counters = {{"drop.policy_egress", 1}}});
  observe::Event event;
  ASSERT_TRUE(world.worker().events.pop(event));
  EXPECT_EQ(event.kind, observe::Event::Kind::policy_denied);
  EXPECT_EQ(event.source.to_string(), n.a);
  EXPECT_EQ(event.address.to_string(), n.b);
  EXPECT_EQ(event.port.host(), 53);
  EXPECT_EQ(event.protocol, kUdp);
  const Frame allowed = udp(n.a, 4000, n.c, 53);
  RUN(world,
      {.in = {{"a", allowed}}, .out = {{"c", allowed.one_hop_less()}}, .counters = kNewFlow});
}

FAMILY_CASE(PolicyIngressDenied) {
  World world;
  world.isolate("b", true, {{.peers = {n.c}}});
  world.publish();
  RUN(world, {.in = {{"a", udp(n.a, 4000, n.b, 53)}, {"uplink", udp(n.outside, 4000, n.b, 53)}},
              .out = {},
              .counters = {{"drop.policy_ingress", 2}}});
  const Frame allowed = udp(n.c, 4000, n.b, 53);
  RUN(world,
      {.in = {{"c", allowed}}, .out = {{"b", allowed.one_hop_less()}}, .counters = kNewFlow});
}

FAMILY_CASE(PolicyAllowsRepliesThoughTheirDirectionIsDenied) {
  World world;
  world.isolate("a", true, {});   // nothing may begin towards a
  world.isolate("b", false, {});  // nor may b begin anything
  world.publish();
  const Frame question = udp(n.a, 4000, n.b, 53), answer = udp(n.b, 53, n.a, 4000);
  RUN(world,
      {.in = {{"a", question}}, .out = {{"b", question.one_hop_less()}}, .counters = kNewFlow});
  RUN(world, {.in = {{"b", answer}}, .out = {{"a", answer.one_hop_less()}}});
  RUN(world,
      {.in = {{"b", udp(n.b, 54, n.a, 4000)}}, .out = {}, .counters = {{"drop.policy_egress", 1}}});
}

FAMILY_CASE(PolicySeesBackendAndItsPort) {
  World world;
  world.add_cluster_ip(kTcp, n.at(n.vip, 80), {n.at(n.b, 8080)});
  world.isolate("a", false, {{.peers = {n.b}, .ports = {8080}, .protocol = kTcp}});
  world.isolate("b", true, {{.peers = {n.a}, .ports = {8080}, .protocol = kTcp}});
  world.publish();
  const Frame syn = tcp(n.a, 4000, n.vip, 80, "S");
  RUN(world,
      {.in = {{"a", syn}}, .out = {{"b", syn.to(n.b, 8080).one_hop_less()}}, .counters = kNewFlow});
  RUN(world, {.in = {{"a", tcp(n.a, 4001, n.b, 80, "S")}},
              .out = {},
              .counters = {{"drop.policy_egress", 1}}});
}

FAMILY_CASE(PolicySeesClientBeforeMasquerading) {
  World world;
  const auto service = world.add_service(kUdp, {n.at(n.b, 5353)}, {});
  world.add_frontend(service, tables::FrontendKind::node_port, n.node_port(30053));
  world.isolate("b", true, {{.peers = {n.v4 ? "198.51.100.0/24" : "2001:db8:99::/64"}}});
  world.publish();
  const Frame question = udp(n.outside, 4000, n.node, 30053);
  std::uint16_t port = 0;
  RUN(world, {.in = {{"uplink", question}},
              .out = {{"b", question.from(n.node).to(n.b, 5353).one_hop_less(), &port}},
              .counters = kNewFlow});
  RUN(world, {.in = {{"a", udp(n.a, 4000, n.node, 30053)}},
              .out = {},
              .counters = {{"drop.policy_ingress", 1}}});
}

FAMILY_CASE(PolicyAlwaysAllowsTheNodeIntoItsPods) {
  World world;
  world.isolate("b", true, {});
  world.publish();
  const Frame probe = tcp(n.node, 4000, n.b, 8080, "S");
  RUN(world, {.in = {{"host", probe}}, .out = {{"b", probe}}, .counters = kNewFlow});
  RUN(world, {.in = {{"uplink", tcp(n.node2, 4000, n.b, 8080, "S")}},
              .out = {},
              .counters = {{"drop.policy_ingress", 1}}});
}

FAMILY_CASE(PolicyChangeCutsFlowAtItsNextPacket) {
  World world;
  const Frame question = udp(n.a, 4000, n.b, 53), answer = udp(n.b, 53, n.a, 4000);
  RUN(world,
      {.in = {{"a", question}}, .out = {{"b", question.one_hop_less()}}, .counters = kNewFlow});
  world.isolate("b", true, {{.peers = {n.c}}});
  world.publish();
  // The reply is judged by the question, which is no longer allowed.
  RUN(world,
      {.in = {{"b", answer}},
       .out = {},
       .counters = {{"drop.policy_changed", 1}, {"policy_rejudged", 1}, {"flows_removed", 1}}});
  RUN(world, {.in = {{"a", question}}, .out = {}, .counters = {{"drop.policy_ingress", 1}}});
}

FAMILY_CASE(PolicyChangeThatAllowsJudgesEachDirectionOnce) {
  World world;
  world.add_cluster_ip(kUdp, n.at(n.vip, 53), {n.at(n.b, 5353)});
  world.publish();
  const Frame question = udp(n.a, 4000, n.vip, 53), answer = udp(n.b, 5353, n.a, 4000);
  const Out asks{"b", question.to(n.b, 5353).one_hop_less()};
  const Out answers{"a", answer.from(n.vip, 53).one_hop_less()};
  RUN(world, {.in = {{"a", question}}, .out = {asks}, .counters = kNewFlow});
  world.isolate("b", true, {{.peers = {n.a}, .ports = {5353}}});
  world.publish();
  RUN(world, {.in = {{"b", answer}}, .out = {answers}, .counters = {{"policy_rejudged", 1}}});
  RUN(world, {.in = {{"a", question}}, .out = {asks}, .counters = {{"policy_rejudged", 1}}});
  RUN(world, {.in = {{"a", question}, {"b", answer}}, .out = {asks, answers}});
}

FAMILY_CASE(PolicyChangeKeepsTheNodesProbes) {
  World world;
  const Frame probe = udp(n.node, 4000, n.b, 8080), answer = udp(n.b, 8080, n.node, 4000);
  RUN(world, {.in = {{"host", probe}}, .out = {{"b", probe}}, .counters = kNewFlow});
  world.isolate("b", true, {});
  world.publish();
  RUN(world,
      {.in = {{"b", answer}}, .out = {{"host", answer}}, .counters = {{"policy_rejudged", 1}}});
}

}  // namespace
}  // namespace podwire::test
