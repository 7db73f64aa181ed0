// IPIP between nodes: RFC 2003 both ways, RFC 6040 for congestion marks, and who may send what.
#include "tests/packet/families.h"
#include "tests/packet/raw.h"

namespace podwire::test {
namespace {

const Frame kInner = udp("10.244.2.2", 4000, "10.244.1.2", 53).with_payload(20);

Frame from_node2(const Frame& inner) {
  return inner.through(kNode2V4, kNodeV4);
}

PACKET_CASE(TunnelCarriesBothWays) {
  World world;
  const Frame question = udp("10.244.1.2", 4000, "10.244.2.2", 53).with_payload(20);
  RUN(world, {.in = {{"a", question}},
              .out = {{"uplink", question.one_hop_less().through(kNodeV4, kNode2V4)}},
              .counters = {{"flows_created", 1}, {"tunnel_out", 1}}});
  const Frame answer = udp("10.244.2.2", 53, "10.244.1.2", 4000).with_payload(7);
  RUN(world, {.in = {{"uplink", from_node2(answer)}},
              .out = {{"a", answer.one_hop_less()}},
              .counters = {{"tunnel_in", 1}}});
}

PACKET_CASE(TunnelOuterHeaderCopiesDontFragmentAndTos) {
  World world;
  Frame question = udp("10.244.1.2", 4000, "10.244.2.2", 53).with_dont_fragment();
  for (const unsigned tos : {0x00U, 0xb9U, 0x02U, 0x03U}) {
    question.tos = static_cast<std::uint8_t>(tos);
    Frame out = question.one_hop_less().through(kNodeV4, kNode2V4);
    out.tunnel->dont_fragment = true;
    RUN(world, {.in = {{"a", question}},
                .out = {{"uplink", out}},
                .counters = {{"flows_created", tos == 0 ? 1 : 0}, {"tunnel_out", 1}}});
  }
}

PACKET_CASE(TunnelOnlyFromKnownNodes) {
  World world;
  for (const char* source : {"192.0.2.3", "198.51.100.7", "10.244.2.2"}) {
    EXPECT_DROP(world, "uplink",
                frame_bytes(world.addressed_in("uplink", kInner.through(source, kNodeV4))),
                "tunnel_unknown_peer");
  }
  for (const char* destination : {"10.244.1.2", "192.0.2.2"}) {
    EXPECT_DROP(world, "uplink",
                frame_bytes(world.addressed_in("uplink", kInner.through(kNode2V4, destination))),
                "bad_address");
  }
}

PACKET_CASE(TunnelEndsWhenTheNodeGoes) {
  World world;
  RUN(world, {.in = {{"uplink", from_node2(kInner)}},
              .out = {{"a", kInner.one_hop_less()}},
              .counters = {{"flows_created", 1}, {"tunnel_in", 1}}});
  world.routes.tunnel_peers.clear();
  world.publish();
  RUN(world,
      {.in = {{"uplink", from_node2(kInner)}}, .counters = {{"drop.tunnel_unknown_peer", 1}}});
}

PACKET_CASE(TunnelInnerMustBeForThisNode) {
  World world;
  const auto refused = [&](const Frame& inner, const char* reason) {
    RUN(world,
        {.in = {{"uplink", from_node2(inner)}},
         .counters = {{"flows_created", 1}, {"tunnel_in", 1}, {std::string("drop.") + reason, 1}}});
  };
  refused(kInner.to("198.51.100.7"), "tunnel_bad_inner");    // out again
  refused(kInner.to("10.244.2.9"), "tunnel_bad_inner");      // back to where it came from
  refused(kInner.from("198.51.100.7"), "tunnel_bad_inner");  // neither pod nor node
  refused(kInner.from("10.244.1.3"), "tunnel_bad_inner");    // one of our own pods
  const Frame from_node = kInner.from(kNode2V4);             // masqueraded over there
  RUN(world, {.in = {{"uplink", from_node2(from_node)}},
              .out = {{"a", from_node.one_hop_less()}},
              .counters = {{"flows_created", 1}, {"tunnel_in", 1}}});
  const Frame to_node = kInner.to(kNodeV4);
  RUN(world, {.in = {{"uplink", from_node2(to_node)}},
              .out = {{"host", to_node}},
              .counters = {{"flows_created", 1}, {"tunnel_in", 1}}});
}

PACKET_CASE(TunnelInnerIsCheckedAsAnyPacket) {
  World world;
  const Bytes good = frame_bytes(world.addressed_in("uplink", from_node2(kInner)));
  struct Row {
    const char* what;
    std::size_t at;  // of the inner header
    Bytes bytes;
    const char* reason;
  };
  const std::vector<Row> table = {{"IPv6", 0, {0x65}, "tunnel_bad_inner"},
                                  {"nested", 9, {4}, "tunnel_bad_inner"},
                                  {"nested IPv6", 9, {41}, "tunnel_bad_inner"},
                                  {"header of 16 bytes", 0, {0x44}, "bad_ip_header"},
                                  {"longer than the outer", 2, {0, 49}, "truncated"},
                                  {"loopback", 16, {127, 0, 0, 1}, "bad_address"},
                                  {"from our own address", 12, {192, 0, 2, 1}, "bad_address"},
                                  {"UDP length", 24, {0, 3}, "bad_l4_header"}};
  for (const Row& row : table) {
    SCOPED_TRACE(row.what);
    Bytes bytes = good;
    std::copy(row.bytes.begin(), row.bytes.end(),
              bytes.begin() + 34 + static_cast<std::ptrdiff_t>(row.at));
    mend_ipv4(bytes, 34);
    EXPECT_DROP(world, "uplink", bytes, row.reason);
  }
  Bytes damaged = good;
  damaged[34 + 10] ^= 1;
  EXPECT_DROP(world, "uplink", damaged, "bad_ip_checksum");
}

PACKET_CASE(TunnelSixInFourIsRefused) {
  World world;
  Bytes bytes = frame_bytes(world.addressed_in("uplink", from_node2(kInner)));
  bytes[14 + 9] = 41;
  mend_ipv4(bytes);
  EXPECT_DROP(world, "uplink", bytes, "tunnel_bad_inner");
}

PACKET_CASE(TunnelFragmentsAreRefused) {
  World world;
  Bytes bytes = frame_bytes(world.addressed_in("uplink", from_node2(kInner)));
  for (const unsigned place : {0x2000U, 0x2001U, 0x0001U}) {
    set16(bytes, 14 + 6, place);
    mend_ipv4(bytes);
    EXPECT_DROP(world, "uplink", bytes, "tunnel_fragment");
  }
}

// RFC 6040 section 4.2, figure 4.
PACKET_CASE(TunnelCombinesCongestionMarks) {
  World world;
  constexpr unsigned kNot = 0, kEct1 = 1, kEct0 = 2, kCe = 3, kDrop = 9;
  const unsigned table[4][4] = {// outer:  Not, ECT(1), ECT(0), CE
                                {kNot, kNot, kNot, kDrop},
                                {kEct1, kEct1, kEct1, kCe},
                                {kEct0, kEct1, kEct0, kCe},
                                {kCe, kCe, kCe, kCe}};
  bool first = true;
  for (unsigned inner = 0; inner < 4; ++inner) {
    for (unsigned outer = 0; outer < 4; ++outer) {
      SCOPED_TRACE(std::to_string(inner) + " in " + std::to_string(outer));
      Frame frame = kInner;
      frame.tos = static_cast<std::uint8_t>(0xb8U | inner);
      Bytes bytes = frame_bytes(world.addressed_in("uplink", from_node2(frame)));
      bytes[14 + 1] = static_cast<std::uint8_t>(outer);
      mend_ipv4(bytes);
      const unsigned becomes = table[inner][outer];
      if (becomes == kDrop) {
        EXPECT_DROP(world, "uplink", bytes, "tunnel_bad_inner");
        continue;
      }
      frame.tos = static_cast<std::uint8_t>(0xb8U | becomes);
      RUN(world, {.in = {{.port = "uplink", .bytes = bytes}},
                  .out = {{"a", frame.one_hop_less()}},
                  .counters = {{"flows_created", first ? 1 : 0}, {"tunnel_in", 1}}});
      first = false;
    }
  }
}

PACKET_CASE(TunnelNodeAddressOnlyForPods) {
  World world;
  // From a pod to another node's own address: in the tunnel, unless masqueraded on the way.
  world.routes.pools.set(net::Prefix::host(ip(kNode2V4)), false);
  world.publish();
  const Frame frame = udp("10.244.1.2", 4000, kNode2V4, 53);
  RUN(world, {.in = {{"a", frame}},
              .out = {{"uplink", frame.one_hop_less().through(kNodeV4, kNode2V4)}},
              .counters = {{"flows_created", 1}, {"tunnel_out", 1}}});
  const Frame own = udp(kNodeV4, 4000, kNode2V4, 53);
  RUN(world, {.in = {{"host", own}}, .out = {{"uplink", own}}, .counters = {{"flows_created", 1}}});
}

FAMILY_CASE(RouteStrangersAreNotForwarded) {
  World world;
  RUN(world, {.in = {{"uplink", udp(n.outside, 4000, n.v4 ? "203.0.113.9" : "2001:db8:9::9", 53)}},
              .counters = {{"flows_created", 1}, {"drop.no_route", 1}}});
}

FAMILY_CASE(RouteNoneTellsPodsAndTheNode) {
  World world;
  world.routes.prefixes.erase(*net::Prefix::parse(n.v4 ? "0.0.0.0/0" : "::/0"));
  world.routes.pools.set(*net::Prefix::parse(n.v4 ? "0.0.0.0/0" : "::/0"), false);  // no masquerade
  ++world.next.route_generation;
  world.publish();
  const Frame frame = udp(n.a, 4000, n.outside, 53);
  RUN(world, {.in = {{"a", frame}},
              .out = {error_out("a", n.a, n.v4 ? 3 : 1, 0, frame.one_hop_less())},
              .counters = {{"flows_created", 1}, {"originated", 1}, {"drop.no_route", 1}}});
}

FAMILY_CASE(RouteBlackholeIsSilent) {
  World world;
  world.routes.next_hops.push_back({.kind = tables::NextHopKind::blackhole});
  world.routes.prefixes.set(*net::Prefix::parse(n.v4 ? "10.244.1.0/24" : "fd00:244:1::/64"),
                            static_cast<tables::NextHopId>(world.routes.next_hops.size() - 1));
  ++world.next.route_generation;
  world.publish();
  const char* unused = n.v4 ? "10.244.1.200" : "fd00:244:1::200";
  RUN(world, {.in = {{"a", udp(n.a, 4000, unused, 53)}},
              .counters = {{"flows_created", 1}, {"drop.blackhole", 1}}});
}

FAMILY_CASE(RouteOfKnownFlowFollowsTheTables) {
  World world;
  const Frame frame = udp(n.a, 4000, n.b, 53);
  RUN(world, {.in = {{"a", frame}},
              .out = {{"b", frame.one_hop_less()}},
              .counters = {{"flows_created", 1}}});
  const auto to_c = world.routes.find(ip(n.c));
  world.routes.prefixes.set(net::Prefix::host(ip(n.b)), to_c);
  world.publish();  // generation unmoved: the flow keeps its route
  RUN(world, {.in = {{"a", frame}}, .out = {{"b", frame.one_hop_less()}}});
  ++world.next.route_generation;
  world.publish();
  RUN(world, {.in = {{"a", frame}}, .out = {{"c", frame.one_hop_less()}}});
}

}  // namespace
}  // namespace podwire::test
