// What may not even begin: one line of a table for each way a frame can be wrong.
#include "tests/packet/families.h"
#include "tests/packet/raw.h"

namespace podwire::test {
namespace {

Bytes shortened(const Bytes& bytes, std::size_t size) {
  return Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
}

// A header that ends early while the IP length agrees with what is there.
Frame cut_transport(Frame frame, std::size_t size) {
  frame.raw = shortened(transport_bytes(frame), size);
  return frame;
}

Bytes from_pod(const World& world, const Frame& frame) {
  return frame_bytes(world.addressed_in("a", frame));
}

std::vector<Frame> one_of_each(const Names& n) {
  return {udp(n.a, 4000, n.b, 53).with_payload(3), tcp(n.a, 4000, n.b, 80, "S"),
          sctp(n.a, 4000, n.b, 7), ping(n.a, n.b, 77)};
}

FAMILY_CASE(ParseEveryTruncation) {
  World world;
  for (const Frame& frame : one_of_each(n)) {
    const Bytes whole = from_pod(world, frame);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      EXPECT_DROP(world, "a", shortened(whole, size), "truncated");
    }
  }
}

PACKET_CASE(ParseEveryTruncationInTunnel) {
  World world;
  const Frame inner = udp("10.244.2.2", 4000, "10.244.1.2", 53).with_payload(3);
  const Frame frame = inner.through(kNode2V4, kNodeV4);
  const Bytes whole = frame_bytes(world.addressed_in("uplink", frame));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_DROP(world, "uplink", shortened(whole, size), "truncated");
  }
  // The outer length agrees, the inner one does not.
  for (std::size_t size = 34; size < whole.size(); ++size) {
    Bytes cut = shortened(whole, size);
    set16(cut, 16, static_cast<unsigned>(size - 14));
    mend_ipv4(cut);
    EXPECT_DROP(world, "uplink", cut, "truncated");
  }
}

FAMILY_CASE(ParseShortTransportHeader) {
  World world;
  const auto lengths = std::vector<std::size_t>{8, 20, 16, 8};
  const auto frames = one_of_each(n);
  for (std::size_t i = 0; i < frames.size(); ++i) {
    for (std::size_t size = 0; size < lengths[i]; ++size) {
      EXPECT_DROP(world, "a", from_pod(world, cut_transport(frames[i], size)), "truncated");
    }
  }
}

FAMILY_CASE(ParseHeadersMustBeInFirstSegment) {
  World world;
  const Frame frame = tcp(n.a, 4000, n.b, 80, "S").with_payload(100);
  const std::size_t headers = 14 + (n.v4 ? 20 : 40) + 20;
  for (std::size_t first = 1; first < headers; ++first) {
    RUN(world, {.in = {{"a", frame, first}}, .counters = {{"drop.truncated", 1}}});
  }
  RUN(world, {.in = {{"a", frame, headers}},
              .out = {{"b", frame.one_hop_less()}},
              .counters = {{"flows_created", 1}}});
}

FAMILY_CASE(ParsePaddingIsCut) {
  World world;
  const Frame frame = udp(n.a, 4000, n.b, 53);
  In in{.port = "a", .bytes = from_pod(world, frame)};
  in.bytes->resize(in.bytes->size() + 18, 0xaa);
  RUN(world,
      {.in = {in}, .out = {{"b", frame.one_hop_less()}}, .counters = {{"flows_created", 1}}});
  in.first_segment = in.bytes->size() - 20;  // the padding begins in the first segment
  RUN(world, {.in = {in}, .out = {{"b", frame.one_hop_less()}}});
}

struct Wrong {
  const char* what;
  std::size_t at;  // from the IP header
  std::vector<std::uint8_t> bytes;
  const char* reason;
};

void run_wrong(World& world, const std::string& port, const Frame& frame,
               const std::vector<Wrong>& table, bool mend) {
  for (const Wrong& wrong : table) {
    SCOPED_TRACE(wrong.what);
    Bytes bytes = frame_bytes(world.addressed_in(port, frame));
    std::copy(wrong.bytes.begin(), wrong.bytes.end(),
              bytes.begin() + 14 + static_cast<std::ptrdiff_t>(wrong.at));
    if (mend) mend_ipv4(bytes);
    EXPECT_DROP(world, port, bytes, wrong.reason);
  }
}

PACKET_CASE(ParseIpv4HeaderFromPod) {
  World world;
  const Frame frame = udp("10.244.1.2", 4000, "10.244.1.3", 53).with_payload(60);
  run_wrong(world, "a", frame,
            {{"checksum", 10, {0x12, 0x34}, "bad_ip_checksum"},
             {"ttl without its checksum", 8, {7}, "bad_ip_checksum"}},
            false);
  run_wrong(world, "a", frame,
            {{"version 6", 0, {0x65}, "bad_ip_header"},
             {"version 0", 0, {0x05}, "bad_ip_header"},
             {"header of 16 bytes", 0, {0x44}, "bad_ip_header"},
             {"total length below the header's", 2, {0, 19}, "bad_ip_header"},
             {"total length zero", 2, {0, 0}, "bad_ip_header"},
             {"total length beyond the frame", 2, {0, 89}, "truncated"},
             {"another pod's source", 12, {10, 244, 1, 3}, "spoofed_ip"},
             {"source 0.0.0.0", 12, {0, 0, 0, 0}, "spoofed_ip"},
             {"destination 0.0.0.0", 16, {0, 0, 0, 0}, "bad_address"},
             {"destination loopback", 16, {127, 0, 0, 1}, "bad_address"},
             {"destination group", 16, {224, 0, 0, 251}, "bad_address"},
             {"destination reserved", 16, {240, 0, 0, 1}, "bad_address"},
             {"destination broadcast", 16, {255, 255, 255, 255}, "bad_address"},
             {"to itself", 16, {10, 244, 1, 2}, "bad_address"},
             {"gateway, but no echo", 16, {169, 254, 1, 1}, "bad_address"},
             {"IPIP", 9, {4}, "pod_tunnel"},
             {"IPv6 in IP", 9, {41}, "pod_tunnel"},
             {"VXLAN", 22, {0x12, 0xb5}, "pod_tunnel"},
             {"UDP length below eight", 24, {0, 7}, "bad_l4_header"},
             {"UDP length beyond the packet", 24, {0, 69}, "truncated"},
             {"ICMPv6 over IPv4", 9, {58}, "bad_l4_header"}},
            true);
}

PACKET_CASE(ParseIpv4AddressesFromUplink) {
  World world;
  run_wrong(world, "uplink", udp("198.51.100.7", 4000, kNodeV4, 53),
            {{"source 0.1.2.3", 12, {0, 1, 2, 3}, "bad_address"},
             {"source loopback", 12, {127, 0, 0, 1}, "bad_address"},
             {"source group", 12, {224, 0, 0, 1}, "bad_address"},
             {"source broadcast", 12, {255, 255, 255, 255}, "bad_address"},
             {"source our own", 12, {192, 0, 2, 1}, "bad_address"},
             {"destination loopback", 16, {127, 0, 0, 1}, "bad_address"},
             {"destination group, unicast frame", 16, {224, 0, 0, 1}, "bad_address"}},
            true);
}

PACKET_CASE(ParseIpv4AddressOfLocalPodFromUplink) {
  World world;
  const Frame frame = udp("10.244.1.3", 4000, "10.244.1.2", 53);
  RUN(world,
      {.in = {{"uplink", frame}}, .counters = {{"flows_created", 1}, {"drop.bad_address", 1}}});
}

PACKET_CASE(ParseIpv4Options) {
  World world;
  Frame frame = udp("10.244.1.2", 4000, "10.244.1.3", 53);
  const std::vector<std::pair<Bytes, bool>> table = {
      {{1, 1, 1, 0}, true},                  // no-operations, end
      {{7, 7, 4, 0, 0, 0, 0, 0}, true},      // record route
      {{148, 4, 0, 0}, true},                // router alert
      {{0, 131, 3, 4}, true},                // what stands behind the end is none
      {{131, 7, 4, 10, 0, 0, 1, 0}, false},  // loose source route
      {{137, 7, 4, 10, 0, 0, 1, 0}, false},  // strict
      {{1, 1, 131, 3, 4, 0, 0, 0}, false},   // hidden behind others
      {{7, 1, 4, 0}, false},
      {{7, 0, 4, 0}, false},  // shorter than itself
      {{7, 5, 4, 0}, false},
      {{1, 1, 1, 7}, false},  // longer than the header
  };
  bool first = true;
  for (const auto& [options, passes] : table) {
    frame.ip_options = options;
    if (passes) {
      RUN(world, {.in = {{"a", frame}},
                  .out = {{"b", frame.one_hop_less()}},
                  .counters = {{"flows_created", first ? 1 : 0}}});
      first = false;
    } else {
      EXPECT_DROP(world, "a", from_pod(world, frame), "bad_ip_option");
    }
  }
}

PACKET_CASE(ParseIpv6HeaderFromPod) {
  World world;
  const Frame frame = udp("fd00:244:1::2", 4000, "fd00:244:1::3", 53).with_payload(60);
  const auto at = [](std::string_view text) {
    const auto bytes = ip(text).bytes;
    return std::vector<std::uint8_t>(bytes.begin(), bytes.end());
  };
  run_wrong(world, "a", frame,
            {{"version 4", 0, {0x40}, "bad_ip_header"},
             {"payload length beyond the frame", 4, {0, 69}, "truncated"},
             {"payload length zero", 4, {0, 0}, "truncated"},
             {"another pod's source", 8, at("fd00:244:1::3"), "spoofed_ip"},
             {"unspecified source", 8, at("::"), "spoofed_ip"},
             {"link-local source", 8, at("fe80::800:ff:fe00:2"), "spoofed_ip"},
             {"group as source", 8, at("ff02::1"), "bad_address"},
             {"loopback as source", 8, at("::1"), "bad_address"},
             {"mapped source", 8, at("::ffff:10.244.1.2"), "bad_address"},
             {"mapped destination", 24, at("::ffff:10.244.1.3"), "bad_address"},
             {"loopback", 24, at("::1"), "bad_address"},
             {"unspecified", 24, at("::"), "bad_address"},
             {"group, unicast frame", 24, at("ff02::fb"), "bad_address"},
             {"another link-local", 24, at("fe80::1"), "bad_address"},
             {"to itself", 24, at("fd00:244:1::2"), "bad_address"},
             {"gateway, but no echo", 24, at("fe80::ecee:eeff:feee:eeee"), "bad_address"},
             {"IPv4 in IPv6", 6, {4}, "pod_tunnel"},
             {"IPv6 in IPv6", 6, {41}, "pod_tunnel"},
             {"VXLAN", 42, {0x12, 0xb5}, "pod_tunnel"},
             {"ICMP over IPv6", 6, {1}, "bad_l4_header"}},
            false);
}

PACKET_CASE(ParseIpv6ExtensionHeaders) {
  World world;
  const Bytes plain = from_pod(world, udp("fd00:244:1::2", 4000, "fd00:244:1::3", 53));
  const Bytes padding{0, 1, 4, 0, 0, 0, 0};  // PadN
  struct Row {
    const char* what;
    Bytes bytes;
    const char* reason;
  };
  Bytes many = plain;
  for (int i = 0; i < 9; ++i) many = with_extension(many, 60, padding);
  Bytes long_header = padding;
  long_header[0] = 1;
  const std::vector<Row> table = {
      {"routing type 0", with_extension(plain, 43, {0, 0, 0, 0, 0, 0, 0}), "bad_ip_option"},
      {"segments left", with_extension(plain, 43, {0, 4, 1, 0, 0, 0, 0}), "bad_ip_option"},
      {"late hop-by-hop", with_extension(with_extension(plain, 0, padding), 60, padding),
       "bad_ip_option"},
      {"nine headers", many, "bad_ip_option"},
      {"two fragment headers",
       with_extension(with_extension(plain, 44, {0, 0, 0, 0, 0, 0, 1}), 44, {0, 0, 0, 0, 0, 0, 1}),
       "bad_ip_option"},
      {"header longer than the packet", with_extension(plain, 60, long_header), "truncated"}};
  for (const Row& row : table) {
    SCOPED_TRACE(row.what);
    EXPECT_DROP(world, "a", row.bytes, row.reason);
  }
  const std::vector<Bytes> good = {
      with_extension(plain, 0, padding),
      with_extension(plain, 60, padding),
      with_extension(plain, 43, {0, 4, 0, 0, 0, 0, 0}),
      with_extension(with_extension(plain, 60, padding), 0, padding),
      with_extension(plain, 44, {0, 0, 0, 0, 0, 0, 1}),  // atomic, RFC 6946
  };
  for (std::size_t i = 0; i < good.size(); ++i) {
    Bytes out = good[i];
    std::copy_n(plain.begin() + 6, 6, out.begin());  // checked below by hand: addresses exchanged
    const Frame to_b = world.addressed_out("b", udp("fd00:244:1::2", 1, "fd00:244:1::3", 1));
    std::copy_n(frame_bytes(to_b).begin(), 14, out.begin());
    out[21] = 63;  // hop limit
    RUN(world, {.in = {{.port = "a", .bytes = good[i]}},
                .out = {{.port = "b", .bytes = out}},
                .counters = {{"flows_created", i == 0 ? 1 : 0}}});
  }
}

FAMILY_CASE(ParseTcpHeader) {
  World world;
  const Frame frame = tcp(n.a, 4000, n.b, 80, "S");
  const std::size_t l4 = n.v4 ? 20 : 40;
  run_wrong(world, "a", frame,
            {{"data offset 16", l4 + 12, {0x40}, "bad_l4_header"},
             {"data offset beyond the packet", l4 + 12, {0x60}, "bad_l4_header"},
             {"no flags", l4 + 13, {0x00}, "bad_l4_header"},
             {"SYN and FIN", l4 + 13, {0x03}, "bad_l4_header"},
             {"SYN and RST", l4 + 13, {0x06}, "bad_l4_header"},
             {"FIN alone", l4 + 13, {0x01}, "bad_l4_header"},
             {"all flags", l4 + 13, {0x3f}, "bad_l4_header"}},
            false);
}

FAMILY_CASE(ParseIcmpErrorWithoutQuote) {
  World world;
  Frame frame = ping(n.a, n.b, 1);
  for (const unsigned type :
       n.v4 ? std::vector<unsigned>{3, 4, 5, 11, 12} : std::vector<unsigned>{1, 2, 3, 4}) {
    Bytes message(n.v4 ? 8 + 27 : 8 + 47, 0);
    message[0] = static_cast<std::uint8_t>(type);
    frame.raw = message;
    EXPECT_DROP(world, "a", from_pod(world, frame), "bad_l4_header");
  }
}

FAMILY_CASE(ParseSpoofedMac) {
  World world;
  const Frame frame = udp(n.a, 4000, n.b, 53);
  EXPECT_DROP(world, "a", frame_bytes(frame.with_macs(mac("0a:00:00:00:00:03"), net::kGatewayMac)),
              "spoofed_mac");
  EXPECT_DROP(world, "b", frame_bytes(world.addressed_in("b", frame)), "spoofed_ip");
  EXPECT_DROP(world, "a", frame_bytes(frame.with_macs(kPodA, mac("0a:00:00:00:00:03"))),
              "bad_ethernet");
}

FAMILY_CASE(ParsePodGroupFrames) {
  World world;
  const Frame frame = udp(n.a, 4000, n.b, 53).with_macs(kPodA, kBroadcast);
  EXPECT_DROP(world, "a", frame_bytes(frame), n.v4 ? "bad_address" : "bad_ethernet");
  const Frame group = udp(n.a, 5353, n.v4 ? "224.0.0.251" : "ff02::fb", 5353)
                          .with_macs(kPodA, mac("33:33:00:00:00:fb"));
  EXPECT_DROP(world, "a", frame_bytes(group), "bad_address");
}

FAMILY_CASE(ParseEthernetOfEveryPort) {
  World world;
  const Frame frame = udp(n.outside, 4000, n.node, 53);
  for (const char* port : {"a", "host", "uplink"}) {
    Bytes tagged = frame_bytes(world.addressed_in(port, frame));
    for (const unsigned type : {0x8100U, 0x88a8U}) {
      set16(tagged, 12, type);
      EXPECT_DROP(world, port, tagged, "bad_ethernet");
    }
  }
  Bytes lldp = from_pod(world, udp(n.a, 1, n.b, 1));
  set16(lldp, 12, 0x88cc);
  EXPECT_DROP(world, "a", lldp, "bad_ethernet");
  const Frame for_another = frame.with_macs(mac("02:00:00:00:00:fe"), mac("02:00:00:00:00:09"));
  EXPECT_DROP(world, "uplink", frame_bytes(for_another), "bad_ethernet");
}

FAMILY_CASE(ParsePuntsWhatLinuxDoes) {
  World world;
  const net::Mac other = mac("02:00:00:00:00:02");
  std::vector<Bytes> frames;
  frames.push_back(arp(other, kBroadcast, {1, other, "192.0.2.2", kNodeV4}));
  frames.push_back(arp(other, kUplink, {2, other, "192.0.2.2", kNodeV4, kUplink}));
  frames.push_back(frame_bytes(udp(n.outside, 1, n.node, 2).with_macs(other, kBroadcast)));
  const Bytes nd = neighbour_message(135, 0, kNodeV6, 1, other);
  frames.push_back(icmpv6(other, kUplink, kNode2V6, kNodeV6, 255, nd));
  frames.push_back(icmpv6(other, mac("33:33:ff:00:00:01"), kNode2V6, "ff02::1:ff00:1", 255, nd));
  frames.push_back(frame_bytes(udp("fe80::1", 1, "fe80::2", 2).with_macs(other, kUplink)));
  Bytes lldp = frames.back();
  set16(lldp, 12, 0x88cc);
  frames.push_back(lldp);
  for (const Bytes& frame : frames) {
    RUN(world, {.in = {{.port = "uplink", .bytes = frame}},
                .out = {{.port = "host", .bytes = frame}},
                .counters = {{"punted", 1}}});
    RUN(world, {.in = {{.port = "host", .bytes = frame}},
                .out = {{.port = "uplink", .bytes = frame}},
                .counters = {{"punted", 1}}});
  }
}

FAMILY_CASE(ParseRefusesOffloadsThatDoNotFit) {
  World world;
  In in{.port = "a", .frame = udp(n.a, 4000, n.b, 53).with_payload(100)};
  in.offloads = RTE_MBUF_F_TX_TCP_CKSUM;
  RUN(world, {.in = {in}, .counters = {{"drop.bad_l4_header", 1}}});
  in.offloads = RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM;
  in.segment_size = 1400;
  RUN(world, {.in = {in}, .counters = {{"drop.bad_l4_header", 1}}});
  in.frame = tcp(n.a, 4000, n.b, 80, "S").with_payload(100);
  in.segment_size = 1;
  RUN(world, {.in = {in}, .counters = {{"drop.bad_l4_header", 1}}});
  in.frame = fragments(udp(n.a, 4000, n.b, 53).with_payload(2000).with_id(7), 1400).front();
  in.offloads = RTE_MBUF_F_TX_UDP_CKSUM;
  RUN(world, {.in = {in}, .counters = {{"drop.bad_l4_header", 1}}});
}

FAMILY_CASE(ParseNothingFromPodsBeforeSync) {
  World world;
  world.next.synced = false;
  world.publish();
  EXPECT_DROP(world, "a", from_pod(world, udp(n.a, 4000, n.b, 53)), "not_synced");
  RUN(world,
      {.in = {{"uplink", udp(n.outside, 53, n.a, 4000)}}, .counters = {{"drop.not_synced", 1}}});
  const Frame own = udp(n.outside, 53, n.node, 4000);
  RUN(world, {.in = {{"uplink", own}}, .out = {{"host", own}}, .counters = {{"flows_created", 1}}});
}

}  // namespace
}  // namespace podwire::test
