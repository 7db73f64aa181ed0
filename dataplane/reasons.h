// Why packets are dropped: the one list.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace podwire {

// The one list of drop reasons: name and help. The enum, the metric's label, podwirectl's text and
// the table in dataplane/README.md derive from it. A retired name is never given a new meaning.
#define PODWIRE_DROP_REASONS(X)                                                                   \
  X(none, "not dropped")                                                                          \
  X(not_synced, "arrived before the first complete set of objects was in force")                  \
  X(truncated, "shorter than its headers or its own length field say")                            \
  X(bad_ethernet, "frame type or destination that this port does not serve")                      \
  X(bad_ip_header, "IP version, header length or total length make no sense")                     \
  X(bad_ip_checksum, "IPv4 header checksum is wrong")                                             \
  X(bad_ip_option, "IPv4 source route or an IPv6 extension header chain that cannot be followed") \
  X(bad_address, "source or destination address that may not be forwarded")                       \
  X(bad_l4_header, "TCP, UDP, SCTP or ICMP header is malformed")                                  \
  X(bad_arp, "malformed ARP or neighbour discovery")                                              \
  X(neighbour_ignored,                                                                            \
    "ARP or neighbour discovery of a pod that wants no answer: announcement, probe")              \
  X(spoofed_mac, "source Ethernet address is not the pod's")                                      \
  X(spoofed_ip, "source IP address is not the pod's")                                             \
  X(pod_tunnel, "pod sent an encapsulated packet")                                                \
  X(tunnel_unknown_peer, "IPIP from an address that is no known node")                            \
  X(tunnel_bad_inner, "IPIP with an inner packet that may not arrive that way")                   \
  X(tunnel_fragment, "fragment of an IPIP packet: tunnels are not reassembled")                   \
  X(fragment_overlap, "fragments of one datagram overlap, repeat or exceed 65,535 bytes")         \
  X(fragment_unmatched, "later fragment whose first one never arrived")                           \
  X(fragment_limit, "more incomplete datagrams than the limit")                                   \
  X(ttl_exceeded, "TTL or hop limit reached zero")                                                \
  X(too_big, "larger than the next hop's MTU and may not be fragmented")                          \
  X(tcp_untracked, "TCP segment of no known flow that does not open one")                         \
  X(icmp_untracked, "ICMP error about a packet of no known flow")                                 \
  X(flow_limit, "flow table is at its limit")                                                     \
  X(flow_ports, "no free source port, or no address of this node, for masquerading")              \
  X(service_no_endpoints, "Service has no endpoints; the sender was told")                        \
  X(service_no_local_endpoints, "Service with a Local traffic policy has no endpoint here")       \
  X(service_port_closed, "no such port on a live ClusterIP; the sender was told")                 \
  X(service_source_range, "source is outside loadBalancerSourceRanges")                           \
  X(service_unallocated, "address of a Service range that no Service has")                        \
  X(policy_egress, "egress NetworkPolicy of the source does not allow it")                        \
  X(policy_ingress, "ingress NetworkPolicy of the destination does not allow it")                 \
  X(policy_changed, "flow was allowed once and is no longer")                                     \
  X(bandwidth_egress, "pod sends more than its egress bandwidth allows")                          \
  X(bandwidth_ingress, "pod is sent more than its ingress bandwidth allows")                      \
  X(no_route, "no route to the destination")                                                      \
  X(blackhole, "route says drop: unused address of this node's own range")                        \
  X(neighbour_unresolved, "next hop's Ethernet address did not become known in time")             \
  X(port_down, "output port is gone or down")                                                     \
  X(port_full, "output port's queue is full")                                                     \
  X(no_memory, "no free packet buffer")                                                           \
  X(internal, "podwire's own fault; please report")

enum class Reason : std::uint8_t {
#define X(name, help) name,
  PODWIRE_DROP_REASONS(X)
#undef X
};

inline constexpr std::array kReasonNames = {
#define X(name, help) std::string_view(#name),
    PODWIRE_DROP_REASONS(X)
#undef X
};
inline constexpr std::array kReasonHelps = {
#define X(name, help) std::string_view(help),
    PODWIRE_DROP_REASONS(X)
#undef X
};
inline constexpr std::size_t kReasons = kReasonNames.size();

}  // namespace podwire
