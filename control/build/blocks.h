// Which node has which addresses, as the API server's blocks say. Control thread only.
//
// A block is of the node that it has affinity to; one that is deleted, or whose affinity is not
// confirmed, is nobody's. A single address that another node has taken out of a block is that
// node's. Source: projectcalico/calico felix/calc/l3_route_resolver.go.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/attachments.h"
#include "control/store.h"

namespace podwire::control::build {

// By prefix, the node's name: blocks, and single addresses (/32, /128) that are borrowed.
std::map<net::Prefix, std::string> block_routes(const Store& store);

// State::own_prefixes.
std::vector<net::Prefix> own_prefixes(const std::string& node, const Store& store,
                                      const std::vector<Attachment>& attachments);

}  // namespace podwire::control::build
