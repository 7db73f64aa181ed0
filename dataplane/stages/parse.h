// What has arrived: lengths, headers, addresses, and whether this port may send it.
//
// Every check is made here once; later stages read p.ipv4(), p.l4() and the ports without looking
// back. What a packet must satisfy is written beside the check with its source. Not checked: the
// transport checksum. A packet that arrives with a wrong one leaves with a wrong one, because
// translation changes checksums by increment.
#pragma once

#include <string_view>

#include "dataplane/verdict.h"
#include "dataplane/worker.h"

namespace podwire::stages {

struct Parse {
  static constexpr std::string_view name = "parse";
  static Verdict decide(Packet& p, Worker& w) noexcept;
};

// The IP packet at p.l3_offset, of p.family, from p.source: fills every field of Packet that parse
// owes and cuts what follows the packet's own length. Also used for what was inside a tunnel.
Verdict parse_ip(Packet& p, Worker& w) noexcept;

}  // namespace podwire::stages
