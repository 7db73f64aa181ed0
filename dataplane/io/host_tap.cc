#include "dataplane/io/host_tap.h"

namespace podwire::io {

Result<std::shared_ptr<TapPort>> open_host_tap(const std::string& name, const net::Mac& mac,
                                               std::uint16_t mtu, unsigned queues,
                                               rte_mempool& packets, rte_mempool& large) {
  // Down: control sets it up when its settings are in place.
  const TapSpec spec{
      .netns = {}, .interface = name, .mac = mac, .mtu = mtu, .persistent = true, .queues = queues};
  return TapPort::open(spec, packets, large, "host");
}

}  // namespace podwire::io
