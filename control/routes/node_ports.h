// The node's own connections to its node ports. Linux delivers what is for an address of its own,
// or for 127.0.0.1, and podwire never sees it: a small nftables table in the node's namespace turns
// those to an address behind the host tap, where podwire serves them as it does others'. Control
// thread only.
//
//   podwire -> 192.0.2.1:30080, 127.0.0.1:30080  == dnat ==>  169.254.1.2:30080 on the host tap
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>

#include "control/store.h"
#include "dataplane/tables/services.h"

namespace podwire::control::routes {

class NodePorts {
 public:
  explicit NodePorts(std::string host_tap);

  // The table says what `services` do; `changes` tell whether it may say something else than
  // before. A kernel that refuses is logged once and asked again at the next change.
  void follow(const tables::ServiceTable& services, const Changes& changes);
  // Takes the table away; none is no error.
  void remove();

  // What follow() would have nft(8) do, for tests.
  [[nodiscard]] std::string script(const tables::ServiceTable& services) const;

 private:
  std::string table_;
  std::string host_tap_;
  std::string in_force_;  // the script that was carried out last
  std::string refused_;
};

}  // namespace podwire::control::routes
