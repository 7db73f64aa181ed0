// Flows: tracking, masquerading, limits, hops, checksums, fragments.
#include <set>

#include "dataplane/flow/flows.h"
#include "tests/lib/protocols.h"
#include "tests/packet/families.h"

namespace podwire::test {
namespace {

Out ttl_exceeded(const Names& n, std::string port, std::string_view to, const Frame& about) {
  return error_out(std::move(port), to, n.v4 ? 11 : 3, 0, about);
}

FAMILY_CASE(FlowPodToPodIsNotTranslated) {
  World world;
  const Frame question = udp(n.a, 4000, n.b, 53);
  RUN(world,
      {.in = {{"a", question}}, .out = {{"b", question.one_hop_less()}}, .counters = kNewFlow});
  const Frame answer = udp(n.b, 53, n.a, 4000);
  RUN(world, {.in = {{"b", answer}}, .out = {{"a", answer.one_hop_less()}}});
}

FAMILY_CASE(FlowCountsEveryPacketOfItsDirection) {
  World world;
  const Frame question = udp(n.a, 4000, n.b, 53), answer = udp(n.b, 53, n.a, 4000);
  RUN(world, {.in = {{"a", question}, {"a", question}, {"a", question}},
              .out = {{"b", question.one_hop_less()},
                      {"b", question.one_hop_less()},
                      {"b", question.one_hop_less()}},
              .counters = kNewFlow});
  RUN(world, {.in = {{"b", answer}}, .out = {{"a", answer.one_hop_less()}}});
  const auto rows = world.shared().flows->rows(0, 10, [](const observe::FlowRow&) { return true; });
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].packets, 3U);
  EXPECT_EQ(rows[0].bytes, 3 * ip_bytes(question).size());
  EXPECT_EQ(rows[0].reply_packets, 1U);
  EXPECT_EQ(rows[0].source.to_string(), n.a);
}

FAMILY_CASE(FlowPodToOutsideIsMasqueraded) {
  for (const auto& make :
       {+[](const char*from, std::uint16_t from_port, const char*to, std::uint16_t to_port, bool) {
          return udp(from, from_port, to, to_port);
        },
        +[](const char*from, std::uint16_t from_port, const char*to, std::uint16_t to_port,
            bool first) { return tcp(from, from_port, to, to_port, first ? "S" : "SA"); },
        +[](const char*from, std::uint16_t from_port, const char*to, std::uint16_t to_port,
            bool first) { return sctp(from, from_port, to, to_port, first ? 1 : 2); }}) {
    World world;
    const Frame first = make(n.a, 4000, n.outside, 53, true);
    std::uint16_t port = 0;
    RUN(world, {.in = {{"a", first}},
                .out = {{"uplink", first.from(n.node).one_hop_less(), &port}},
                .counters = kNewFlow});
    const Frame answer = make(n.outside, 53, n.node, port, false);
    RUN(world, {.in = {{"uplink", answer}}, .out = {{"a", answer.to(n.a, 4000).one_hop_less()}}});
  }
}

FAMILY_CASE(FlowPingToOutsideIsMasqueraded) {
  World world;
  const Frame request = ping(n.a, n.outside, 77);
  std::uint16_t id = 0;
  RUN(world, {.in = {{"a", request}},
              .out = {{"uplink", request.from(n.node).one_hop_less(), &id}},
              .counters = kNewFlow});
  RUN(world, {.in = {{"uplink", pong(n.outside, n.node, id)}},
              .out = {{"a", pong(n.outside, n.a, 77).one_hop_less()}}});
}

FAMILY_CASE(FlowPodToOwnNodeKeepsSource) {
  World world;
  const Frame request = ping(n.a, n.node, 77);
  RUN(world, {.in = {{"a", request}}, .out = {{"host", request}}, .counters = kNewFlow});
  const Frame reply = pong(n.node, n.a, 77);
  RUN(world, {.in = {{"host", reply}}, .out = {{"a", reply}}});
}

FAMILY_CASE(FlowMasqueradeSkipsPodsAndPoolsThatDoNotAsk) {
  World world;
  const Frame to_pod = udp(n.a, 4000, n.remote, 53);
  RUN(world, {.in = {{"a", to_pod}},
              .out = {n.to_node2(to_pod.one_hop_less())},
              .counters = n.tunneled(kNewFlow, "tunnel_out")});
  world.routes.pools.set(*net::Prefix::parse(n.v4 ? "10.244.0.0/16" : "fd00:244::/32"), false);
  world.publish();
  const Frame out = udp(n.a, 4000, n.outside, 53);
  RUN(world, {.in = {{"a", out}}, .out = {{"uplink", out.one_hop_less()}}, .counters = kNewFlow});
}

FAMILY_CASE(FlowWithoutMasqueradeAddressIsRefused) {
  World world;
  world.routes.has_masquerade_v4 = world.routes.has_masquerade_v6 = false;
  world.publish();
  RUN(world, {.in = {{"a", udp(n.a, 4000, n.outside, 53)}},
              .out = {},
              .counters = {{"drop.flow_ports", 1}}});
}

FAMILY_CASE(FlowMasqueradePortsRunOut) {
  World world(1, [](DataplaneConfig& config) {
    config.masquerade_port_min = 40000;
    config.masquerade_port_max = 40003;
  });
  std::set<std::uint16_t> ports;
  for (std::uint16_t i = 0; i < 4; ++i) {
    const Frame question = udp(n.a, static_cast<std::uint16_t>(4000 + i), n.outside, 53);
    std::uint16_t port = 0;
    RUN(world, {.in = {{"a", question}},
                .out = {{"uplink", question.from(n.node).one_hop_less(), &port}},
                .counters = kNewFlow});
    ports.insert(port);
  }
  EXPECT_EQ(ports.size(), 4U);
  const Frame fifth = udp(n.a, 4004, n.outside, 53);
  RUN(world, {.in = {{"a", fifth}}, .out = {}, .counters = {{"drop.flow_ports", 1}}});
  // Another destination has all of them again.
  const Frame elsewhere = udp(n.a, 4004, n.outside, 54);
  std::uint16_t port = 0;
  RUN(world, {.in = {{"a", elsewhere}},
              .out = {{"uplink", elsewhere.from(n.node).one_hop_less(), &port}},
              .counters = kNewFlow});
}

FAMILY_CASE(FlowHostPortTakenByMasqueradeIsChanged) {
  World world(1, [](DataplaneConfig& config) {
    config.masquerade_port_min = 40000;
    config.masquerade_port_max = 40001;
  });
  const Frame from_pod = udp(n.a, 4000, n.outside, 53);
  std::uint16_t taken = 0;
  RUN(world, {.in = {{"a", from_pod}},
              .out = {{"uplink", from_pod.from(n.node).one_hop_less(), &taken}},
              .counters = kNewFlow});
  const Frame from_host = udp(n.node, taken, n.outside, 53);
  std::uint16_t other = 0;
  RUN(world,
      {.in = {{"host", from_host}}, .out = {{"uplink", from_host, &other}}, .counters = kNewFlow});
  EXPECT_NE(other, taken);
  const Frame to_pod = udp(n.outside, 53, n.node, taken),
              to_host = udp(n.outside, 53, n.node, other);
  RUN(world,
      {.in = {{"uplink", to_pod}, {"uplink", to_host}},
       .out = {{"a", to_pod.to(n.a, 4000).one_hop_less()}, {"host", to_host.to(n.node, taken)}}});
}

FAMILY_CASE(FlowDirectAndThroughServiceDoNotMix) {
  World world;
  world.add_cluster_ip(kUdp, n.at(n.vip, 53), {n.at(n.b, 53)});
  world.publish();
  const Frame through = udp(n.a, 4000, n.vip, 53), direct = udp(n.a, 4000, n.b, 53);
  RUN(world, {.in = {{"a", through}},
              .out = {{"b", through.to(n.b, 53).one_hop_less()}},
              .counters = kNewFlow});
  std::uint16_t port = 0;
  RUN(world,
      {.in = {{"a", direct}}, .out = {{"b", direct.one_hop_less(), &port}}, .counters = kNewFlow});
  const Frame answer_direct = udp(n.b, 53, n.a, port), answer_through = udp(n.b, 53, n.a, 4000);
  RUN(world, {.in = {{"b", answer_direct}, {"b", answer_through}},
              .out = {{"a", answer_direct.to(n.a, 4000).one_hop_less()},
                      {"a", answer_through.from(n.vip, 53).one_hop_less()}}});
}

FAMILY_CASE(FlowLimitRefusesNewAndKeepsKnown) {
  World world(1, [](DataplaneConfig& config) { config.flows_v4 = config.flows_v6 = 64; });
  // Replied flows are assured: nothing makes room.
  const auto limit = n.v4 ? world.shared().flows->v4.limit() : world.shared().flows->v6.limit();
  std::uint32_t admitted = 0;
  for (std::uint32_t i = 0; i < limit * 2; ++i) {
    const auto port = static_cast<std::uint16_t>(10000 + i);
    Burst batch;
    batch.append(world.make_buffer({"a", udp(n.a, port, n.b, 53)}), world.port_id("a"));
    world.worker().process(batch);
    batch.clear();
    if (world.port("b").sent.empty()) break;
    ++admitted;
    batch.append(world.make_buffer({"b", udp(n.b, 53, n.a, port)}), world.port_id("b"));
    world.worker().process(batch);
    for (const char* pod : {"a", "b"}) {
      for (rte_mbuf* mbuf : world.port(pod).sent) rte_pktmbuf_free(mbuf);
      world.port(pod).sent.clear();
    }
  }
  EXPECT_GE(admitted, limit / 2);
  EXPECT_LE(admitted, limit);
  RUN(world,
      {.in = {{"a", udp(n.a, 9, n.b, 53)}}, .out = {}, .counters = {{"drop.flow_limit", 1}}});
  const Frame known = udp(n.a, 10000, n.b, 53);
  RUN(world, {.in = {{"a", known}}, .out = {{"b", known.one_hop_less()}}});
}

FAMILY_CASE(FlowTwoPacketsOfOneBurstShareIt) {
  World world;
  world.add_cluster_ip(kUdp, n.at(n.vip, 53), {n.at(n.b, 5353), n.at(n.b, 5354)});
  world.publish();
  // Which of the two ports: learned by one flow, and both packets must agree.
  for (std::uint16_t i = 0; i < 16; ++i) {
    const Frame question = udp(n.a, static_cast<std::uint16_t>(4000 + i), n.vip, 53);
    std::uint16_t reached[2] = {};
    const auto judge = [&](unsigned which) {
      return [&, which](const Bytes& bytes) {
        const std::size_t at = n.v4 ? 36 : 56;
        reached[which] = static_cast<std::uint16_t>(bytes[at] << 8U | bytes[at + 1]);
        return std::string();
      };
    };
    RUN(world, {.in = {{"a", question}, {"a", question}},
                .out = {{.port = "b", .judge = judge(0)}, {.port = "b", .judge = judge(1)}},
                .counters = kNewFlow});
    EXPECT_EQ(reached[0], reached[1]);
  }
}

FAMILY_CASE(FlowReplyRacingForwardIsOneFlow) {
  World world;
  const Frame there = udp(n.a, 4000, n.b, 5000), back = udp(n.b, 5000, n.a, 4000);
  RUN(world, {.in = {{"a", there}, {"b", back}},
              .out = {{"a", back.one_hop_less()}, {"b", there.one_hop_less()}},
              .counters = kNewFlow});
}

FAMILY_CASE(FlowReplyOnAnotherWorkerFindsIt) {
  World world(2);
  world.add_cluster_ip(kUdp, n.at(n.vip, 53), {n.at(n.b, 5353)});
  world.publish();
  const Frame question = udp(n.a, 4000, n.vip, 53), answer = udp(n.b, 5353, n.a, 4000);
  RUN(world, {.in = {{"a", question}},
              .out = {{"b", question.to(n.b, 5353).one_hop_less()}},
              .counters = kNewFlow});
  RUN(world,
      {.in = {{"b", answer}}, .out = {{"a", answer.from(n.vip, 53).one_hop_less()}}, .worker = 1});
}

// TCP.

FAMILY_CASE(FlowTcpWithoutSynIsDropped) {
  World world;
  std::vector<In> in;
  for (const char* flags : {"A", "SA", "R", "RA", "FA", "PA"}) {
    in.push_back({"a", tcp(n.a, 4000, n.b, 80, flags)});
    in.push_back({"uplink", tcp(n.outside, 4000, n.b, 80, flags)});
  }
  RUN(world, {.in = in, .out = {}, .counters = {{"drop.tcp_untracked", 12}}});
}

FAMILY_CASE(FlowTcpOfTheNodeGoesOnWithoutSyn) {
  World world;
  const Frame out = tcp(n.node, 22, n.outside, 4000, "PA");
  const Frame in = tcp(n.outside, 4000, n.node, 22, "A");
  RUN(world, {.in = {{"host", out}}, .out = {{"uplink", out}}, .counters = kNewFlow});
  RUN(world, {.in = {{"uplink", in}}, .out = {{"host", in}}});
  const Frame first_in = tcp(n.outside, 4001, n.node, 22, "A");
  RUN(world, {.in = {{"uplink", first_in}}, .out = {{"host", first_in}}, .counters = kNewFlow});
}

FAMILY_CASE(FlowTcpOfTheNodeToServicesStillNeedsSyn) {
  World world;
  world.add_cluster_ip(kTcp, n.at(n.vip, 80), {n.at(n.b, 8080)});
  world.add_frontend(world.add_service(kTcp, {n.at(n.b, 8080)}, {}),
                     tables::FrontendKind::node_port, n.node_port(30080));
  world.publish();
  RUN(world, {.in = {{"host", tcp(n.node, 4000, n.vip, 80, "A")},
                     {"host", tcp(n.node, 4000, n.vip2, 80, "A")},
                     {"host", tcp(n.node, 4000, n.b, 80, "A")},
                     {"uplink", tcp(n.outside, 4000, n.node, 30080, "A")}},
              .out = {},
              .counters = {{"drop.tcp_untracked", 4}}});
}

FAMILY_CASE(FlowTcpIsPickedUpWhenAsked) {
  World world(1, [](DataplaneConfig& config) { config.tcp_pickup = true; });
  const Frame data = tcp(n.a, 4000, n.b, 80, "PA");
  RUN(world, {.in = {{"a", data}}, .out = {{"b", data.one_hop_less()}}, .counters = kNewFlow});
  RUN(world, {.in = {{"a", tcp(n.a, 4001, n.b, 80, "R")}},
              .out = {},
              .counters = {{"drop.tcp_untracked", 1}}});
}

FAMILY_CASE(FlowSynReopensClosedConnection) {
  World world;
  world.add_cluster_ip(kTcp, n.at(n.vip, 80), {n.at(n.b, 8080)});
  world.publish();
  const auto there = [&](const char* flags, const char* backend, const Counters& counters) {
    const Frame frame = tcp(n.a, 4000, n.vip, 80, flags);
    const std::string pod = backend == n.b ? "b" : "c";
    RUN(world, {.in = {{"a", frame}},
                .out = {{pod, frame.to(backend, 8080).one_hop_less()}},
                .counters = counters});
  };
  there("S", n.b, kNewFlow);
  const Frame reset = tcp(n.b, 8080, n.a, 4000, "RA");
  RUN(world, {.in = {{"b", reset}}, .out = {{"a", reset.from(n.vip, 80).one_hop_less()}}});
  world.add_cluster_ip(kTcp, n.at(n.vip, 80), {n.at(n.c, 8080)});
  world.publish();
  there("S", n.c, {{"flows_created", 1}, {"flows_removed", 1}});
  there("A", n.c, {});
}

// Hops.

FAMILY_CASE(FlowHopsRunOutForForwardedPackets) {
  World world;
  world.add_cluster_ip(kUdp, n.at(n.vip, 53), {n.at(n.b, 5353)});
  world.publish();
  const Counters dropped{{"drop.ttl_exceeded", 1}, {"originated", 1}, {"flows_created", 1}};
  const Frame to_pod = udp(n.a, 4000, n.b, 33434).with_ttl(1);
  RUN(world,
      {.in = {{"a", to_pod}}, .out = {ttl_exceeded(n, "a", n.a, to_pod)}, .counters = dropped});
  const Frame to_service = udp(n.a, 4000, n.vip, 53).with_ttl(1);
  RUN(world, {.in = {{"a", to_service}},
              .out = {ttl_exceeded(n, "a", n.a, to_service)},
              .counters = dropped});
  const Frame to_outside = udp(n.a, 4000, n.outside, 33434).with_ttl(1);
  RUN(world, {.in = {{"a", to_outside}},
              .out = {ttl_exceeded(n, "a", n.a, to_outside)},
              .counters = dropped});
  const Frame from_outside = udp(n.outside, 4000, n.b, 33434).with_ttl(1);
  RUN(world, {.in = {{"uplink", from_outside}},
              .out = {ttl_exceeded(n, "uplink", n.outside, from_outside)},
              .counters = dropped});
}

FAMILY_CASE(FlowHopsOfTranslatedReplyRunOut) {
  World world;
  world.add_cluster_ip(kUdp, n.at(n.vip, 53), {n.at(n.b, 5353)});
  world.publish();
  const Frame question = udp(n.a, 4000, n.vip, 53);
  RUN(world, {.in = {{"a", question}},
              .out = {{"b", question.to(n.b, 5353).one_hop_less()}},
              .counters = kNewFlow});
  const Frame answer = udp(n.b, 5353, n.a, 4000).with_ttl(1);
  RUN(world, {.in = {{"b", answer}},
              .out = {ttl_exceeded(n, "b", n.b, answer)},
              .counters = {{"drop.ttl_exceeded", 1}, {"originated", 1}}});
}

FAMILY_CASE(FlowHopsDoNotCountForTheNodeItself) {
  World world;
  const Frame to_host = udp(n.a, 4000, n.node, 53).with_ttl(1);
  RUN(world, {.in = {{"a", to_host}}, .out = {{"host", to_host}}, .counters = kNewFlow});
  const Frame again = udp(n.a, 4000, n.node, 53).with_ttl(1);
  RUN(world, {.in = {{"a", again}}, .out = {{"host", again}}});
  const Frame from_host = udp(n.node, 4000, n.b, 53).with_ttl(1);
  RUN(world, {.in = {{"host", from_host}}, .out = {{"b", from_host}}, .counters = kNewFlow});
  const Frame from_uplink = udp(n.outside, 4000, n.node, 53).with_ttl(1);
  RUN(world,
      {.in = {{"uplink", from_uplink}}, .out = {{"host", from_uplink}}, .counters = kNewFlow});
}

// Checksums.

PACKET_CASE(FlowUdpWithoutChecksumStaysWithout) {
  World world;
  world.add_cluster_ip(kUdp, "10.96.0.1:53", {"10.244.1.3:5353"});
  world.publish();
  const Frame question = udp("10.244.1.2", 4000, "10.96.0.1", 53).without_udp_checksum();
  RUN(world, {.in = {{"a", question}},
              .out = {{"b", question.to("10.244.1.3", 5353).one_hop_less()}},
              .counters = kNewFlow});
}

FAMILY_CASE(FlowPartialChecksumStaysPartial) {
  World world;
  world.add_cluster_ip(kUdp, n.at(n.vip, 53), {n.at(n.b, 5353)});
  world.add_cluster_ip(kTcp, n.at(n.vip, 80), {n.at(n.b, 8080)});
  world.publish();
  for (const Frame& whole : {udp(n.a, 4000, n.vip, 53), tcp(n.a, 4000, n.vip, 80, "S")}) {
    const Frame frame = whole.with_partial_checksum();
    const std::uint16_t port = frame.protocol == kUdp ? 5353 : 8080;
    RUN(world, {.in = {{"a", frame}},
                .out = {{"b", frame.to(n.b, port).one_hop_less()}},
                .counters = kNewFlow});
  }
}

FAMILY_CASE(FlowUnsegmentedTcpIsTranslatedWhole) {
  World world;
  world.add_cluster_ip(kTcp, n.at(n.vip, 80), {n.at(n.b, 8080)});
  world.publish();
  const Frame syn = tcp(n.a, 4000, n.vip, 80, "S");
  RUN(world,
      {.in = {{"a", syn}}, .out = {{"b", syn.to(n.b, 8080).one_hop_less()}}, .counters = kNewFlow});
  const Frame big = tcp(n.a, 4000, n.vip, 80, "A").with_payload(40000).with_partial_checksum();
  In in{"a", big, 1500};
  in.offloads = RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM;
  in.segment_size = 1400;
  RUN(world, {.in = {in}, .out = {{"b", big.to(n.b, 8080).one_hop_less()}}});
}

// Fragments of one datagram have one translation.

FAMILY_CASE(FlowFragmentsShareTranslation) {
  World world;
  world.add_cluster_ip(kUdp, n.at(n.vip, 53), {n.at(n.b, 5353)});
  world.publish();
  const Frame question = udp(n.a, 4000, n.vip, 53).with_payload(2000).with_id(7);
  std::vector<In> in;
  for (const Frame& fragment : fragments(question, 1480)) in.push_back({"a", fragment});
  ASSERT_EQ(in.size(), 2U);
  std::vector<Out> out;
  for (const Frame& fragment : fragments(question.to(n.b, 5353), 1480)) {
    out.push_back({"b", fragment.one_hop_less()});
  }
  RUN(world, {.in = in, .out = out, .counters = kNewFlow});
  const Frame answer = udp(n.b, 5353, n.a, 4000).with_payload(3000).with_id(8);
  in.clear();
  out.clear();
  for (const Frame& fragment : fragments(answer, 1480)) in.push_back({"b", fragment});
  ASSERT_EQ(in.size(), 3U);
  for (const Frame& fragment : fragments(answer.from(n.vip, 53), 1480)) {
    out.push_back({"a", fragment.one_hop_less()});
  }
  RUN(world, {.in = in, .out = out});
}

// What does not leave.

FAMILY_CASE(FlowNothingButTheNodesOwnBeforeSync) {
  World world;
  world.next.synced = false;
  world.add_cluster_ip(kTcp, n.at(n.vip, 80), {});
  world.publish();
  RUN(world, {.in = {{"a", udp(n.a, 4000, n.b, 53)},
                     {"host", udp(n.node, 4000, n.b, 53)},
                     {"host", tcp(n.node, 4000, n.vip, 80, "S")},
                     {"uplink", udp(n.outside, 4000, n.b, 53)},
                     {"uplink", tcp(n.outside, 4000, n.vip, 80, "S")}},
              .out = {},
              .counters = {{"drop.not_synced", 5}}});
  const Frame out = tcp(n.node, 4000, n.outside, 6443, "S");
  const Frame back = tcp(n.outside, 6443, n.node, 4000, "SA");
  RUN(world, {.in = {{"host", out}}, .out = {{"uplink", out}}, .counters = kNewFlow});
  RUN(world, {.in = {{"uplink", back}}, .out = {{"host", back}}});
}

FAMILY_CASE(FlowPortThatIsFullOrDownDrops) {
  World world;
  world.port("b").room = 1;
  const Frame question = udp(n.a, 4000, n.b, 53);
  RUN(world, {.in = {{"a", question}, {"a", question}, {"a", question}},
              .out = {{"b", question.one_hop_less()}},
              .counters = {{"flows_created", 1}, {"drop.port_full", 2}}});
  world.port("b").room = 100;
  world.port("b").is_up = false;
  RUN(world, {.in = {{"a", question}}, .out = {}, .counters = {{"drop.port_down", 1}}});
}

}  // namespace
}  // namespace podwire::test
