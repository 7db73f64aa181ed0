// What an ADD asks for, checked: texts to addresses, ports and routes. Control thread only.
#pragma once

#include "control/attachments.h"
#include "dataplane/result.h"

namespace podwire::control {

// Fills in mac, routes and host_ports of the attachment where the wishes name them, and checks the
// bandwidth. The error is a sentence that names the field.
Result<void> carry_over(const cni::Wishes& wishes, Attachment& attachment);
// The addresses that are asked for; at most one of a family.
Result<std::vector<net::Address>> asked_addresses(const cni::Wishes& wishes);
// The buckets of a checked bandwidth, full; null when it limits nothing.
std::shared_ptr<tables::PortLimits> limits_of(const cni::Bandwidth& bandwidth,
                                              std::uint64_t cycles_per_second);
// True when no port of the node could lead to both.
bool apart(const HostPort& a, const HostPort& b);
// "8080/tcp", "192.0.2.1:8080/udp"
std::string to_string(const HostPort& port);

}  // namespace podwire::control
