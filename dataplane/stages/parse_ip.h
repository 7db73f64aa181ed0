// Inside of parse: what both families' headers share.
#pragma once

#include <optional>

#include "dataplane/stages/fragments.h"
#include "dataplane/stages/parse.h"
#include "dataplane/tables/ports.h"

namespace podwire::stages {

// What is left of the IP packet, in all segments and in the first one, which headers must be in.
struct Left {
  unsigned all, readable;
  explicit Left(const Packet& p)
      : all(p.mbuf->pkt_len - p.l3_offset),
        readable(p.mbuf->data_len > p.l3_offset ? p.mbuf->data_len - p.l3_offset : 0U) {}
};

// Cuts the packet to `length` bytes: link-layer padding, or what an inner packet does not claim.
void cut(rte_mbuf* mbuf, std::uint32_t length) noexcept;

// One family's header, addresses and extensions, then the payload. `port` is null for what podwire
// made itself.
Verdict parse_v4(Packet& p, const tables::PortInfo* port, Worker& w) noexcept;
Verdict parse_v6(Packet& p, const tables::PortInfo* port, Worker& w) noexcept;

// What this port may send, and what is an address of one host.
Verdict check_v4_addresses(const Packet& p, const tables::PortInfo* port, const Worker& w) noexcept;

// Once ports are known: pods may not tunnel, may not run ahead of the first sync, and find no more
// than echo at their gateway.
Verdict check_use(Packet& p, const tables::PortInfo* port, const Worker& w) noexcept;

// The transport header, what the family does not matter for, and the fragment table. `place` is
// empty for a whole datagram; `length` is the payload's, from p.l4_offset.
Verdict parse_payload(Packet& p, const std::optional<FragmentPlace>& place, unsigned length,
                      const tables::PortInfo* port, Worker& w) noexcept;

}  // namespace podwire::stages
