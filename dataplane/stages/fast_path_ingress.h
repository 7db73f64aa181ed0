// Inside of the fast path: the port that a frame came from.
#pragma once

#include <bit>

#include "dataplane/stages/fast_path_wire.h"

namespace podwire::stages {

// What rewrite and route ask of it.
struct Origin {
  PortId port = kNoPort;
  unsigned hop_less = 0;                  // 1: a packet from here loses a hop, unless to the host
  std::uint64_t way = 0, tunnel_way = 0;  // what Way::from says: plain, and from a tunnel

  Origin() = default;
  Origin(PortId port, const tables::Snapshot& snapshot) noexcept
      : port(port),
        way(flow::Way::from(snapshot.flow_generation(), port, false)),
        tunnel_way(flow::Way::from(snapshot.flow_generation(), port, true)) {
    const tables::PortInfo* info = snapshot.ports->find(port);
    hop_less = info != nullptr && info->role != tables::PortRole::host ? 1 : 0;
  }
};

// What parse asks of it, ready to be asked of many frames.
struct Ingress {
  PortId port = kNoPort;
  bool uplink = false;
  bool few_queues = false;  // fewer than there are workers

  Ingress() = default;
  Ingress(PortId port, const tables::Snapshot& snapshot, const Worker& w) noexcept;

  // By a frame's first sixteen bytes: Ethernet addresses that this port may send to us, and IPv4
  // without options, or IPv6. False for an unknown port.
  [[nodiscard]] bool takes_v4(__m128i start) const noexcept {
    return _mm_testz_si128(mask_v4_, _mm_xor_si128(start, start_v4_)) != 0;
  }
  [[nodiscard]] bool takes_v6(__m128i start) const noexcept {
    return _mm_testz_si128(mask_v6_, _mm_xor_si128(start, start_v6_)) != 0;
  }

 private:
  struct Start {  // the begin of a frame
    net::Ethernet ethernet;
    std::uint8_t version = 0, traffic_class = 0;
  };
  static_assert(sizeof(Start) == sizeof(__m128i));
  __m128i start_v4_ = _mm_setzero_si128(), start_v6_ = start_v4_;
  // Before any port is known nothing passes but what has no type: no frame of IP.
  __m128i mask_v4_ = _mm_set1_epi8(-1), mask_v6_ = mask_v4_;
};

inline Ingress::Ingress(PortId port, const tables::Snapshot& snapshot, const Worker& w) noexcept
    : port(port) {
  const tables::PortInfo* info = snapshot.ports->find(port);
  if (info == nullptr || !snapshot.synced) return;
  const bool pod = info->role == tables::PortRole::pod;
  uplink = info->role == tables::PortRole::uplink;
  few_queues = info->port != nullptr && info->port->queues() < w.shared.workers;
  const net::Mac every{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}, group{{1, 0, 0, 0, 0, 0}}, none{};
  // A host may name any Ethernet address that is not a group's.
  Start start{.ethernet = {.destination = pod      ? net::kGatewayMac
                                          : uplink ? info->mac
                                                   : none,
                           .source = pod ? info->mac : none,
                           .type = net::be16(net::ether_type::ipv4)},
              .version = kPlainVersionIhl};
  Start mask{.ethernet = {.destination = pod || uplink ? every : group,
                          .source = pod ? every : none,
                          .type = net::be16(0xffff)},
             .version = 0xff};
  start_v4_ = std::bit_cast<__m128i>(start);
  mask_v4_ = std::bit_cast<__m128i>(mask);
  start.ethernet.type = net::be16(net::ether_type::ipv6);
  start.version = 0x60;
  mask.version = 0xf0;
  start_v6_ = std::bit_cast<__m128i>(start);
  mask_v6_ = std::bit_cast<__m128i>(mask);
}

}  // namespace podwire::stages
