// The pods of this node that the CNI plugin has attached, and their ports. Kept on disk by
// control/cni, so that addresses outlive podwired. Control thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/cni/wishes.h"
#include "dataplane/io/port.h"
#include "dataplane/net/address.h"
#include "dataplane/tables/rate_limit.h"

namespace podwire::control {

// A route of the pod's own table, by way of podwire. 0: the kernel's own choice.
struct PodRoute {
  net::Prefix to;
  std::uint32_t mtu = 0, advmss = 0, priority = 0, table = 0;
  bool operator==(const PodRoute&) const = default;
};

// A port of this node that leads to one of the pod (CNI's portMappings, a container's hostPort).
struct HostPort {
  std::optional<net::Address> address;  // none: where node ports are served
  std::uint8_t protocol = 0;
  std::uint16_t host_port = 0, pod_port = 0;
  bool operator==(const HostPort&) const = default;
};

enum class PortKind : std::uint8_t { tap, vhost_user, memif };

// What stands where a pod of this kind has a kernel interface.
struct PodPort {
  PortKind kind = PortKind::tap;
  bool client = false;  // podwire calls and the pod serves the socket; a vhost-user port's always
  std::string socket;   // "@name" in the pod's namespace, or a path of at most 107 bytes
  std::string folder;   // of that path, when podwire makes it for the pod and removes it; or empty
  std::uint32_t queues = 0;  // 0: one a worker
  std::uint32_t ring_size = 1024;
  std::uint32_t owner = 0, group = 0;  // of the socket, or of the folder when the pod serves it
  std::uint16_t mode = 0660;
};

struct Attachment {
  std::string container_id, interface;  // together the key, as in the CNI specification
  std::string network;                  // name of the CNI configuration it came with
  std::string netns;
  std::string pod;  // "namespace/name"; empty when the runtime gave none
  net::Mac mac;
  std::vector<net::Address> ips;  // at most one per family
  std::uint16_t mtu = 1480;
  cni::Wishes wishes;                // as its ADD came with them; what follows is made of it
  std::vector<PodRoute> routes;      // empty: a default route
  std::vector<HostPort> host_ports;  // none twice on this node
  // Under which its addresses stand in the API server's blocks; empty: they are in none.
  std::string handle;
  PodPort kind;
  // Null while it cannot be opened. One that is no tap is down until its peer comes.
  std::shared_ptr<io::Port> port;
  // What wishes.bandwidth makes of it; null without. The buckets are full when podwired starts.
  std::shared_ptr<tables::PortLimits> limits;
};

}  // namespace podwire::control
