// What podwired is told at start: defaults, then the file, then PODWIRE_... environment, then the
// command line. Every key is an option of the same name; control/config.cc holds the one table they
// all derive from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/config.h"
#include "dataplane/net/address.h"
#include "dataplane/result.h"

namespace podwire::control {

struct Config {
  DataplaneConfig dataplane;
  std::string node_name;                           // node-name; default: the host's name
  std::string manifests;                           // manifests: folder of objects, watched
  std::string run_dir = "/run/podwire";            // run-dir: sockets cni.sock and podwired.sock
  std::string state_dir = "/var/lib/podwire";      // state-dir: attachments
  std::string metrics_address = "127.0.0.1:9111";  // metrics-address; empty: none
  std::string log_level = "info";                  // log-level: debug, info, warning, error
  std::vector<net::Prefix> node_addresses;  // node-address: put on the host tap when the uplink has
                                            // no kernel device to take them from
  std::vector<net::Prefix> service_ranges;  // service-range: ServiceCIDRs
  std::vector<net::Prefix>
      node_port_addresses;      // node-port-addresses; empty: the Node's primary addresses
  bool masquerade_all = false;  // masquerade-all
  bool udp_cleanup = true;
  std::uint32_t debounce_ms = 10;  // how long a burst of changes is gathered before a build
};

}  // namespace podwire::control
