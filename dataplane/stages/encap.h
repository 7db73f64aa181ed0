// The way out: fits the packet to the next hop's MTU (ICMP error or IPv4 fragments), puts the
// tunnel and Ethernet headers in front, and sets p.out_port. After it the frame begins at the
// buffer's data.
//
// Frames with offloads (RTE_MBUF_F_TX_TCP_SEG, RTE_MBUF_F_TX_L4_MASK) leave with the lengths and
// flags that DPDK documents for transmit (rte_mbuf_core.h): l2_len, l3_len, l4_len; in a tunnel
// outer_l2_len 14, outer_l3_len 20, l2_len 0 with RTE_MBUF_F_TX_TUNNEL_IPIP and
// RTE_MBUF_F_TX_OUTER_IPV4. The transport checksum field holds the pseudo-header's sum as
// virtio-net has it (with the length). The outer header's length and checksum are those of the
// unsegmented packet, its length capped at 65,535.
#pragma once

#include <string_view>

#include "dataplane/verdict.h"
#include "dataplane/worker.h"

namespace podwire::stages {

struct Encap {
  static constexpr std::string_view name = "encap";
  static Verdict decide(Packet& p, Worker& w) noexcept;
};

}  // namespace podwire::stages
