// The node's own connections to its node ports, and to ports of single pods (hostPort). Linux
// delivers what is for an address of its own, or for 127.0.0.1, and podwire never sees it: a small
// nftables table in the node's namespace turns those to an address behind the host tap, where
// podwire serves them as it does others'. Control thread only.
//
//   podwire -> 192.0.2.1:30080, 127.0.0.1:30080  == dnat ==>  169.254.1.2:30080 on the host tap
//              127.0.0.1:8080, a pod's hostPort  == dnat ==>  the pod's own address and port
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/attachments.h"
#include "control/store.h"
#include "dataplane/tables/services.h"

namespace podwire::control::routes {

class NodePorts {
 public:
  explicit NodePorts(std::string host_tap);

  // The table says what `services` do, and the pods' host ports; `changes` tell whether the first
  // may say something else than before. A kernel that refuses is logged once and asked again at the
  // next change.
  void follow(const tables::ServiceTable& services, const std::vector<Attachment>& pods,
              const Changes& changes);
  // Takes the table away; none is no error.
  void remove();

  // What follow() would have nft(8) do, for tests.
  [[nodiscard]] std::string script(const tables::ServiceTable& services,
                                   const std::vector<Attachment>& pods) const;

 private:
  std::string table_;
  std::string host_tap_;
  std::string in_force_;              // the script that was carried out last
  std::vector<HostPort> host_ports_;  // of all pods, as of then
  std::string refused_;
};

}  // namespace podwire::control::routes
