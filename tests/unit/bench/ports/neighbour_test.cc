#include "bench/ports/neighbour.h"

#include <gtest/gtest.h>

#include <cstring>

#include "dataplane/net/headers.h"
#include "tests/lib/frame.h"

namespace podwire::ports {
namespace {

constexpr net::Mac kOwn{{2, 0, 0, 0, 0, 2}}, kAsker{{2, 0, 0, 0, 0, 1}};

test::Bytes arp_request(std::array<std::uint8_t, 4> sender, std::array<std::uint8_t, 4> target) {
  const net::Ethernet ethernet{net::Mac{{255, 255, 255, 255, 255, 255}}, kAsker,
                               net::be16(net::ether_type::arp)};
  const net::Arp arp{net::be16(1), net::be16(0x0800), 6, 4, net::be16(1), kAsker, sender, {},
                     target};
  test::Bytes frame(sizeof ethernet + sizeof arp);
  std::memcpy(frame.data(), &ethernet, sizeof ethernet);
  std::memcpy(frame.data() + sizeof ethernet, &arp, sizeof arp);
  return frame;
}

TEST(Neighbour, AnswersArp) {
  auto frame = arp_request({172, 18, 0, 11}, {172, 18, 0, 12});
  const auto size = static_cast<unsigned>(frame.size());
  ASSERT_EQ(answer_neighbour(frame.data(), size, size, kOwn), size);
  net::Ethernet ethernet;
  net::Arp arp;
  std::memcpy(&ethernet, frame.data(), sizeof ethernet);
  std::memcpy(&arp, frame.data() + sizeof ethernet, sizeof arp);
  EXPECT_EQ(ethernet.destination, kAsker);
  EXPECT_EQ(ethernet.source, kOwn);
  EXPECT_EQ(arp.operation.host(), 2);
  EXPECT_EQ(arp.sender_mac, kOwn);
  EXPECT_EQ(arp.target_mac, kAsker);
  EXPECT_EQ(arp.sender_ip, (std::array<std::uint8_t, 4>{172, 18, 0, 12}));
  EXPECT_EQ(arp.target_ip, (std::array<std::uint8_t, 4>{172, 18, 0, 11}));
}

TEST(Neighbour, LeavesAddressesToTheirOwners) {
  auto gratuitous = arp_request({172, 18, 0, 11}, {172, 18, 0, 11});
  EXPECT_EQ(answer_neighbour(gratuitous.data(), 42, 42, kOwn), 0U);
  auto probe = arp_request({0, 0, 0, 0}, {172, 18, 0, 11});  // RFC 5227: is it taken?
  EXPECT_EQ(answer_neighbour(probe.data(), 42, 42, kOwn), 0U);
}

test::Bytes solicitation(const char* source) {
  auto frame = test::udp(source, 0, "ff02::1:ff00:12", 0).with_macs(kAsker, {});
  frame.protocol = net::protocol::icmpv6;
  frame.ttl = 255;
  test::Bytes body(24);
  body[0] = 135;
  const auto target = *net::Address::parse("fd00:172:18::12");
  std::copy(target.bytes.begin(), target.bytes.end(), body.begin() + 8);
  frame.raw = body;
  return test::frame_bytes(frame);
}

TEST(Neighbour, AnswersSolicitation) {
  auto frame = solicitation("fd00:172:18::11");
  const auto size = static_cast<unsigned>(frame.size());
  frame.resize(size + 8);
  ASSERT_EQ(answer_neighbour(frame.data(), size, size + 8, kOwn), size + 8);
  EXPECT_EQ(test::faults(frame, false), "");
  EXPECT_EQ(frame[54], 136);
  EXPECT_EQ(frame[78], 2);  // target link-layer address
  EXPECT_TRUE(std::equal(kOwn.bytes.begin(), kOwn.bytes.end(), frame.begin() + 80));
  EXPECT_EQ(net::Address::from_v6(frame.data() + 22), *net::Address::parse("fd00:172:18::12"));
  EXPECT_EQ(net::Address::from_v6(frame.data() + 38), *net::Address::parse("fd00:172:18::11"));
}

TEST(Neighbour, KeepsQuietOtherwise) {
  auto taken = solicitation("::");  // RFC 4862: duplicate address detection
  const auto size = static_cast<unsigned>(taken.size());
  taken.resize(size + 8);
  EXPECT_EQ(answer_neighbour(taken.data(), size, size + 8, kOwn), 0U);
  auto no_room = solicitation("fd00:172:18::11");
  EXPECT_EQ(answer_neighbour(no_room.data(), size, size, kOwn), 0U);
  auto ping = test::frame_bytes(test::ping("10.0.0.1", "10.0.0.2", 1));
  const auto length = static_cast<unsigned>(ping.size());
  EXPECT_EQ(answer_neighbour(ping.data(), length, length + 64, kOwn), 0U);
  for (unsigned cut = 0; cut < size; ++cut) {
    auto frame = solicitation("fd00:172:18::11");
    frame.resize(cut + 1);
    EXPECT_EQ(answer_neighbour(frame.data(), cut, cut + 1, kOwn), 0U) << cut;
  }
}

}  // namespace
}  // namespace podwire::ports
