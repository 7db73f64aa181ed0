// Linux's side of the node, in one: its tables mirrored, the node's addresses on the host tap,
// routes from it into podwire, and node ports. What the control loop uses of this folder. Control
// thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <string>
#include <vector>

#include "control/config.h"
#include "control/linux_state.h"
#include "control/routes/host_link.h"
#include "control/routes/host_routes.h"
#include "control/routes/mirror.h"
#include "control/routes/node_ports.h"
#include "control/store.h"

namespace podwire::control::routes {

// What is behind the host tap.
struct UplinkFacts {
  std::string kernel_device;  // "eth0", or empty when there is none
  std::uint16_t largest_mtu;  // packets above it cannot be sent
};

class HostNetwork {
 public:
  // `changed` is called from the event loop when state() became another: a build is due.
  HostNetwork(boost::asio::io_context& io, const Config& config, UplinkFacts uplink,
              std::function<void()> changed);

  // The host tap exists. Takes the node's addresses over and reads Linux's tables.
  Result<void> start();
  // Gives the addresses back and takes podwired's routes away. Idempotent.
  void stop();

  [[nodiscard]] const LinuxState& state() const { return mirror_.state(); }
  // What a build was made from, and what came of it.
  struct Built {
    const Store& store;
    const Changes& changes;
    const tables::ServiceTable& services;
    const std::vector<Attachment>& pods = {};
    const std::vector<net::Prefix>& own_prefixes = {};  // State's
    const std::vector<net::Address>& wanted_neighbours = {};
  };
  // Routes into podwire follow, and Linux looks for the neighbours.
  void follow(const Built& built);
  // A worker holds a packet for this neighbour (observe::Event::neighbour_wanted).
  void resolve(const net::Address& neighbour) { mirror_.resolve(neighbour); }

 private:
  Mirror mirror_;
  HostLink link_;
  HostRoutes routes_;
  NodePorts node_ports_;
  std::function<void()> changed_;
  std::vector<net::Prefix> own_prefixes_;
  bool started_ = false;
  bool learned_ = false;  // every object has been seen once: wanted routes are complete
};

}  // namespace podwire::control::routes
