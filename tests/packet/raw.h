// Bytes that tests/lib/frame.h has no words for: neighbour discovery, extension headers, and good
// frames with one thing wrong.
#pragma once

#include <algorithm>
#include <string_view>

#include "tests/packet/packet_case.h"

namespace podwire::test {

inline net::Address ip(std::string_view text) {
  return net::Address::parse(text).value();
}
inline const net::Mac kBroadcast = mac("ff:ff:ff:ff:ff:ff");
inline const net::Mac kPodA = mac("0a:00:00:00:00:02");
inline const net::Mac kUplink = mac("02:00:00:00:00:01");  // the host's too

inline void put(Bytes& out, std::initializer_list<unsigned> bytes) {
  for (const unsigned byte : bytes) out.push_back(static_cast<std::uint8_t>(byte));
}
inline void put(Bytes& out, const net::Mac& m) {
  out.insert(out.end(), m.bytes.begin(), m.bytes.end());
}
inline void put(Bytes& out, const net::Address& a) {
  out.insert(out.end(), a.bytes.begin() + (a.is_v4() ? 12 : 0), a.bytes.end());
}
inline unsigned get16(const Bytes& bytes, std::size_t at) {
  return static_cast<unsigned>(bytes[at] << 8U | bytes[at + 1]);
}

// Makes the checksum of the IPv4 header at `at` right.
inline void mend_ipv4(Bytes& frame, std::size_t at = 14) {
  set16(frame, at + 10, 0);
  const std::size_t header = std::min<std::size_t>((frame[at] & 0xfU) * 4U, frame.size() - at);
  set16(frame, at + 10, static_cast<std::uint16_t>(~slow_sum(frame.data() + at, header)));
}

struct ArpText {
  unsigned operation = 1;
  net::Mac sender = kPodA;
  std::string_view sender_ip = "10.244.1.2", target_ip = "10.244.1.3";
  net::Mac target = {};
};

inline Bytes arp(const net::Mac& from, const net::Mac& to, const ArpText& arp) {
  Bytes out;
  put(out, to);
  put(out, from);
  put(out, {0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, arp.operation});
  put(out, arp.sender);
  put(out, ip(arp.sender_ip));
  put(out, arp.target);
  put(out, ip(arp.target_ip));
  return out;
}

// An ICMPv6 frame; its checksum is right.
inline Bytes icmpv6(const net::Mac& from, const net::Mac& to, std::string_view source,
                    std::string_view destination, unsigned hop_limit, const Bytes& message) {
  Bytes out;
  put(out, to);
  put(out, from);
  put(out, {0x86, 0xdd, 0x60, 0, 0, 0, 0, static_cast<unsigned>(message.size()), 58, hop_limit});
  put(out, ip(source));
  put(out, ip(destination));
  Bytes pseudo;
  put(pseudo, ip(source));
  put(pseudo, ip(destination));
  put(pseudo, {0, 0, 0, static_cast<unsigned>(message.size()), 0, 0, 0, 58});
  const std::size_t at = out.size();
  out.insert(out.end(), message.begin(), message.end());
  set16(out, at + 2, 0);
  const std::uint16_t start = slow_sum(pseudo.data(), pseudo.size());
  set16(out, at + 2,
        static_cast<std::uint16_t>(~slow_sum(out.data() + at, out.size() - at, start)));
  return out;
}

// Solicitation (135) or advertisement (136) of `target`, with a link-layer option of `option`.
inline Bytes neighbour_message(unsigned type, unsigned flags, std::string_view target,
                               unsigned option, const net::Mac& option_mac) {
  Bytes out;
  put(out, {type, 0, 0, 0, flags, 0, 0, 0});
  put(out, ip(target));
  if (option != 0) {
    put(out, {option, 1});
    put(out, option_mac);
  }
  return out;
}

// Puts an extension header between the IPv6 header and what follows it. `header`: its bytes from
// the second on; the first is the next header's number.
inline Bytes with_extension(Bytes frame, unsigned type, const Bytes& header) {
  Bytes extension{frame[20]};
  extension.insert(extension.end(), header.begin(), header.end());
  frame[20] = static_cast<std::uint8_t>(type);
  set16(frame, 18, get16(frame, 18) + static_cast<unsigned>(extension.size()));
  frame.insert(frame.begin() + 54, extension.begin(), extension.end());
  return frame;
}

// One frame into `port` that must be dropped under `reason`, or the step's complaint.
inline std::string dropped(World& world, const std::string& port, const Bytes& bytes,
                           const std::string& reason) {
  return world.run({.in = {{.port = port, .bytes = bytes}}, .counters = {{"drop." + reason, 1}}});
}

#define EXPECT_DROP(world, port, bytes, reason)                                         \
  do {                                                                                  \
    const std::string complaint = ::podwire::test::dropped(world, port, bytes, reason); \
    EXPECT_TRUE(complaint.empty()) << (reason) << ":\n" << complaint;                   \
  } while (false)

}  // namespace podwire::test
