#include "dataplane/tables/routes.h"

#include <algorithm>

namespace podwire::tables {

bool RouteTable::is_tunnel_peer(net::be32 address) const noexcept {
  return std::binary_search(tunnel_peers.begin(), tunnel_peers.end(), address,
                            [](net::be32 a, net::be32 b) { return a.raw() < b.raw(); });
}

}  // namespace podwire::tables
