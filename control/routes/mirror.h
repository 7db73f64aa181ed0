// Linux's routes, neighbours and addresses as podwire's own: read once, then kept by events.
// Neighbours follow each event; a change of routes, addresses or devices is read anew as a whole,
// once for a burst. Lost events (ENOBUFS) lead to a full reading. Control thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "control/linux_state.h"
#include "control/routes/netlink.h"

namespace podwire::control::routes {

// A route as Linux holds it, with what is needed to put it elsewhere.
struct KernelRoute {
  LinuxRoute route;
  int device = 0;  // ifindex; 0: none
  std::uint8_t scope = 0, type = 0;
  std::uint32_t flags = 0;  // RTNH_F_ONLINK
  net::Address preferred_source;
  bool has_preferred_source = false;
};
struct KernelAddress {
  LinuxAddress address;
  int device = 0;
  std::uint8_t scope = 0;
  std::uint32_t flags = 0;
};

class Mirror {
 public:
  // `changed` is called from the event loop whenever state() became another.
  Mirror(boost::asio::io_context& io, std::string host_tap, std::function<void()> changed);
  ~Mirror();

  // Reads everything and begins to listen. state() is complete afterwards.
  Result<void> start();
  void stop();
  // Reads everything now rather than when the events of a change have come in.
  Result<void> read_now() { return read_all(); }
  [[nodiscard]] const LinuxState& state() const { return state_; }

  // podwired's own routes on the host tap (kRouteProtocol), with their preferred source.
  [[nodiscard]] const std::map<net::Prefix, std::optional<net::Address>>& own_routes() const {
    return own_routes_;
  }
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

  Result<void> read_all();
  Result<void> read_links();
  Result<void> read_addresses();
  Result<void> read_routes();
  Result<void> read_neighbours();
  void listen();
  void on_event(const nlmsghdr& message);
  bool on_neighbour(const nlmsghdr& message);
  void read_soon();
  void tell();
  void ask(const net::Address& neighbour);
  void probe();
  [[nodiscard]] LinuxState assemble() const;

  boost::asio::io_context& io_;
  const std::string host_tap_;
  std::function<void()> changed_;
  std::optional<Netlink> events_, requests_;
  std::unique_ptr<boost::asio::posix::stream_descriptor> descriptor_;
  boost::asio::steady_timer read_timer_, probe_timer_;
  bool read_due_ = false;
  unsigned probe_round_ = 0;

  int host_tap_index_ = 0;
  std::uint16_t host_tap_mtu_ = 1500;
  std::set<int> loopbacks_;
  std::vector<KernelAddress> addresses_;
  std::vector<LinuxRoute> routes_;
  std::map<net::Prefix, std::optional<net::Address>> own_routes_;
  std::map<net::Address, Known> neighbours_;
  std::set<net::Address> wanted_;
  std::map<net::Address, unsigned> resolving_;  // until this probe round
  LinuxState state_;
};

}  // namespace podwire::control::routes
