#include "dataplane/tables/snapshot.h"

#include <algorithm>

namespace podwire::tables {

bool Snapshot::is_own_address(const net::Address& address) const noexcept {
  return std::binary_search(node_addresses.begin(), node_addresses.end(), address);
}

}  // namespace podwire::tables
