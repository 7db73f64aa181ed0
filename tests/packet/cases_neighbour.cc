// ARP, neighbour discovery and the gateway's echo.
#include "tests/packet/families.h"
#include "tests/packet/raw.h"

namespace podwire::test {
namespace {

constexpr const char* kGateway6 = "fe80::ecee:eeff:feee:eeee";
constexpr const char* kLinkLocal = "fe80::800:ff:fe00:2";
const net::Mac kSolicited = mac("33:33:ff:ee:ee:ee");

PACKET_CASE(NeighbourArpIsAnsweredForAnyTarget) {
  World world;
  for (const char* target : {"169.254.1.1", "10.244.1.3", "192.0.2.77", "8.8.8.8"}) {
    const Bytes question = arp(kPodA, kBroadcast, {.target_ip = target});
    const Bytes answer =
        arp(net::kGatewayMac, kPodA, {2, net::kGatewayMac, target, "10.244.1.2", kPodA});
    RUN(world, {.in = {{.port = "a", .bytes = question}}, .out = {{.port = "a", .bytes = answer}}});
    // Refreshing an address asks the one host.
    const Bytes again = arp(kPodA, net::kGatewayMac, {.target_ip = target});
    RUN(world, {.in = {{.port = "a", .bytes = again}}, .out = {{.port = "a", .bytes = answer}}});
  }
}

PACKET_CASE(NeighbourArpThatWantsNoAnswer) {
  World world;
  const std::vector<ArpText> table = {
      {.sender_ip = "0.0.0.0", .target_ip = "10.244.1.2"},     // RFC 5227 probe
      {.sender_ip = "0.0.0.0", .target_ip = "10.244.1.3"},     //
      {.sender_ip = "10.244.1.2", .target_ip = "10.244.1.2"},  // announcement
      {.operation = 2, .target_ip = "10.244.1.2"},
      {.operation = 2},
      {.target_ip = "0.0.0.0"},
      {.target_ip = "127.0.0.1"},
      {.target_ip = "224.0.0.1"},
      {.target_ip = "255.255.255.255"}};
  for (const ArpText& text : table) {
    EXPECT_DROP(world, "a", arp(kPodA, kBroadcast, text), "neighbour_ignored");
  }
}

PACKET_CASE(NeighbourArpSpoofed) {
  World world;
  EXPECT_DROP(world, "a", arp(mac("0a:00:00:00:00:03"), kBroadcast, {}), "spoofed_mac");
  EXPECT_DROP(world, "a", arp(kPodA, kBroadcast, {.sender = mac("0a:00:00:00:00:03")}),
              "spoofed_mac");
  EXPECT_DROP(world, "a", arp(kPodA, kBroadcast, {.sender_ip = "10.244.1.3"}), "spoofed_ip");
}

PACKET_CASE(NeighbourArpMalformed) {
  World world;
  const Bytes good = arp(kPodA, kBroadcast, {});
  for (std::size_t size = 14; size < good.size(); ++size) {
    EXPECT_DROP(world, "a", Bytes(good.begin(), good.begin() + static_cast<long>(size)), "bad_arp");
  }
  for (const std::size_t at : {14U, 15U, 16U, 17U, 18U, 19U, 20U, 21U}) {
    Bytes bad = good;
    bad[at] ^= 0x08;
    EXPECT_DROP(world, "a", bad, "bad_arp");
  }
}

Bytes advertisement(const char* to, const char* target, const net::Mac& to_mac) {
  return icmpv6(net::kGatewayMac, to_mac, kGateway6, to, 255,
                neighbour_message(136, 0xc0, target, 2, net::kGatewayMac));
}

PACKET_CASE(NeighbourSolicitationIsAnsweredForAnyTarget) {
  World world;
  for (const char* target : {kGateway6, "fd00:244:1::3", "2001:db8::1"}) {
    for (const char* source : {"fd00:244:1::2", kLinkLocal}) {
      const Bytes answer = advertisement(source, target, kPodA);
      for (const unsigned option : {1U, 0U}) {
        const Bytes message = neighbour_message(135, 0, target, option, kPodA);
        const Bytes question = icmpv6(kPodA, kSolicited, source, "ff02::1:ffee:eeee", 255, message);
        RUN(world,
            {.in = {{.port = "a", .bytes = question}}, .out = {{.port = "a", .bytes = answer}}});
        const Bytes probe = icmpv6(kPodA, net::kGatewayMac, source, kGateway6, 255, message);
        RUN(world,
            {.in = {{.port = "a", .bytes = probe}}, .out = {{.port = "a", .bytes = answer}}});
      }
      // Options that nobody knows are skipped, and do not come back.
      Bytes message = neighbour_message(135, 0, target, 1, kPodA);
      put(message, {200, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14});
      const Bytes question = icmpv6(kPodA, kSolicited, source, "ff02::1:ffee:eeee", 255, message);
      RUN(world,
          {.in = {{.port = "a", .bytes = question}}, .out = {{.port = "a", .bytes = answer}}});
    }
  }
}

PACKET_CASE(NeighbourDiscoveryThatWantsNoAnswer) {
  World world;
  const auto send = [&](const char* source, const Bytes& message) {
    EXPECT_DROP(world, "a", icmpv6(kPodA, kSolicited, source, "ff02::1:ff00:2", 255, message),
                "neighbour_ignored");
  };
  // Duplicate address detection, of whatever address.
  send("::", neighbour_message(135, 0, "fd00:244:1::2", 0, {}));
  send("::", neighbour_message(135, 0, kLinkLocal, 0, {}));
  send("fd00:244:1::2", neighbour_message(135, 0, "fd00:244:1::2", 1, kPodA));
  send(kLinkLocal, neighbour_message(136, 0x20, kLinkLocal, 2, kPodA));
  send(kLinkLocal, {133, 0, 0, 0, 0, 0, 0, 0});
  send(kLinkLocal, {134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0});
  send(kLinkLocal, neighbour_message(137, 0, "fd00:244:1::9", 0, {}));
  const Bytes report = icmpv6(kPodA, mac("33:33:00:00:00:16"), kLinkLocal, "ff02::16", 1,
                              {143, 0, 0, 0, 0, 0, 0, 0});
  EXPECT_DROP(world, "a", with_extension(report, 0, {0, 5, 2, 0, 0, 1, 0}), "neighbour_ignored");
}

PACKET_CASE(NeighbourSolicitationMalformed) {
  World world;
  const Bytes message = neighbour_message(135, 0, kGateway6, 1, kPodA);
  const auto send = [&](const char* source, unsigned hop_limit, const Bytes& bytes,
                        const char* reason) {
    EXPECT_DROP(world, "a",
                icmpv6(kPodA, kSolicited, source, "ff02::1:ffee:eeee", hop_limit, bytes), reason);
  };
  send("fd00:244:1::2", 64, message, "bad_arp");  // a router forwarded it
  send("fd00:244:1::3", 255, message, "spoofed_ip");
  send("::", 255, message, "bad_arp");  // an option that has no sender
  send("fd00:244:1::2", 255, neighbour_message(135, 0, "ff02::1", 1, kPodA), "bad_arp");
  for (std::size_t size = 8; size < message.size(); ++size) {
    if (size == 24) continue;  // without the option it is good
    send("fd00:244:1::2", 255, Bytes(message.begin(), message.begin() + static_cast<long>(size)),
         "bad_arp");
  }
  Bytes endless = message;
  endless[25] = 0;  // an option of no length
  send("fd00:244:1::2", 255, endless, "bad_arp");
  Bytes damaged = icmpv6(kPodA, kSolicited, "fd00:244:1::2", "ff02::1:ffee:eeee", 255, message);
  damaged.back() ^= 1;
  EXPECT_DROP(world, "a", damaged, "bad_arp");
}

PACKET_CASE(NeighbourHostAsksForTheGateway) {
  World world;
  const Bytes question = arp(kUplink, kBroadcast, {1, kUplink, kNodeV4, "169.254.1.1"});
  const Bytes answer =
      arp(net::kGatewayMac, kUplink, {2, net::kGatewayMac, "169.254.1.1", kNodeV4, kUplink});
  RUN(world,
      {.in = {{.port = "host", .bytes = question}}, .out = {{.port = "host", .bytes = answer}}});
  const Bytes asks = icmpv6(kUplink, kSolicited, kNodeV6, "ff02::1:ffee:eeee", 255,
                            neighbour_message(135, 0, kGateway6, 1, kUplink));
  RUN(world, {.in = {{.port = "host", .bytes = asks}},
              .out = {{.port = "host", .bytes = advertisement(kNodeV6, kGateway6, kUplink)}}});
}

FAMILY_CASE(NeighbourGatewayAnswersEcho) {
  World world;
  const char* gateway = n.v4 ? "169.254.1.1" : kGateway6;
  const Frame question = ping(n.a, gateway, 77).with_payload(56).with_ttl(1);
  RUN(world, {.in = {{"a", question}},
              .out = {{"a", pong(gateway, n.a, 77).with_payload(56).with_ttl(64)}}});
  RUN(world, {.in = {{"host", ping(n.node, gateway, 78)}},
              .out = {{"host", pong(gateway, n.node, 78).with_ttl(64)}}});
  EXPECT_DROP(world, "a", frame_bytes(world.addressed_in("a", pong(n.a, gateway, 77))),
              "bad_address");
  const auto pieces = fragments(question.with_payload(2000).with_id(5), 1480);
  EXPECT_DROP(world, "a", frame_bytes(world.addressed_in("a", pieces[0])), "bad_address");
}

PACKET_CASE(NeighbourGatewayAnswersEchoFromLinkLocal) {
  World world;
  RUN(world, {.in = {{"a", ping(kLinkLocal, kGateway6, 77)}},
              .out = {{"a", pong(kGateway6, kLinkLocal, 77).with_ttl(64)}}});
}

}  // namespace
}  // namespace podwire::test
