#include "dataplane/stages/rewrite.h"

#include "dataplane/net/crc32c.h"
#include "dataplane/stages/icmp_origin.h"

namespace podwire::stages {
namespace {

// What the addresses alone add to a pseudo-header's sum.
std::uint16_t address_delta(const flow::Flow<flow::V4>& flow) {
  return flow.l3_delta;
}
std::uint16_t address_delta(const flow::Flow<flow::V6>& flow) {
  const auto& [key, rewrite] = std::tie(flow.key, flow.rewrite);
  return net::Delta()
      .change(key.source.data(), rewrite.source.data(), key.source.size())
      .change(key.destination.data(), rewrite.destination.data(), key.destination.size())
      .folded();
}

template <typename F>
void set_ports(Packet& p, const flow::Flow<F>& flow) {
  auto& ports = *reinterpret_cast<net::Udp*>(p.l4());  // the same place in TCP, UDP and SCTP
  ports.source_port = flow.rewrite.source_port;
  ports.destination_port = flow.rewrite.destination_port;
}

template <typename F>
Verdict translate_sctp(Packet& p, const flow::Flow<F>& flow) {
  if (flow.rewrite.source_port == flow.key.source_port &&
      flow.rewrite.destination_port == flow.key.destination_port) {
    return Verdict::next();  // no pseudo-header: addresses do not count
  }
  // The sum covers what the other fragments carry.
  if (p.first_fragment) return Verdict::drop(Reason::bad_l4_header);
  auto& sctp = *reinterpret_cast<net::Sctp*>(p.l4());
  if (!p.partial_checksum) {
    const auto length = static_cast<std::uint32_t>(p.l3_offset + p.l3_length - p.l4_offset);
    // A new sum over damaged bytes would hide the damage.
    if (net::sctp_checksum(*p.mbuf, p.l4_offset, length) != sctp.checksum) {
      return Verdict::drop(Reason::bad_l4_header);
    }
    set_ports(p, flow);
    sctp.checksum = net::sctp_checksum(*p.mbuf, p.l4_offset, length);
  } else {
    set_ports(p, flow);
  }
  return Verdict::next();
}

template <typename F>
void translate_icmp(Packet& p, const flow::Flow<F>& flow) {
  constexpr bool v6 = F::family == net::Family::v6;
  auto& icmp = *reinterpret_cast<net::Icmp*>(p.l4());
  if (icmp.type == (v6 ? 128 : 8)) {
    icmp.id = flow.rewrite.source_port;
  } else if (icmp.type == (v6 ? 129 : 0)) {
    icmp.id = flow.rewrite.destination_port;
  }
  if (!p.partial_checksum) {
    icmp.checksum = net::updated_checksum(icmp.checksum, flow.l4_delta);
  } else if (v6) {
    icmp.checksum = net::updated_sum(icmp.checksum, address_delta(flow));
  }
}

}  // namespace

template <typename F>
Verdict Rewrite::translate_l4(Packet& p, const flow::Flow<F>& flow) noexcept {
  switch (p.protocol) {
    case net::protocol::tcp: {
      auto& tcp = *reinterpret_cast<net::Tcp*>(p.l4());
      tcp.checksum = p.partial_checksum ? net::updated_sum(tcp.checksum, address_delta(flow))
                                        : net::updated_checksum(tcp.checksum, flow.l4_delta);
      set_ports(p, flow);
      break;
    }
    case net::protocol::udp: {
      auto& udp = *reinterpret_cast<net::Udp*>(p.l4());
      udp.checksum = p.partial_checksum ? net::updated_sum(udp.checksum, address_delta(flow))
                                        : net::updated_udp_checksum(udp.checksum, flow.l4_delta);
      set_ports(p, flow);
      break;
    }
    case net::protocol::sctp:
      return translate_sctp(p, flow);
    case net::protocol::icmp:
    case net::protocol::icmpv6:
      translate_icmp(p, flow);
      break;
    default:
      break;  // no ports, and no sum that we know of
  }
  return Verdict::next();
}
template Verdict Rewrite::translate_l4(Packet&, const flow::Flow<flow::V4>&) noexcept;
template Verdict Rewrite::translate_l4(Packet&, const flow::Flow<flow::V6>&) noexcept;

Verdict Rewrite::out_of_hops(Packet& p, Worker& w) noexcept {
  originate(w, p, IcmpError::ttl_exceeded);
  return Verdict::drop(Reason::ttl_exceeded);
}

}  // namespace podwire::stages
