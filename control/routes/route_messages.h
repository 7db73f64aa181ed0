// What rtnetlink says of routes and nexthop objects (rtnetlink(7), linux/nexthop.h), read.
#pragma once

#include <linux/nexthop.h>

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "control/linux_routes.h"
#include "control/routes/netlink.h"

namespace podwire::control::routes {

// A route as Linux holds it, with what is needed to put it elsewhere.
struct KernelRoute {
  net::Prefix destination;
  LinuxPaths says;
  std::uint32_t metric = 0;
  std::uint8_t protocol = 0;
  std::uint8_t scope = 0, type = 0;
  net::Address preferred_source;
  bool has_preferred_source = false;
};

// Which devices paths lead to.
struct Devices {
  int host_tap = 0;         // 0: none
  std::set<int> loopbacks;  // paths to these are none
  bool operator==(const Devices&) const = default;
};

// What nexthop objects say, by their ids; a group's paths are those of its members.
class NexthopObjects {
 public:
  // RTM_NEWNEXTHOP or RTM_DELNEXTHOP. Whether it changes one that was known.
  bool apply(const nlmsghdr& message);
  void clear() { all_.clear(); }
  // Nothing for an id that is not known.
  [[nodiscard]] std::optional<LinuxPaths> paths_of(std::uint32_t id) const;

 private:
  struct Object {
    bool blackhole = false;
    LinuxPath path;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> members;  // of a group: id, weight
    bool operator==(const Object&) const = default;
  };
  std::map<std::uint32_t, Object> all_;
};

// A route of the main table, of any protocol, whatever device it leads to; nothing for what is not
// mirrored: other tables, cached and multicast routes, those of a type of service or source.
std::optional<KernelRoute> parse_route(const nlmsghdr& message, const NexthopObjects& objects,
                                       const Devices& devices);

bool is_of_main_table(const nlmsghdr& message);

// Fills `message`, an RTM_NEWROUTE, with the route on another device. Of several paths the first
// 128 are kept.
void put_route(Message& message, const KernelRoute& route, int device);

}  // namespace podwire::control::routes
