// The pods of this node that the CNI plugin has attached, and their ports. Kept on disk by
// control/cni, so that addresses outlive podwired. Control thread only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "dataplane/io/port.h"
#include "dataplane/net/address.h"

namespace podwire::control {

struct Attachment {
  std::string container_id, interface;  // together the key, as in the CNI specification
  std::string network;                  // name of the CNI configuration it came with
  std::string netns;
  std::string pod;  // "namespace/name"; empty when the runtime gave none
  net::Mac mac;
  std::vector<net::Address> ips;  // at most one per family
  std::uint16_t mtu = 1480;
  std::shared_ptr<io::Port> port;  // null while its namespace cannot be opened
};

}  // namespace podwire::control
