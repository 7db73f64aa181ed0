// The node's own port: a tap in podwired's namespace that carries the node's addresses and has the
// uplink's Ethernet address, so that neighbours on the wire know one address only. Persistent: the
// addresses on it survive a crash of podwired. Control thread.
#pragma once

#include "dataplane/io/tap.h"

namespace podwire::io {

Result<std::shared_ptr<TapPort>> open_host_tap(const std::string& name, const net::Mac& mac,
                                               std::uint16_t mtu, unsigned queues,
                                               rte_mempool& packets, rte_mempool& large);

}  // namespace podwire::io
