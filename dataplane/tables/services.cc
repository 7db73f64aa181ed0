#include "dataplane/tables/services.h"

#include <algorithm>

namespace podwire::tables {

const Frontend* ServiceTable::find(const net::Address& destination, net::be16 port,
                                   std::uint8_t protocol) const noexcept {
  if (const Frontend* frontend = frontends.find({destination, port, protocol})) return frontend;
  // At most a few addresses: the node's own.
  if (std::find(node_port_addresses.begin(), node_port_addresses.end(), destination) ==
      node_port_addresses.end()) {
    return nullptr;
  }
  const net::Address any =
      destination.is_v4() ? net::Address::from_v4(net::be32{}) : net::Address{};
  return frontends.find({any, port, protocol});
}

bool ServiceTable::in_service_range(const net::Address& address) const noexcept {
  return std::any_of(service_ranges.begin(), service_ranges.end(),
                     [&](const net::Prefix& range) { return range.contains(address); });
}

}  // namespace podwire::tables
