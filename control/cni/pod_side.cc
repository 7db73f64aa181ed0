#include "control/cni/pod_side.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <net/if.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <utility>

#include "control/cni/netlink.h"
#include "dataplane/io/namespace.h"

namespace podwire::control {
namespace {

// Of an interface beside the one with the default route: its table is this and its index.
constexpr std::uint32_t kFirstTable = 1000;
constexpr std::uint32_t kRulePriority = 1000;

std::string place(const PodSide& pod) {
  return pod.netns + ": " + pod.interface;
}

bool is_v4(const net::Address& address) {
  return address.is_v4();
}
const void* raw(const net::Address& address) {
  return address.bytes.data() + (address.is_v4() ? 12 : 0);
}
std::size_t raw_size(const net::Address& address) {
  return address.is_v4() ? 4 : 16;
}
unsigned char family(const net::Address& address) {
  return address.is_v4() ? AF_INET : AF_INET6;
}
net::Address gateway_for(const net::Address& ip) {
  return *net::Address::parse(ip.is_v4() ? kGatewayV4 : kGatewayV6);
}

bool write_setting(const PodSide& pod, const char* name, const char* value) {
  // /proc/sys/net is that of the reading thread's namespace: linux/net/sysctl_net.c.
  std::ofstream file("/proc/sys/net/ipv6/conf/" + pod.interface + "/" + name);
  file << value;
  file.close();
  return !file.fail();
}

// Before the link comes up, so that it never has an address in doubt.
Result<void> set_ipv6(const PodSide& pod) {
  if (access("/proc/sys/net/ipv6", F_OK) != 0) return {};  // a kernel without IPv6
  const bool wanted = !std::all_of(pod.ips.begin(), pod.ips.end(), is_v4);
  const bool done = write_setting(pod, "disable_ipv6", wanted ? "0" : "1") &&
                    write_setting(pod, "accept_dad", "0") && write_setting(pod, "accept_ra", "0");
  return done ? Result<void>{} : fail(place(pod) + ": IPv6 settings cannot be written");
}

// Lines of /proc/net/route or /proc/net/ipv6_route (linux/net/ipv4/fib_trie.c, ipv6/route.c): the
// main table's, as (destination, device).
std::vector<std::pair<net::Prefix, std::string>> main_routes(bool v4) {
  std::vector<std::pair<net::Prefix, std::string>> routes;
  std::ifstream file(v4 ? "/proc/thread-self/net/route" : "/proc/thread-self/net/ipv6_route");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::vector<std::string> fields;
    for (std::string word; words >> word;) fields.push_back(word);
    net::Prefix to;
    if (v4) {
      if (fields.size() < 8 || fields[0] == "Iface") continue;
      const auto number = [](const std::string& hex) {
        return static_cast<std::uint32_t>(std::strtoul(hex.c_str(), nullptr, 16));
      };
      const std::uint32_t address = number(fields[1]);  // in the network's order
      to.address = net::Address::from_v4(net::be32(__builtin_bswap32(address)));
      to.length = static_cast<std::uint8_t>(__builtin_popcount(number(fields[7])));
      routes.emplace_back(to, fields[0]);
    } else if (fields.size() > 9 && fields[0].size() == 32) {
      for (unsigned i = 0; i < 16; ++i) {
        to.address.bytes[i] = static_cast<std::uint8_t>(
            std::strtoul(fields[0].substr(2UL * i, 2).c_str(), nullptr, 16));
      }
      to.length = static_cast<std::uint8_t>(std::strtoul(fields[1].c_str(), nullptr, 16));
      routes.emplace_back(to, fields[9]);
    }
  }
  return routes;
}

net::Prefix default_prefix(const net::Address& of_family) {
  return {net::unspecified(of_family.family()), 0};
}

// In the main table, other than loopback's (which has IPv6's unreachable route).
std::optional<std::string> default_route_device(bool v4) {
  for (const auto& [to, device] : main_routes(v4)) {
    if (to.length == 0 && device != "lo") return device;
  }
  return std::nullopt;
}

bool has_route(const std::string& interface, const net::Prefix& wanted) {
  const auto routes = main_routes(wanted.address.is_v4());
  return std::any_of(routes.begin(), routes.end(), [&](const auto& route) {
    return route.first == wanted && route.second == interface;
  });
}

int set_link(Netlink& netlink, const PodSide& pod, unsigned index) {
  auto* message = netlink.begin(RTM_NEWLINK, 0);
  auto* link = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg)));
  link->ifi_index = static_cast<int>(index);
  link->ifi_flags = link->ifi_change = IFF_UP;
  mnl_attr_put_u32(message, IFLA_MTU, pod.mtu);
  mnl_attr_put(message, IFLA_ADDRESS, pod.mac.bytes.size(), pod.mac.bytes.data());
  return netlink.send();
}

int add_address(Netlink& netlink, const net::Address& ip, unsigned index) {
  auto* message = netlink.begin(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
  auto* address = static_cast<ifaddrmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ifaddrmsg)));
  address->ifa_family = family(ip);
  address->ifa_prefixlen = static_cast<unsigned char>(raw_size(ip) * 8);
  address->ifa_index = index;
  address->ifa_scope = RT_SCOPE_UNIVERSE;
  if (!ip.is_v4()) address->ifa_flags = IFA_F_NODAD;
  mnl_attr_put(message, IFA_LOCAL, raw_size(ip), raw(ip));
  mnl_attr_put(message, IFA_ADDRESS, raw_size(ip), raw(ip));
  return netlink.send();
}

rtmsg* begin_route(Netlink& netlink, nlmsghdr*& message, const net::Address& ip) {
  message = netlink.begin(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
  auto* route = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(rtmsg)));
  route->rtm_family = family(ip);
  route->rtm_table = RT_TABLE_MAIN;
  route->rtm_protocol = RTPROT_BOOT;
  route->rtm_scope = RT_SCOPE_UNIVERSE;
  route->rtm_type = RTN_UNICAST;
  return route;
}

int add_gateway_route(Netlink& netlink, const net::Address& gateway, unsigned index) {
  nlmsghdr* message = nullptr;
  auto* route = begin_route(netlink, message, gateway);
  route->rtm_dst_len = static_cast<unsigned char>(raw_size(gateway) * 8);
  route->rtm_scope = RT_SCOPE_LINK;
  mnl_attr_put(message, RTA_DST, raw_size(gateway), raw(gateway));
  mnl_attr_put_u32(message, RTA_OIF, index);
  return netlink.send();
}

int add_route(Netlink& netlink, const PodRoute& wanted, unsigned index) {
  const net::Address gateway = gateway_for(wanted.to.address);
  nlmsghdr* message = nullptr;
  auto* route = begin_route(netlink, message, gateway);
  route->rtm_flags = RTNH_F_ONLINK;
  route->rtm_dst_len = wanted.to.length;
  if (wanted.table != 0) {
    route->rtm_table = RT_TABLE_UNSPEC;
    mnl_attr_put_u32(message, RTA_TABLE, wanted.table);
  }
  if (wanted.to.length != 0) {
    mnl_attr_put(message, RTA_DST, raw_size(gateway), raw(wanted.to.address));
  }
  mnl_attr_put(message, RTA_GATEWAY, raw_size(gateway), raw(gateway));
  mnl_attr_put_u32(message, RTA_OIF, index);
  if (wanted.priority != 0) mnl_attr_put_u32(message, RTA_PRIORITY, wanted.priority);
  if (wanted.mtu != 0 || wanted.advmss != 0) {
    auto* metrics = mnl_attr_nest_start(message, RTA_METRICS);
    if (wanted.mtu != 0) mnl_attr_put_u32(message, RTAX_MTU, wanted.mtu);
    if (wanted.advmss != 0) mnl_attr_put_u32(message, RTAX_ADVMSS, wanted.advmss);
    mnl_attr_nest_end(message, metrics);
  }
  return netlink.send();
}

// Packets that the pod sends from `ip` ask `table` first. RTM_DELRULE: no longer.
int change_rule(Netlink& netlink, std::uint16_t type, const net::Address& ip, std::uint32_t table) {
  auto* message =
      netlink.begin(type, type == RTM_NEWRULE ? NLM_F_CREATE | NLM_F_EXCL : std::uint16_t{0});
  auto* rule =
      static_cast<fib_rule_hdr*>(mnl_nlmsg_put_extra_header(message, sizeof(fib_rule_hdr)));
  rule->family = family(ip);
  rule->src_len = static_cast<unsigned char>(raw_size(ip) * 8);
  rule->action = FR_ACT_TO_TBL;
  mnl_attr_put(message, FRA_SRC, raw_size(ip), raw(ip));
  mnl_attr_put_u32(message, FRA_TABLE, table);
  mnl_attr_put_u32(message, FRA_PRIORITY, kRulePriority);
  const int error = netlink.send();
  return error == EEXIST ? 0 : error;
}

int add_neighbour(Netlink& netlink, const net::Address& gateway, unsigned index) {
  auto* message = netlink.begin(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
  auto* neighbour = static_cast<ndmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ndmsg)));
  neighbour->ndm_family = family(gateway);
  neighbour->ndm_ifindex = static_cast<int>(index);
  neighbour->ndm_state = NUD_PERMANENT;
  mnl_attr_put(message, NDA_DST, raw_size(gateway), raw(gateway));
  mnl_attr_put(message, NDA_LLADDR, net::kGatewayMac.bytes.size(), net::kGatewayMac.bytes.data());
  return netlink.send();
}

Result<void> set_up_address(Netlink& netlink, const PodSide& pod, const net::Address& ip,
                            unsigned index) {
  const net::Address gateway = gateway_for(ip);
  const auto failed = [&](const char* step, int error) {
    return fail(place(pod) + ": " + step + " for " + ip.to_string() + ": " + std::strerror(error));
  };
  if (const int error = add_address(netlink, ip, index)) return failed("address", error);
  if (ip.is_v4()) {
    if (const int error = add_gateway_route(netlink, gateway, index)) {
      return failed("route to the gateway", error);
    }
  } else if (const int error = add_neighbour(netlink, gateway, index)) {
    return failed("neighbour entry of the gateway", error);
  }
  return {};
}

// A pod's default route is its first interface's. What comes to another interface is answered there
// all the same: its addresses have a table of their own.
Result<void> set_up_routes(Netlink& netlink, const PodSide& pod, unsigned index) {
  const auto failed = [&](const PodRoute& route, int error) {
    return fail(place(pod) + ": route to " + route.to.to_string() + ": " + std::strerror(error));
  };
  for (const PodRoute& route : pod.routes) {
    if (const int error = add_route(netlink, route, index)) return failed(route, error);
  }
  for (const net::Address& ip : pod.ips) {
    const auto owner = default_route_device(ip.is_v4());
    const bool first = !owner || *owner == pod.interface;
    if (first && !pod.routes.empty()) continue;
    PodRoute route{default_prefix(ip)};
    if (!first) {
      route.table = kFirstTable + index;
      if (const int error = change_rule(netlink, RTM_NEWRULE, ip, route.table)) {
        return fail(place(pod) + ": rule for " + ip.to_string() + ": " + std::strerror(error));
      }
    }
    if (const int error = add_route(netlink, route, index)) return failed(route, error);
  }
  return {};
}

bool has_address(const std::string& interface, const net::Address& wanted) {
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return false;
  bool found = false;
  for (const ifaddrs* one = all; one != nullptr && !found; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || interface != one->ifa_name ||
        one->ifa_addr->sa_family != family(wanted)) {
      continue;
    }
    const void* bytes =
        wanted.is_v4()
            ? static_cast<const void*>(&reinterpret_cast<sockaddr_in*>(one->ifa_addr)->sin_addr)
            : &reinterpret_cast<sockaddr_in6*>(one->ifa_addr)->sin6_addr;
    found = std::memcmp(bytes, raw(wanted), raw_size(wanted)) == 0;
  }
  freeifaddrs(all);
  return found;
}

bool is_up(const std::string& interface) {
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return false;
  bool up = false;
  for (const ifaddrs* one = all; one != nullptr; one = one->ifa_next) {
    if (interface == one->ifa_name && (one->ifa_flags & IFF_UP) != 0) up = true;
  }
  freeifaddrs(all);
  return up;
}

Result<void> set_up_here(const PodSide& pod) {
  const unsigned index = if_nametoindex(pod.interface.c_str());
  if (index == 0) return fail(place(pod) + ": is not there");
  if (auto done = set_ipv6(pod); !done) return done;
  Netlink netlink;
  if (!netlink.ok()) return fail(pod.netns + ": no netlink socket: " + std::strerror(errno));
  if (const int error = set_link(netlink, pod, index)) {
    return fail(place(pod) + ": MTU, Ethernet address and up: " + std::strerror(error));
  }
  for (const net::Address& ip : pod.ips) {
    if (auto done = set_up_address(netlink, pod, ip, index); !done) return done;
  }
  return set_up_routes(netlink, pod, index);
}

Result<void> clear_here(const PodSide& pod) {
  const unsigned index = if_nametoindex(pod.interface.c_str());
  Netlink netlink;
  if (index == 0 || !netlink.ok()) return {};
  for (const net::Address& ip : pod.ips) {
    (void)change_rule(netlink, RTM_DELRULE, ip, kFirstTable + index);
  }
  return {};
}

Result<void> check_here(const PodSide& pod) {
  if (if_nametoindex(pod.interface.c_str()) == 0) return fail(place(pod) + ": is not there");
  if (!is_up(pod.interface)) return fail(place(pod) + ": is down");
  for (const net::Address& ip : pod.ips) {
    if (!has_address(pod.interface, ip)) {
      return fail(place(pod) + ": has lost its address " + ip.to_string());
    }
    if (pod.routes.empty() && !default_route_device(ip.is_v4())) {
      return fail(place(pod) + ": has no default route for " + (ip.is_v4() ? "IPv4" : "IPv6"));
    }
  }
  for (const PodRoute& route : pod.routes) {
    if (route.table == 0 && !has_route(pod.interface, route.to)) {
      return fail(place(pod) + ": has lost its route to " + route.to.to_string());
    }
  }
  return {};
}

Result<void> inside(const PodSide& pod, Result<void> (*act)(const PodSide&)) {
  Result<void> done;
  if (auto entered = io::in_namespace(pod.netns, [&] { done = act(pod); }); !entered) {
    return entered;
  }
  return done;
}

}  // namespace

Result<void> set_up_pod_side(const PodSide& pod) {
  return inside(pod, set_up_here);
}
Result<void> check_pod_side(const PodSide& pod) {
  return inside(pod, check_here);
}
void clear_pod_side(const PodSide& pod) {
  (void)inside(pod, clear_here);
}

}  // namespace podwire::control
