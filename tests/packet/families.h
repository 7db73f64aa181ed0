// Cases that hold for both families are written once, over the addresses of one.
#pragma once

#include "tests/packet/packet_case.h"

namespace podwire::test {

struct Names {
  bool v4;
  const char *a, *b, *c;  // this node's pods
  const char* remote;     // a pod of node 2
  const char *node, *node2;
  const char* outside;     // a host beyond the gateway
  const char *vip, *vip2;  // of the Service range
  const char* balancer;    // an address that no node has

  // "10.96.0.1:80", "[fd00:96::1]:80"
  [[nodiscard]] std::string at(std::string_view address, std::uint16_t port) const {
    const std::string text(address);
    return (v4 ? text : "[" + text + "]") + ":" + std::to_string(port);
  }
  [[nodiscard]] std::string node_port(std::uint16_t port) const { return at("", port); }

  // A packet on its way between the nodes: IPv4 in a tunnel, IPv6 as it is.
  [[nodiscard]] Out to_node2(const Frame& frame, std::uint16_t* chosen = nullptr) const {
    return {"uplink", v4 ? frame.through(kNodeV4, kNode2V4) : frame, chosen};
  }
  [[nodiscard]] In from_node2(const Frame& frame) const {
    return {"uplink", v4 ? frame.through(kNode2V4, kNodeV4) : frame};
  }
  [[nodiscard]] Counters tunneled(Counters counters, const char* which) const {
    if (v4) counters[which] += 1;
    return counters;
  }
};

inline const Counters kNewFlow{{"flows_created", 1}};

inline constexpr Names kV4{true,         "10.244.1.2", "10.244.1.3", "10.244.1.4",
                           "10.244.2.2", kNodeV4,      kNode2V4,     "198.51.100.7",
                           "10.96.0.1",  "10.96.0.2",  "203.0.113.5"};
inline constexpr Names kV6{false,           "fd00:244:1::2", "fd00:244:1::3", "fd00:244:1::4",
                           "fd00:244:2::2", kNodeV6,         kNode2V6,        "2001:db8:99::7",
                           "fd00:96::1",    "fd00:96::2",    "2001:db8:77::5"};

}  // namespace podwire::test

#define FAMILY_CASE(name)                            \
  static void name(const ::podwire::test::Names& n); \
  TEST(Packet, name##V4) {                           \
    name(::podwire::test::kV4);                      \
  }                                                  \
  TEST(Packet, name##V6) {                           \
    name(::podwire::test::kV6);                      \
  }                                                  \
  static void name([[maybe_unused]] const ::podwire::test::Names& n)
