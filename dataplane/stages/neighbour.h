// Answers to ARP (RFC 826) and neighbour solicitations (RFC 4861): podwire is the neighbour for
// whatever a pod asks, except for the pod's own address, and for the gateway address when the host
// asks. Each function turns the frame into its own reply (Verdict::answer) or drops it.
#pragma once

#include "dataplane/tables/ports.h"
#include "dataplane/verdict.h"
#include "dataplane/worker.h"

namespace podwire::stages {

inline constexpr net::Address kGatewayV4 =
    net::Address::from_v4(net::be32{0xa9fe0101});  // 169.254.1.1
inline constexpr net::Address kGatewayV6{
    // fe80::ecee:eeff:feee:eeee
    {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0xec, 0xee, 0xee, 0xff, 0xfe, 0xee, 0xee, 0xee}};

// An ARP frame from a pod.
Verdict answer_arp(Packet& p, const tables::PortInfo& pod) noexcept;

// A neighbour solicitation from a pod: parse has checked the IPv6 header and set p.l4_offset.
Verdict answer_solicitation(Packet& p, const tables::PortInfo& pod) noexcept;

// True when the host asks for the gateway (ARP or ND): then the frame has become the reply.
bool answer_host(Packet& p, const tables::PortInfo& host) noexcept;

// An ICMP or ICMPv6 echo request to the gateway becomes its reply.
Verdict answer_echo(Packet& p, const tables::PortInfo& pod) noexcept;

}  // namespace podwire::stages
