// What a stage sees: a buffer and what is known about it so far. Lives in a Batch, for one pass
// through the pipeline; a worker's own, never shared.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <vector>

#include "dataplane/net/address.h"
#include "dataplane/net/headers.h"
#include "dataplane/tables/policies.h"

namespace podwire {

namespace tables {
struct Backend;
struct Frontend;
struct Service;
struct PortInfo;
}  // namespace tables

using PortId = std::uint16_t;  // index into tables::PortTable, below kMaxPorts
inline constexpr PortId kMaxPorts = 1024;
inline constexpr PortId kNoPort = 0xffff;

// Where a packet came from, as Services and policy ask for it. Set by parse (pod, host, uplink) and
// by decap (tunnel).
enum class Source : std::uint8_t { pod, host, uplink, tunnel, self };

struct Packet {
  rte_mbuf* mbuf = nullptr;

  // Offsets from the start of the buffer's data (mbuf->buf_addr + data_off). l3 is set by parse,
  // moved by decap; l4 is 0 on a later fragment.
  std::uint16_t l3_offset = 0;
  std::uint16_t l4_offset = 0;
  std::uint16_t l3_length = 0;  // IP header and payload, all segments; saturates at 65,535
  PortId in_port = kNoPort;

  net::Family family = net::Family::v4;
  std::uint8_t protocol = 0;  // of the transport, after IPv6 extension headers
  Source source = Source::uplink;

  bool plain : 1 = false;  // the first of its flow, parsed by Opening
  bool fresh : 1 = false;  // no flow yet, or one to be judged again: takes the new-flow stages
  bool reply : 1 = false;  // `flow` is the reply direction's
  bool first_fragment : 1 = false;  // more fragments follow
  bool later_fragment : 1 = false;  // not the first: ports come from the fragment table
  bool icmp_error : 1 = false;      // `flow` is that of the quoted packet
  bool partial_checksum : 1 =
      false;  // L4 checksum field holds the pseudo-header's sum only (virtio-net
              // NEEDS_CSUM, RTE_MBUF_F_TX_*_CKSUM); the sender left the rest to us
  bool originated : 1 = false;  // podwire made it: an ICMP error
  bool may_pass : 1 = false;    // route has checked it once; it was held since, `flow` is gone

  std::uint8_t tcp_flags = 0;
  net::be16 source_port;       // ICMP echo request: the identifier; echo reply: 0
  net::be16 destination_port;  // ICMP echo reply: the identifier; echo request: 0

  std::uint32_t hash = 0;       // of the flow key, set by track
  std::uint32_t hint = 0;       // where track's look-up goes on
  void* flow = nullptr;         // flow::Flow<V4>* or flow::Flow<V6>* by `family`
  std::uint32_t next_hop = 0;   // tables::NextHopId, set by route
  PortId out_port = kNoPort;    // set by encap
  std::uint16_t admission = 0;  // index of this packet's Admission in the worker, when fresh

  [[nodiscard]] std::uint8_t* l3() const {
    return rte_pktmbuf_mtod(mbuf, std::uint8_t*) + l3_offset;
  }
  [[nodiscard]] std::uint8_t* l4() const {
    return rte_pktmbuf_mtod(mbuf, std::uint8_t*) + l4_offset;
  }
  [[nodiscard]] net::Ipv4& ipv4() const { return *reinterpret_cast<net::Ipv4*>(l3()); }
  [[nodiscard]] net::Ipv6& ipv6() const { return *reinterpret_cast<net::Ipv6*>(l3()); }
  [[nodiscard]] net::Ethernet& ethernet() const { return *rte_pktmbuf_mtod(mbuf, net::Ethernet*); }
  [[nodiscard]] net::Address source_address() const {
    return family == net::Family::v4 ? net::Address::from_v4(ipv4().source)
                                     : net::Address::from_v6(ipv6().source.data());
  }
  [[nodiscard]] net::Address destination_address() const {
    return family == net::Family::v4 ? net::Address::from_v4(ipv4().destination)
                                     : net::Address::from_v6(ipv6().destination.data());
  }
  // Bytes from the transport header to the end of the first segment: what may be read there.
  [[nodiscard]] unsigned l4_readable() const {
    return mbuf->data_len > l4_offset ? mbuf->data_len - l4_offset : 0U;
  }
};

// What the new-flow stages work out about a fresh packet, between track and admit.
struct Admission {
  // As the packet carries them. Set by service's steps, as all three addresses.
  net::Address source, destination;
  net::be16 source_port, destination_port;
  // After service choice. Policy is asked about (source, new_destination, new_destination_port).
  net::Address new_destination;
  net::be16 new_destination_port;
  const tables::Frontend* frontend = nullptr;         // null: no Service is involved
  const std::vector<tables::Backend>* set = nullptr;  // of a Service: those that serve the packet
  const tables::Backend* backend = nullptr;           // the one of them that was drawn
  tables::PolicyEnds policy_ends;                     // of source and new_destination
  std::uint32_t reply_hash = 0;  // of the key that the reply will have; a guess, for prefetching
  bool hides_client = false;     // of a Service: the client is masqueraded whatever the backend
  bool masquerade = false;       // source becomes this node's address
  bool judge_again = false;      // the flow exists; only policy is asked

  // For the next packet: forgets what may be read before it is set.
  void begin(bool to_judge_again) noexcept {
    frontend = nullptr;
    set = nullptr;
    backend = nullptr;
    hides_client = masquerade = false;
    judge_again = to_judge_again;
  }
};

}  // namespace podwire
