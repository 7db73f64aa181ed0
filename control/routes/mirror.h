// Linux's routes, neighbours and addresses as podwire's own: read once, then kept by events.
// Routes and neighbours follow each event. Addresses and devices are read anew, once for a burst;
// routes are when Linux drops them without a word: with an address, a device, a nexthop object, or
// when events were lost (ENOBUFS). Control thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/linux_state.h"
#include "control/routes/netlink.h"
#include "control/routes/route_messages.h"

namespace podwire::control::routes {

struct KernelAddress {
  LinuxAddress address;
  int device = 0;
  std::uint8_t scope = 0;
  std::uint32_t flags = 0;
};

// The device whose routes lead through podwire.
struct HostTap {
  std::string name;
  std::uint16_t largest_mtu = 65535;  // what Linux's MTU of it counts for at most
};

class Mirror {
 public:
  // `changed` is called from the event loop whenever state() became another.
  Mirror(boost::asio::io_context& io, HostTap host_tap, std::size_t route_limit,
         std::function<void()> changed);
  ~Mirror();

  // Reads everything and begins to listen. state() is complete afterwards.
  Result<void> start();
  void stop();
  // Reads everything now rather than when the events of a change have come in.
  Result<void> read_now();
  [[nodiscard]] const LinuxState& state() const { return state_; }

  // podwired's own routes on the host tap (kRouteProtocol), with their preferred source.
  [[nodiscard]] const std::map<net::Prefix, std::optional<net::Address>>& own_routes() const {
    return own_routes_;
  }
  // Whether they, or anything of state() but its routes, have changed since the last call.
  bool take_own_changes() { return std::exchange(own_changed_, false); }
  // What a device holds now; read from the kernel.
  Result<std::vector<KernelRoute>> routes_of(int device);
  Result<std::vector<KernelAddress>> addresses_of(int device);
  [[nodiscard]] int host_tap_index() const { return host_tap_index_; }

  // Neighbours that next hops need: Linux is asked until it knows them, and again when it has not
  // heard of one for a while.
  void want(const std::vector<net::Address>& neighbours);
  // One more, for the next minutes: a worker holds a packet for it.
  void resolve(const net::Address& neighbour);

 private:
  struct Known {
    net::Mac mac;
    bool stale = false;
  };

  enum Part : unsigned { kLinks = 1, kAddresses = 2, kRoutes = 4, kNeighbours = 8, kAll = 15 };

  Result<void> read(unsigned parts);
  Result<void> read_links();
  void take_mtu(std::uint32_t says);
  Result<void> read_addresses();
  Result<void> read_routes();
  Result<void> read_neighbours();
  void listen();
  void on_event(const nlmsghdr& message);
  void on_link(const nlmsghdr& message);
  void on_route(const nlmsghdr& message);
  bool on_neighbour(const nlmsghdr& message);
  void read_soon(unsigned parts);
  void read_due();
  void tell();
  void ask(const net::Address& neighbour);
  void probe();
  [[nodiscard]] LinuxState assemble() const;

  boost::asio::io_context& io_;
  const HostTap host_tap_;
  std::function<void()> changed_;
  std::optional<Netlink> events_, requests_;
  std::unique_ptr<boost::asio::posix::stream_descriptor> descriptor_;
  boost::asio::steady_timer read_timer_, probe_timer_;
  unsigned due_ = 0;  // parts to be read
  bool read_waits_ = false;
  unsigned probe_round_ = 0;

  int host_tap_index_ = 0;
  std::uint16_t host_tap_mtu_ = 1500;
  std::uint32_t mtu_said_ = 0;   // the last that was too large
  std::map<int, bool> working_;  // devices: up, with a carrier
  Devices devices_;              // as routes were last read by
  NexthopObjects objects_;
  std::vector<KernelAddress> addresses_;
  const std::shared_ptr<LinuxRoutes> routes_;
  std::map<net::Prefix, std::optional<net::Address>> own_routes_;
  bool own_changed_ = false;
  std::map<net::Address, Known> neighbours_;
  std::set<net::Address> wanted_;
  std::map<net::Address, unsigned> resolving_;  // until this probe round
  LinuxState state_;
};

}  // namespace podwire::control::routes
