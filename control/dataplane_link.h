// What control asks of the dataplane. main.cc implements it over the real thing; tests that need no
// packets implement it over nothing. Control thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/observe/events.h"
#include "dataplane/observe/flow_row.h"
#include "dataplane/result.h"
#include "dataplane/tables/snapshot.h"

namespace podwire::control {

struct TapRequest {
  std::string netns;      // path, e.g. /var/run/netns/pod1; empty: the daemon's own
  std::string interface;  // name inside it; 1 to 15 characters
  net::Mac mac;           // of the pod's side
  std::uint16_t mtu = 1480;
  bool persistent = true;  // survives podwired; opened again under the same name
};

// A memif port. podwire's side: a server listens, a client calls until somebody listens.
struct MemifRequest {
  std::string netns;   // path, for abstract sockets; empty: the daemon's own
  std::string socket;  // "@name": abstract; else an absolute path, at most 107 bytes, in a folder
                       // that exists and that the pod cannot write to
  bool client = false;
  std::uint32_t id = 0;       // the interface's, of that socket
  std::string secret;         // at most 24 bytes; empty: none
  unsigned queues = 1;        // of each direction, 1 to 16
  unsigned ring_size = 1024;  // a power of two, at most 16,384
  // Of a file-system socket that podwire serves.
  std::uint32_t owner = 0, group = 0;
  std::uint16_t mode = 0660;
};

// Of a pod that serves a vhost-user socket: a virtual machine, or a DPDK program.
struct VhostUserRequest {
  std::string path;  // of the pod's socket: absolute, at most 107 bytes; its folder need not exist
  unsigned queues = 0;  // pairs the pod may use; 0: one a worker
};

class DataplaneLink {
 public:
  virtual ~DataplaneLink() = default;

  // Takes the snapshot into force. The last one is destroyed in reclaim() when no worker can see
  // it.
  virtual void publish(std::unique_ptr<const tables::Snapshot> snapshot) = 0;
  // Destroys what no worker can see any more. Returns how many snapshots still wait.
  virtual std::size_t reclaim() = 0;

  virtual Result<std::shared_ptr<io::Port>> open_tap(const TapRequest& request) = 0;
  // Ends the device when it is persistent: after this the pod has no interface. Idempotent. Any
  // thread: the kernel takes some 20 ms.
  virtual Result<void> remove_tap(const std::string& netns, const std::string& interface) = 0;
  // The port ends, and its socket with it, when the last reference goes. It is up() while a peer is
  // connected, so it is down at first.
  virtual Result<std::shared_ptr<io::Port>> open_memif(const MemifRequest& request) = 0;
  // A port that connects when the pod listens, and again when it was gone; down until then. Nothing
  // is left of it when the port ends: the socket is the pod's.
  virtual Result<std::shared_ptr<io::Port>> open_vhost_user(const VhostUserRequest& request) = 0;
  [[nodiscard]] virtual std::shared_ptr<io::Port> uplink() = 0;
  [[nodiscard]] virtual std::shared_ptr<io::Port> host_tap() = 0;
  [[nodiscard]] virtual net::Mac uplink_mac() = 0;
  // The kernel device behind the uplink ("eth0" of net_af_packet0,iface=eth0), empty when there is
  // none.
  [[nodiscard]] virtual std::string uplink_kernel_device() = 0;
  // The largest IP packet that the uplink can be given, whatever Linux says its MTU is.
  [[nodiscard]] virtual std::uint16_t uplink_largest_mtu() = 0;

  [[nodiscard]] virtual unsigned workers() = 0;
  [[nodiscard]] virtual const observe::WorkerCounters& counters(unsigned worker) = 0;
  virtual void poll_events(const std::function<void(const observe::Event&)>& each) = 0;
  [[nodiscard]] virtual std::uint64_t events_lost() = 0;

  [[nodiscard]] virtual std::uint32_t now_seconds() = 0;
  [[nodiscard]] virtual std::uint64_t cycles_per_second() = 0;
  virtual std::vector<observe::FlowRow> flows(
      std::size_t limit, const std::function<bool(const observe::FlowRow&)>& wanted) = 0;
  // Some thousand flows from the cursor on; moves it.
  virtual void erase_flows(observe::FlowCursor& at,
                           const std::function<bool(const observe::FlowRow&)>& ends) = 0;
  struct TableFill {
    const char* table;  // "flows_v4", "flows_v6", "packet_buffers", "large_buffers"
    std::uint64_t used = 0, limit = 0;
  };
  [[nodiscard]] virtual std::vector<TableFill> fills() = 0;
};

}  // namespace podwire::control
