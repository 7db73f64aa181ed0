// ICMP: echo, and errors about flows, translated or not, in both directions.
#include "tests/lib/protocols.h"
#include "tests/packet/families.h"

namespace podwire::test {
namespace {

// Port unreachable and too big, as type and code of the family.
Frame unreachable(const Names& n, std::string_view from, std::string_view to, const Frame& about,
                  std::size_t most = 548) {
  return icmp_error(from, to, n.v4 ? 3 : 1, n.v4 ? 3 : 4, about, most);
}
Frame too_big(const Names& n, std::string_view from, std::string_view to, const Frame& about,
              std::size_t most = 548) {
  return n.v4 ? icmp_error(from, to, 3, 4, about, most, 1400)
              : icmp_error(from, to, 2, 0, about, most, 1400);
}
std::string router(const Names& n) {
  return n.v4 ? "192.0.2.254" : "2001:db8:2::fe";
}

// A flow from pod a through the Service to pod b, and what b gets.
Frame begin_through_service(World& world, const Names& n, std::uint8_t protocol) {
  world.add_cluster_ip(protocol, n.at(n.vip, 53), {n.at(n.b, 5353)});
  world.publish();
  const Frame sent = protocol == kTcp   ? tcp(n.a, 4000, n.vip, 53, "S")
                     : protocol == kUdp ? udp(n.a, 4000, n.vip, 53)
                                        : sctp(n.a, 4000, n.vip, 53);
  const Frame arrived = sent.to(n.b, 5353).one_hop_less();
  EXPECT_EQ(world.run({.in = {{"a", sent}}, .out = {{"b", arrived}}, .counters = kNewFlow}), "");
  return sent;
}

FAMILY_CASE(IcmpErrorFromBackendLooksAsFromService) {
  for (const std::uint8_t protocol : {kUdp, kTcp}) {
    World world;
    const Frame sent = begin_through_service(world, n, protocol);
    const Frame arrived = sent.to(n.b, 5353).one_hop_less();
    RUN(world, {.in = {{"b", unreachable(n, n.b, n.a, arrived)}},
                .out = {{"a", unreachable(n, n.vip, n.a, sent.one_hop_less()).one_hop_less()}}});
  }
}

FAMILY_CASE(IcmpErrorAboutSctpLeavesItsQuotedCrc) {
  World world;
  const Frame sent = begin_through_service(world, n, kSctp);
  const Frame arrived = sent.to(n.b, 5353).one_hop_less();
  // Beyond the ports nothing is quoted, so that the CRC, which cannot be kept true, is not either.
  const std::size_t most = (n.v4 ? 20 : 40) + 8;
  RUN(world,
      {.in = {{"b", unreachable(n, n.b, n.a, arrived, most)}},
       .out = {{"a", unreachable(n, n.vip, n.a, sent.one_hop_less(), most).one_hop_less()}}});
}

FAMILY_CASE(IcmpErrorWithEightBytesQuotedIsTranslated) {
  World world;
  const Frame sent = begin_through_service(world, n, kTcp);
  const Frame arrived = sent.to(n.b, 5353).one_hop_less();
  const std::size_t most = (n.v4 ? 20 : 40) + 8;
  RUN(world,
      {.in = {{"b", unreachable(n, n.b, n.a, arrived, most)}},
       .out = {{"a", unreachable(n, n.vip, n.a, sent.one_hop_less(), most).one_hop_less()}}});
}

FAMILY_CASE(IcmpErrorWithLessQuotedIsDropped) {
  World world;
  const Frame sent = begin_through_service(world, n, kTcp);
  const std::size_t most = (n.v4 ? 20 : 40) + 7;
  RUN(world, {.in = {{"b", unreachable(n, n.b, n.a, sent.to(n.b, 5353).one_hop_less(), most)}},
              .out = {},
              .counters = {{"drop.bad_l4_header", 1}}});
}

FAMILY_CASE(IcmpErrorOnReplyReachesBackend) {
  World world;
  begin_through_service(world, n, kUdp);
  const Frame answer = udp(n.b, 5353, n.a, 4000);
  const Frame arrived = answer.from(n.vip, 53).one_hop_less();
  RUN(world, {.in = {{"b", answer}}, .out = {{"a", arrived}}});
  RUN(world, {.in = {{"a", unreachable(n, n.a, n.vip, arrived)}},
              .out = {{"b", unreachable(n, n.a, n.b, answer.one_hop_less()).one_hop_less()}}});
}

FAMILY_CASE(IcmpErrorFromRouterReachesMasqueradedPod) {
  World world;
  for (const std::uint16_t i : {std::uint16_t{0}, std::uint16_t{1}}) {
    const auto from = static_cast<std::uint16_t>(4000 + i);
    const Frame sent = i == 0 ? udp(n.a, from, n.outside, 53).with_payload(1200)
                              : tcp(n.a, from, n.outside, 80, "S");
    std::uint16_t port = 0;
    RUN(world, {.in = {{"a", sent}},
                .out = {{"uplink", sent.from(n.node).one_hop_less(), &port}},
                .counters = kNewFlow});
    const Frame left = sent.from(n.node, port).one_hop_less();
    RUN(world, {.in = {{"uplink", too_big(n, router(n), n.node, left)}},
                .out = {{"a", too_big(n, router(n), n.a, sent.one_hop_less()).one_hop_less()}}});
  }
}

FAMILY_CASE(IcmpErrorAboutPingRestoresIdentifier) {
  World world;
  const Frame sent = ping(n.a, n.outside, 77);
  std::uint16_t id = 0;
  RUN(world, {.in = {{"a", sent}},
              .out = {{"uplink", sent.from(n.node).one_hop_less(), &id}},
              .counters = kNewFlow});
  const Frame left = ping(n.node, n.outside, id).one_hop_less();
  RUN(world, {.in = {{"uplink", unreachable(n, router(n), n.node, left)}},
              .out = {{"a", unreachable(n, router(n), n.a, sent.one_hop_less()).one_hop_less()}}});
}

FAMILY_CASE(IcmpErrorOverNodePortUndoesBothTranslations) {
  World world;
  world.add_frontend(world.add_service(kUdp, {n.at(n.b, 5353)}, {}),
                     tables::FrontendKind::node_port, n.node_port(30053));
  world.publish();
  const Frame sent = udp(n.outside, 4000, n.node, 30053);
  std::uint16_t port = 0;
  RUN(world, {.in = {{"uplink", sent}},
              .out = {{"b", sent.from(n.node).to(n.b, 5353).one_hop_less(), &port}},
              .counters = kNewFlow});
  const Frame arrived = sent.from(n.node, port).to(n.b, 5353).one_hop_less();
  RUN(world,
      {.in = {{"b", unreachable(n, n.b, n.node, arrived)}},
       .out = {{"uplink", unreachable(n, n.node, n.outside, sent.one_hop_less()).one_hop_less()}}});
  // And the client's own complaint about the answer.
  const Frame answer = udp(n.b, 5353, n.node, port);
  const Frame came = answer.from(n.node, 30053).to(n.outside, 4000).one_hop_less();
  RUN(world, {.in = {{"b", answer}}, .out = {{"uplink", came}}});
  RUN(world, {.in = {{"uplink", unreachable(n, n.outside, n.node, came)}},
              .out = {{"b", unreachable(n, n.node, n.b, answer.one_hop_less()).one_hop_less()}}});
}

FAMILY_CASE(IcmpErrorAboutUntranslatedFlowPassesAsItIs) {
  World world;
  const Frame sent = udp(n.a, 4000, n.b, 53);
  RUN(world, {.in = {{"a", sent}}, .out = {{"b", sent.one_hop_less()}}, .counters = kNewFlow});
  const Frame error = unreachable(n, n.b, n.a, sent.one_hop_less());
  RUN(world, {.in = {{"b", error}}, .out = {{"a", error.one_hop_less()}}});
}

FAMILY_CASE(IcmpErrorPassesPolicyOfItsFlow) {
  World world;
  world.isolate("a", true, {});
  world.publish();
  const Frame sent = udp(n.a, 4000, n.b, 53);
  RUN(world, {.in = {{"a", sent}}, .out = {{"b", sent.one_hop_less()}}, .counters = kNewFlow});
  const Frame error = unreachable(n, n.b, n.a, sent.one_hop_less());
  RUN(world, {.in = {{"b", error}}, .out = {{"a", error.one_hop_less()}}});
}

FAMILY_CASE(IcmpErrorOfNoFlowIsDropped) {
  World world;
  const Frame sent = udp(n.a, 4000, n.b, 53);
  RUN(world, {.in = {{"b", unreachable(n, n.b, n.a, sent)},
                     {"uplink", unreachable(n, router(n), n.a, sent)}},
              .out = {},
              .counters = {{"drop.icmp_untracked", 2}}});
}

FAMILY_CASE(IcmpErrorToAnotherThanTheSenderIsDropped) {
  World world;
  const Frame sent = udp(n.a, 4000, n.b, 53);
  RUN(world, {.in = {{"a", sent}}, .out = {{"b", sent.one_hop_less()}}, .counters = kNewFlow});
  RUN(world, {.in = {{"b", unreachable(n, n.b, n.c, sent.one_hop_less())}},
              .out = {},
              .counters = {{"drop.icmp_untracked", 1}}});
}

FAMILY_CASE(IcmpErrorOfNoFlowReachesTheNode) {
  World world;
  const Frame sent = udp(n.node, 4000, n.outside, 53);
  const Frame error = unreachable(n, router(n), n.node, sent);
  RUN(world, {.in = {{"uplink", error}}, .out = {{"host", error}}});
  const Frame complaint = unreachable(n, n.node, n.outside, udp(n.outside, 53, n.node, 4000));
  RUN(world, {.in = {{"host", complaint}}, .out = {{"uplink", complaint}}});
}

PACKET_CASE(IcmpRedirectReachesNobodyButTheNode) {
  World world;
  const Frame sent = udp("10.244.1.2", 4000, "10.244.1.3", 53);
  RUN(world, {.in = {{"a", sent}}, .out = {{"b", sent.one_hop_less()}}, .counters = kNewFlow});
  RUN(world, {.in = {{"b", icmp_error("10.244.1.3", "10.244.1.2", 5, 1, sent.one_hop_less())}},
              .out = {},
              .counters = {{"drop.icmp_untracked", 1}}});
  const Frame to_node =
      icmp_error("192.0.2.254", kNodeV4, 5, 1, udp(kNodeV4, 4000, "198.51.100.7", 53));
  RUN(world, {.in = {{"uplink", to_node}}, .out = {{"host", to_node}}});
}

FAMILY_CASE(IcmpEchoReplyOfNoFlowIsDropped) {
  World world;
  RUN(world, {.in = {{"b", pong(n.b, n.a, 7)}, {"uplink", pong(n.outside, n.a, 7)}},
              .out = {},
              .counters = {{"drop.icmp_untracked", 2}}});
  const Frame to_node = pong(n.outside, n.node, 7);  // the node asked before podwire came
  RUN(world, {.in = {{"uplink", to_node}}, .out = {{"host", to_node}}, .counters = kNewFlow});
}

FAMILY_CASE(IcmpEchoBetweenPods) {
  World world;
  const Frame request = ping(n.a, n.remote, 7), reply = pong(n.remote, n.a, 7);
  RUN(world, {.in = {{"a", request}},
              .out = {n.to_node2(request.one_hop_less())},
              .counters = n.tunneled(kNewFlow, "tunnel_out")});
  RUN(world, {.in = {n.from_node2(reply)},
              .out = {{"a", reply.one_hop_less()}},
              .counters = n.tunneled({}, "tunnel_in")});
}

}  // namespace
}  // namespace podwire::test
