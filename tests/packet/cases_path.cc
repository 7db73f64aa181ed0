// MTU, IPv4 fragmentation, fragments of others, and next hops whose address is not known yet.
#include "dataplane/stages/fragments.h"
#include "tests/packet/families.h"
#include "tests/packet/raw.h"

namespace podwire::test {
namespace {

constexpr unsigned kTooBigV4[2] = {3, 4}, kTooBigV6[2] = {2, 0};

Out too_big(const Names& n, std::string port, const char* to, const Frame& about,
            std::uint32_t mtu) {
  const unsigned* type = n.v4 ? kTooBigV4 : kTooBigV6;
  return error_out(std::move(port), to, static_cast<std::uint8_t>(type[0]),
                   static_cast<std::uint8_t>(type[1]), about, mtu);
}

FAMILY_CASE(PathTooBigWithDontFragment) {
  World world;
  const std::size_t headers = (n.v4 ? 20 : 40) + 8;
  const Frame fits = udp(n.a, 4000, n.b, 53).with_dont_fragment().with_payload(1480 - headers);
  RUN(world, {.in = {{"a", fits}},
              .out = {{"b", fits.one_hop_less()}},
              .counters = {{"flows_created", 1}}});
  const Frame big = fits.with_payload(1481 - headers);
  RUN(world, {.in = {{"a", big}},
              .out = {too_big(n, "a", n.a, big.one_hop_less(), 1480)},
              .counters = {{"originated", 1}, {"drop.too_big", 1}}});
}

PACKET_CASE(PathTunnelNamesItsMtu) {
  World world;
  const Frame fits = udp("10.244.1.2", 4000, "10.244.2.2", 53).with_dont_fragment();
  Frame out = fits.with_payload(1452).one_hop_less().through(kNodeV4, kNode2V4);
  out.tunnel->dont_fragment = true;
  RUN(world, {.in = {{"a", fits.with_payload(1452)}},
              .out = {{"uplink", out}},
              .counters = {{"flows_created", 1}, {"tunnel_out", 1}}});
  const Frame big = fits.with_payload(1453);
  RUN(world, {.in = {{"a", big}},
              .out = {too_big(kV4, "a", "10.244.1.2", big.one_hop_less(), 1480)},
              .counters = {{"originated", 1}, {"drop.too_big", 1}}});
}

FAMILY_CASE(PathTooBigIsToldToTheOriginalSender) {
  World world;
  world.add_cluster_ip(17, n.at(n.vip, 53), {n.at(n.b, 5353)});
  world.publish();
  const Frame big = udp(n.a, 4000, n.vip, 53).with_dont_fragment().with_payload(1500);
  // The error quotes what the sender sent: the Service's address.
  RUN(world, {.in = {{"a", big}},
              .out = {too_big(n, "a", n.a, big.one_hop_less(), 1480)},
              .counters = {{"flows_created", 1}, {"originated", 1}, {"drop.too_big", 1}}});
}

// The client of a node port sent to this node and hears from it, though the packet that was too
// large had the node's own address as its source.
FAMILY_CASE(PathTooBigIsToldToAMasqueradedClient) {
  World world;
  const auto service = world.add_service(17, {n.at(n.remote, 5353)}, {});
  world.add_frontend(service, tables::FrontendKind::node_port, n.node_port(30053));
  world.publish();
  const Frame big = udp(n.outside, 4000, n.node, 30053).with_dont_fragment().with_payload(1500);
  RUN(world, {.in = {{"uplink", big}},
              .out = {too_big(n, "uplink", n.outside, big.one_hop_less(), n.v4 ? 1480 : 1500)},
              .counters = {{"flows_created", 1}, {"originated", 1}, {"drop.too_big", 1}}});
}

std::vector<Out> pieces_out(const std::string& port, const Frame& whole, std::size_t mtu) {
  std::vector<Out> out;
  for (const Frame& piece : fragments(whole, mtu)) out.push_back({port, piece});
  return out;
}

PACKET_CASE(PathFragmentsIpv4) {
  World world;
  for (const std::size_t payload : {1453U, 2000U, 1460U * 3, 9000U, 64000U}) {
    SCOPED_TRACE(payload);
    const Frame big = udp("10.244.1.2", 4000, "10.244.1.3", 53).with_payload(payload).with_id(77);
    const auto out = pieces_out("b", big.one_hop_less(), 1480);
    RUN(world, {.in = {{"a", big, 200}},
                .out = out,
                .counters = {{"flows_created", payload == 1453 ? 1 : 0},
                             {"originated", static_cast<std::int64_t>(out.size()) - 1}}});
  }
}

PACKET_CASE(PathFragmentsIntoTunnel) {
  World world;
  const Frame big = udp("10.244.1.2", 4000, "10.244.2.2", 53).with_payload(2000).with_id(77);
  auto out = pieces_out("uplink", big.one_hop_less(), 1480);
  for (auto& piece : out) piece.frame = piece.frame.through(kNodeV4, kNode2V4);
  RUN(world, {.in = {{"a", big, 200}},
              .out = out,
              .counters = {{"flows_created", 1}, {"originated", 1}, {"tunnel_out", 2}}});
}

PACKET_CASE(PathFragmentsFragments) {
  World world;
  world.routes.next_hops[world.routes.find(ip("10.244.1.3"))].mtu = 576;
  world.publish();
  const Frame whole = udp("10.244.1.2", 4000, "10.244.1.3", 53).with_payload(2000).with_id(77);
  const auto pieces = fragments(whole, 1480);
  std::vector<In> in;
  std::vector<Out> out;
  for (const Frame& piece : pieces) {
    in.push_back({"a", piece});
    for (Frame smaller : fragments(piece.one_hop_less(), 576)) {
      smaller.offset = static_cast<std::uint16_t>(*smaller.offset + *piece.offset);
      smaller.more_fragments = smaller.more_fragments || piece.more_fragments;
      out.push_back({"b", smaller});
    }
  }
  RUN(world, {.in = in,
              .out = out,
              .counters = {{"flows_created", 1},
                           {"originated", static_cast<std::int64_t>(out.size() - in.size())}}});
}

PACKET_CASE(PathFragmentsKeepOnlyCopiedOptions) {
  World world;
  Frame big = udp("10.244.1.2", 4000, "10.244.1.3", 53).with_payload(1600).with_id(77);
  big.ip_options = {148, 4, 0, 0, 7, 7,
                    4,   0, 0, 0, 0, 0};  // router alert: copied; record route: not
  auto pieces = fragments(big.one_hop_less(), 1480);
  ASSERT_EQ(pieces.size(), 2U);
  pieces[1].ip_options = {148, 4, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0};
  RUN(world, {.in = {{"a", big}},
              .out = {{"b", pieces[0]}, {"b", pieces[1]}},
              .counters = {{"flows_created", 1}, {"originated", 1}}});
}

PACKET_CASE(PathFragmentingFinishesTheChecksum) {
  World world;
  const Frame big = udp("10.244.1.2", 4000, "10.244.1.3", 53).with_payload(2000).with_id(77);
  const auto pieces = fragments(big.one_hop_less(), 1480);
  RUN(world, {.in = {{"a", big.with_partial_checksum(), 500}},
              .out = {{"b", pieces[0]}, {"b", pieces[1]}},
              .counters = {{"flows_created", 1}, {"originated", 1}}});
}

// --- unsegmented TCP

FAMILY_CASE(PathUnsegmentedTcpPassesWhole) {
  World world;
  const Frame syn = tcp(n.a, 4000, n.b, 80, "S");
  RUN(world,
      {.in = {{"a", syn}}, .out = {{"b", syn.one_hop_less()}}, .counters = {{"flows_created", 1}}});
  const Frame back = tcp(n.b, 80, n.a, 4000, "SA");
  RUN(world, {.in = {{"b", back}}, .out = {{"a", back.one_hop_less()}}});
  In in{.port = "a",
        .frame = tcp(n.a, 4000, n.b, 80, "A").with_payload(40000).with_partial_checksum()};
  in.first_segment = 14 + (n.v4 ? 20 : 40) + 20;
  in.offloads = RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM;
  in.segment_size = 1400;
  RUN(world, {.in = {in}, .out = {{"b", in.frame.one_hop_less()}}});
  in.segment_size = 1480;  // with its headers more than the MTU
  Frame refused = in.frame.with_dont_fragment();
  in.frame = refused;
  const auto size = static_cast<std::ptrdiff_t>(n.v4 ? 548 : 1232);
  RUN(world, {.in = {in},
              .out = {{.port = "a",
                       .judge =
                           [&](const Bytes& bytes) {
                             const std::size_t l4 = n.v4 ? 34 : 54;
                             const unsigned* type = n.v4 ? kTooBigV4 : kTooBigV6;
                             if (bytes[l4] != type[0] || bytes[l4 + 1] != type[1]) return "type";
                             if (get16(bytes, l4 + 6) != 1480) return "MTU";
                             return static_cast<std::ptrdiff_t>(bytes.size()) ==
                                            static_cast<std::ptrdiff_t>(l4) + 8 + size
                                        ? ""
                                        : "quoted length";
                           }}},
              .counters = {{"originated", 1}, {"drop.too_big", 1}}});
}

PACKET_CASE(PathOffloadsAreDescribedForTheTunnel) {
  World world;
  const Frame syn = tcp("10.244.1.2", 4000, "10.244.2.2", 80, "S").with_partial_checksum();
  std::string wrong;
  Worker& w = world.worker();
  Burst batch;
  batch.append(world.make_buffer({.port = "a", .frame = syn}), world.port_id("a"));
  w.process(batch);
  auto& sent = world.port("uplink").sent;
  ASSERT_EQ(sent.size(), 1U);
  rte_mbuf* mbuf = sent.front();
  sent.pop_front();
  EXPECT_EQ(mbuf->outer_l2_len, 14U);
  EXPECT_EQ(mbuf->outer_l3_len, 20U);
  EXPECT_EQ(mbuf->l2_len, 0U);
  EXPECT_EQ(mbuf->l3_len, 20U);
  EXPECT_EQ(mbuf->l4_len, 20U);
  const std::uint64_t flags = RTE_MBUF_F_TX_TUNNEL_IPIP | RTE_MBUF_F_TX_OUTER_IPV4 |
                              RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_TCP_CKSUM;
  EXPECT_EQ(mbuf->ol_flags & flags, flags);
  rte_pktmbuf_free(mbuf);
}

// --- fragments that arrive

struct Pieces {
  Frame whole;
  std::vector<Frame> in, out;
};

Pieces pieces_of(const Frame& whole, const Frame& arrives, std::size_t mtu = 600) {
  return {whole, fragments(whole, mtu), fragments(arrives, mtu)};
}

Pieces large(const Names& n, std::uint16_t id = 77) {
  const Frame whole = udp(n.a, 4000, n.vip, 53).with_payload(2000).with_id(id);
  return pieces_of(whole, whole.to(n.b, 5353).one_hop_less());
}

void add_service(World& world, const Names& n) {
  world.add_cluster_ip(17, n.at(n.vip, 53), {n.at(n.b, 5353)});
  world.publish();
}

// Fragmenting after translation and before must agree in all but the checksum, which the first
// fragment's header carries.
FAMILY_CASE(FragmentsShareOneTranslation) {
  World world;
  add_service(world, n);
  const Pieces p = large(n);
  ASSERT_EQ(p.in.size(), 4U);
  std::int64_t fresh = 1;
  for (std::size_t i = 0; i < p.in.size(); ++i) {
    RUN(world,
        {.in = {{"a", p.in[i]}}, .out = {{"b", p.out[i]}}, .counters = {{"flows_created", fresh}}});
    fresh = 0;
  }
  EXPECT_EQ(world.worker().fragments->datagrams(), 0U);
}

FAMILY_CASE(FragmentsInOneBurst) {
  World world;
  add_service(world, n);
  const Pieces p = large(n);
  RUN(world, {.in = {{"a", p.in[0]}, {"a", p.in[1]}, {"a", p.in[2]}, {"a", p.in[3]}},
              .out = {{"b", p.out[0]}, {"b", p.out[1]}, {"b", p.out[2]}, {"b", p.out[3]}},
              .counters = {{"flows_created", 1}}});
}

FAMILY_CASE(FragmentsWaitForTheFirst) {
  World world;
  add_service(world, n);
  const Pieces p = large(n);
  RUN(world, {.in = {{"a", p.in[3]}}, .counters = {{"holding", 1}}});
  RUN(world, {.in = {{"a", p.in[1]}}, .counters = {{"holding", 1}}});
  RUN(world, {.in = {{"a", p.in[0]}},
              .out = {{"b", p.out[0]}, {"b", p.out[3]}, {"b", p.out[1]}},
              .counters = {{"flows_created", 1}, {"holding", -2}}});
  RUN(world, {.in = {{"a", p.in[2]}}, .out = {{"b", p.out[2]}}});
  EXPECT_EQ(world.worker().fragments->datagrams(), 0U);
}

FAMILY_CASE(FragmentsComeThroughTheTunnelToo) {
  if (!n.v4) return;  // IPv6 has no tunnel
  World world;
  const Frame whole = udp(n.remote, 4000, n.a, 53).with_payload(2000).with_id(9);
  const Pieces p = pieces_of(whole, whole.one_hop_less());
  RUN(world, {.in = {n.from_node2(p.in[1])}, .counters = {{"holding", 1}, {"tunnel_in", 1}}});
  RUN(world, {.in = {n.from_node2(p.in[0])},
              .out = {{"a", p.out[0]}, {"a", p.out[1]}},
              .counters = {{"flows_created", 1}, {"holding", -1}, {"tunnel_in", 1}}});
}

FAMILY_CASE(FragmentsAgeOut) {
  World world;
  add_service(world, n);
  const Pieces p = large(n);
  RUN(world, {.in = {{"a", p.in[1]}, {"a", p.in[2]}}, .counters = {{"holding", 2}}});
  world.advance(29);
  RUN(world, {});
  world.advance(2);
  RUN(world, {.counters = {{"holding", -2}, {"drop.fragment_unmatched", 2}}});
  EXPECT_EQ(world.worker().fragments->datagrams(), 0U);
  // What comes later starts anew.
  RUN(world, {.in = {{"a", p.in[3]}}, .counters = {{"holding", 1}}});
}

FAMILY_CASE(FragmentsRepeated) {
  World world;
  add_service(world, n);
  const Pieces p = large(n);
  RUN(world, {.in = {{"a", p.in[0]}, {"a", p.in[1]}, {"a", p.in[1]}, {"a", p.in[0]}},
              .out = {{"b", p.out[0]}, {"b", p.out[1]}},
              .counters = {{"flows_created", 1}, {"drop.fragment_overlap", 2}}});
  RUN(world, {.in = {{"a", p.in[2]}}, .out = {{"b", p.out[2]}}});
}

FAMILY_CASE(FragmentsOverlapping) {
  World world;
  add_service(world, n);
  const Pieces p = large(n);
  Frame overlapping = p.in[2];
  overlapping.offset = static_cast<std::uint16_t>(*overlapping.offset - 8);
  RUN(world, {.in = {{"a", p.in[0]}, {"a", p.in[1]}, {"a", overlapping}, {"a", p.in[3]}},
              .out = {{"b", p.out[0]}, {"b", p.out[1]}},
              .counters = {{"flows_created", 1}, {"drop.fragment_overlap", 2}}});
  // A datagram of another name is not concerned.
  const Pieces other = large(n, 78);
  RUN(world, {.in = {{"a", other.in[0]}}, .out = {{"b", other.out[0]}}});
}

FAMILY_CASE(FragmentsOverlapBeforeTheFirst) {
  World world;
  add_service(world, n);
  const Pieces p = large(n);
  Frame overlapping = p.in[2];
  overlapping.offset = static_cast<std::uint16_t>(*overlapping.offset - 8);
  RUN(world, {.in = {{"a", p.in[2]}}, .counters = {{"holding", 1}}});
  RUN(world, {.in = {{"a", overlapping}, {"a", p.in[0]}},
              .counters = {{"holding", -1}, {"drop.fragment_overlap", 3}}});
}

FAMILY_CASE(FragmentsBeyondTheLast) {
  World world;
  add_service(world, n);
  const Pieces p = large(n);
  Frame beyond = p.in[3];
  beyond.offset = static_cast<std::uint16_t>(*beyond.offset + 4000);
  RUN(world, {.in = {{"a", p.in[0]}, {"a", p.in[3]}, {"a", beyond}},
              .out = {{"b", p.out[0]}, {"b", p.out[3]}},
              .counters = {{"flows_created", 1}, {"drop.fragment_overlap", 1}}});
}

FAMILY_CASE(FragmentsBeyondTheLargestDatagram) {
  World world;
  Frame piece = large(n).in[1];
  piece.offset = 65528;
  RUN(world, {.in = {{"a", piece}}, .counters = {{"drop.fragment_overlap", 1}}});
}

FAMILY_CASE(FragmentsThatMakeNoSense) {
  World world;
  Frame piece = large(n).in[1];
  piece.raw->resize(13);  // more follow, but it is no multiple of eight
  RUN(world, {.in = {{"a", piece}}, .counters = {{"drop.bad_ip_header", 1}}});
  piece.raw->clear();
  RUN(world, {.in = {{"a", piece}}, .counters = {{"drop.bad_ip_header", 1}}});
}

FAMILY_CASE(FragmentsTinyFirst) {
  World world;
  for (const Frame& whole : {tcp(n.a, 4000, n.b, 80, "S").with_payload(100).with_id(3),
                             sctp(n.a, 4000, n.b, 80).with_id(4)}) {
    const auto pieces = fragments(whole, n.v4 ? 28 : 56);  // eight bytes each
    RUN(world, {.in = {{"a", pieces[0]}}, .counters = {{"drop.bad_l4_header", 1}}});
  }
}

FAMILY_CASE(FragmentsOfIcmpErrorsAreRefused) {
  World world;
  const Frame error =
      icmp_error(n.a, n.b, n.v4 ? 3 : 1, 1, udp(n.b, 1, n.a, 2).with_payload(400), 400).with_id(3);
  RUN(world, {.in = {{"a", fragments(error, 200)[0]}}, .counters = {{"drop.bad_l4_header", 1}}});
}

FAMILY_CASE(FragmentsOldestDatagramMakesRoom) {
  World world;  // 16 datagrams
  add_service(world, n);
  for (std::uint16_t id = 0; id < 16; ++id) {
    RUN(world, {.in = {{"a", large(n, id).in[1]}}, .counters = {{"holding", 1}}});
  }
  const Pieces p = large(n, 99);
  RUN(world, {.in = {{"a", p.in[0]}, {"a", p.in[1]}},
              .out = {{"b", p.out[0]}, {"b", p.out[1]}},
              .counters = {{"flows_created", 1}, {"holding", -1}, {"drop.fragment_limit", 1}}});
  EXPECT_EQ(world.worker().fragments->datagrams(), 16U);
}

FAMILY_CASE(FragmentsHeldAreBounded) {
  World world;
  const Frame whole = udp(n.a, 4000, n.b, 53).with_payload(9000).with_id(7);
  const auto pieces = fragments(whole, 120);
  ASSERT_GT(pieces.size(), 70U);
  std::vector<In> in;
  for (std::size_t i = 1; i <= 60; ++i) in.push_back({"a", pieces[i]});
  RUN(world, {.in = in, .counters = {{"holding", 60}}});
  in.clear();
  for (std::size_t i = 61; i <= 70; ++i) in.push_back({"a", pieces[i]});
  RUN(world, {.in = in, .counters = {{"holding", 4}, {"drop.fragment_limit", 6}}});
}

// --- next hops that are not known yet

struct Unknown {
  World world;
  const Names& n;
  tables::NextHopId hop;
  tables::NextHop known;

  explicit Unknown(const Names& names) : n(names) {
    hop = world.routes.find(ip(n.outside));
    known = world.routes.next_hops[hop];
    world.routes.next_hops[hop].kind = tables::NextHopKind::unresolved;
    world.publish();
  }
  void learn() {
    world.routes.next_hops[hop] = known;
    world.publish();
  }
  std::vector<net::Address> wanted() {
    std::vector<net::Address> out;
    observe::Event event;
    while (world.worker().events.pop(event)) {
      if (event.kind == observe::Event::Kind::neighbour_wanted) out.push_back(event.address);
    }
    return out;
  }
  Frame frame(std::uint16_t port) const { return udp(n.node, port, n.outside, 53); }
};

FAMILY_CASE(HoldWaitsForTheNeighbour) {
  Unknown t(n);
  RUN(t.world, {.in = {{"host", t.frame(1)}, {"host", t.frame(2)}},
                .counters = {{"flows_created", 2}, {"holding", 2}}});
  EXPECT_EQ(t.wanted(), std::vector<net::Address>{t.known.gateway});
  RUN(t.world, {});
  EXPECT_TRUE(t.wanted().empty());
  t.world.publish();  // a snapshot that knows nothing new
  RUN(t.world, {});
  t.learn();
  RUN(t.world, {.in = {{"host", t.frame(3)}},
                .out = {{"uplink", t.frame(3)}, {"uplink", t.frame(1)}, {"uplink", t.frame(2)}},
                .counters = {{"flows_created", 1}, {"holding", -2}}});
}

FAMILY_CASE(HoldGivesUpAfterASecond) {
  Unknown t(n);
  RUN(t.world, {.in = {{"host", t.frame(1)}}, .counters = {{"flows_created", 1}, {"holding", 1}}});
  t.world.advance(1);
  RUN(t.world,
      {.out = {error_out("host", n.node, n.v4 ? 3 : 1, n.v4 ? 1 : 3, t.frame(1))},
       .counters = {{"holding", -1}, {"originated", 1}, {"drop.neighbour_unresolved", 1}}});
  t.wanted();
  RUN(t.world, {.in = {{"host", t.frame(1)}}, .counters = {{"holding", 1}}});
  EXPECT_EQ(t.wanted().size(), 1U);  // asked again, a second later
}

FAMILY_CASE(HoldIsBounded) {
  Unknown t(n);
  std::vector<In> in;
  for (std::uint16_t i = 1; i <= 10; ++i) in.push_back({"host", t.frame(i)});
  RUN(t.world,
      {.in = in,
       .counters = {{"flows_created", 10}, {"holding", 8}, {"drop.neighbour_unresolved", 2}}});
  EXPECT_EQ(t.wanted().size(), 1U);
}

FAMILY_CASE(HoldOnLinkAsksForTheDestination) {
  Unknown t(n);
  t.world.routes.next_hops[t.hop].gateway = net::Address{};
  t.world.publish();
  RUN(t.world, {.in = {{"host", t.frame(1)}}, .counters = {{"flows_created", 1}, {"holding", 1}}});
  EXPECT_EQ(t.wanted(), std::vector<net::Address>{ip(n.outside)});
}

FAMILY_CASE(HoldKeepsWhatWasMasqueraded) {
  Unknown t(n);
  const Frame question = udp(n.a, 4000, n.outside, 53);
  RUN(t.world, {.in = {{"a", question}}, .counters = {{"flows_created", 1}, {"holding", 1}}});
  t.learn();
  std::uint16_t port = 0;
  RUN(t.world, {.out = {{"uplink", question.from(n.node).one_hop_less(), &port}},
                .counters = {{"holding", -1}}});
}

// A stranger may leave by the uplink again when a Service translates it; that is still so when the
// flow is forgotten while the packet waits.
FAMILY_CASE(HoldKeepsWhatAServiceSentBack) {
  World world;
  world.add_frontend(world.add_service(17, {n.at(n.remote, 5353)}, {}),
                     tables::FrontendKind::node_port, n.node_port(30080));
  tables::NextHop& hop = world.routes.next_hops[world.routes.find(ip(n.remote))];
  const tables::NextHop known = hop;
  hop.kind = tables::NextHopKind::unresolved;
  world.publish();
  const Frame question = udp(n.outside, 4000, n.node, 30080);
  RUN(world, {.in = {{"uplink", question}}, .counters = {{"flows_created", 1}, {"holding", 1}}});
  hop = known;
  world.publish();
  std::uint16_t port = 0;
  const Frame out = question.to(n.remote, 5353).from(n.node).one_hop_less();
  RUN(world,
      {.out = {n.to_node2(out, &port)}, .counters = n.tunneled({{"holding", -1}}, "tunnel_out")});
}

}  // namespace
}  // namespace podwire::test
