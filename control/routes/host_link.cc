#include "control/routes/host_link.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "control/log.h"

namespace podwire::control::routes {
namespace {

std::uint8_t family_of(const net::Address& address) {
  return address.is_v4() ? AF_INET : AF_INET6;
}

// Linux makes and removes these by itself, with their address or device.
bool is_made_by_linux(const KernelRoute& r) {
  return r.protocol == RTPROT_KERNEL || r.protocol == kRouteProtocol;
}

Result<void> set_up(Netlink& netlink, int device) {
  Message message(RTM_NEWLINK, 0);
  auto& header = message.header<ifinfomsg>();
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = device;
  header.ifi_flags = IFF_UP;
  header.ifi_change = IFF_UP;
  return netlink.request(message);
}

Result<void> put_route_on(Netlink& netlink, const KernelRoute& route, int device) {
  Message message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
  put_route(message, route, device);
  return netlink.request(message);
}

bool has_gateway(const KernelRoute& route) {
  return std::any_of(route.says.paths.begin(), route.says.paths.end(),
                     [](const LinuxPath& path) { return path.has_gateway; });
}

std::string conf(const char* family, const std::string& device, const char* key) {
  return std::string("net/") + family + "/conf/" + device + "/" + key;
}

}  // namespace

Result<void> put_address(Netlink& netlink, const LinuxAddress& address, int device) {
  Message message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
  auto& header = message.header<ifaddrmsg>();
  header.ifa_family = family_of(address.address);
  header.ifa_prefixlen = address.length;
  header.ifa_index = static_cast<unsigned>(device);
  header.ifa_scope = address.of_link ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  message.put(IFA_LOCAL, address.address);
  message.put(IFA_ADDRESS, address.address);
  if (address.address.is_v4() && address.length < 31) {
    net::Address broadcast = address.address;
    const std::uint32_t host_bits = 0xffffffffU >> address.length;
    message.put(IFA_BROADCAST, net::Address::from_v4(net::be32(broadcast.v4().host() | host_bits)));
  }
  // The address was in use a moment ago: nothing to detect.
  if (!address.address.is_v4()) message.put_u32(IFA_FLAGS, IFA_F_NODAD);
  return netlink.request(message);
}

Result<void> remove_address(Netlink& netlink, const LinuxAddress& address, int device) {
  Message message(RTM_DELADDR, 0);
  auto& header = message.header<ifaddrmsg>();
  header.ifa_family = family_of(address.address);
  header.ifa_prefixlen = address.length;
  header.ifa_index = static_cast<unsigned>(device);
  message.put(IFA_LOCAL, address.address);
  return netlink.request(message);
}

Result<void> write_sysctl(const std::string& path, const std::string& value) {
  const std::string file = "/proc/sys/" + path;
  const int descriptor = open(file.c_str(), O_WRONLY | O_CLOEXEC);
  const bool written = descriptor >= 0 && write(descriptor, value.data(), value.size()) ==
                                              static_cast<ssize_t>(value.size());
  const int error = errno;
  if (descriptor >= 0) close(descriptor);
  if (written) return {};
  return fail(file + " cannot be set to " + value + ": " + std::strerror(error));
}

HostLink::HostLink(std::string host_tap, std::string uplink, std::vector<net::Prefix> addresses)
    : host_tap_(std::move(host_tap)),
      uplink_(std::move(uplink)),
      addresses_(std::move(addresses)) {}

const net::Address& HostLink::gateway(net::Family family) {
  static const net::Address v4 = *net::Address::parse("169.254.1.1");
  static const net::Address v6 = *net::Address::parse("fe80::ecee:eeff:feee:eeee");
  return family == net::Family::v4 ? v4 : v6;
}

Result<void> HostLink::move(Mirror& mirror, int from, int to) {
  const auto addresses = mirror.addresses_of(from);
  const auto routes = mirror.routes_of(from);
  if (!addresses) return tl::unexpected(addresses.error());
  if (!routes) return tl::unexpected(routes.error());
  // Each address is on both devices for a moment, so that no socket loses it.
  for (const KernelAddress& a : *addresses) {
    if (a.scope != RT_SCOPE_UNIVERSE) continue;  // link-local ones belong to their device
    if (const auto put = put_address(*netlink_, a.address, to); !put) {
      return fail("address " + a.address.address.to_string() +
                  " cannot be moved: " + put.error().message);
    }
    if (const auto gone = remove_address(*netlink_, a.address, from); !gone) {
      return fail("address " + a.address.address.to_string() +
                  " cannot be moved: " + gone.error().message);
    }
  }
  // Gateways must be reachable before routes through them: those on the link go first.
  for (const bool with_gateway : {false, true}) {
    for (const KernelRoute& r : *routes) {
      if (is_made_by_linux(r) || has_gateway(r) != with_gateway) continue;
      const auto put = put_route_on(*netlink_, r, to);
      if (put || netlink_->last_error() == EEXIST) continue;
      // One odd route is no reason to stay off the network.
      log(LogLevel::warning, "route " + r.destination.to_string() + " cannot be moved to the " +
                                 (to == mirror.host_tap_index() ? "host tap" : "uplink") + ": " +
                                 put.error().message);
    }
  }
  return {};
}

Result<void> HostLink::put_gateways(int device) {
  for (const net::Family family : net::kFamilies) {
    Message message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
    auto& header = message.header<ndmsg>();
    header.ndm_family = family == net::Family::v4 ? AF_INET : AF_INET6;
    header.ndm_ifindex = device;
    header.ndm_state = NUD_PERMANENT;
    message.put(NDA_DST, gateway(family));
    message.put_bytes(NDA_LLADDR, net::kGatewayMac.bytes.data(), sizeof net::kGatewayMac);
    if (const auto put = netlink_->request(message); !put) {
      return fail("neighbour " + gateway(family).to_string() + " cannot be put on " + host_tap_ +
                  ": " + put.error().message);
    }
  }
  return {};
}

Result<void> HostLink::take(Mirror& mirror) {
  auto netlink = Netlink::open();
  if (!netlink) return tl::unexpected(netlink.error());
  netlink_ = std::move(*netlink);
  const int tap = mirror.host_tap_index();
  if (tap == 0) return fail("host tap " + host_tap_ + " does not exist");
  // Pods answer from addresses that Linux would route elsewhere while routes are still missing.
  for (const auto& [path, value] : {std::pair{conf("ipv4", host_tap_, "rp_filter"), "2"},
                                    std::pair{conf("ipv4", host_tap_, "send_redirects"), "0"},
                                    // For node ports at 127.0.0.1: NodePorts.
                                    std::pair{conf("ipv4", host_tap_, "route_localnet"), "1"},
                                    std::pair{conf("ipv6", host_tap_, "accept_dad"), "0"}}) {
    if (const auto set = write_sysctl(path, value); !set) {
      log(LogLevel::warning, set.error().message);
    }
  }
  if (const auto up = set_up(*netlink_, tap); !up) {
    return fail("host tap " + host_tap_ + " cannot be set up: " + up.error().message);
  }
  if (uplink_.empty()) {
    for (const net::Prefix& a : addresses_) {
      if (const auto put = put_address(*netlink_, {a.address, a.length}, tap); !put) {
        return fail("node-address " + a.to_string() + " cannot be put on " + host_tap_ + ": " +
                    put.error().message);
      }
    }
    return put_gateways(tap);
  }
  const auto from = static_cast<int>(if_nametoindex(uplink_.c_str()));
  if (from == 0) return fail("uplink device " + uplink_ + " does not exist");
  if (auto moved = move(mirror, from, tap); !moved) return moved;
  // Otherwise Linux would go on speaking on the wire from there: router solicitations, MLD.
  if (const auto set = write_sysctl(conf("ipv6", uplink_, "disable_ipv6"), "1"); !set) {
    log(LogLevel::debug, set.error().message);
  }
  return put_gateways(tap);
}

Result<void> HostLink::give_back(Mirror& mirror) {
  const int tap = mirror.host_tap_index();
  const auto to = static_cast<int>(uplink_.empty() ? 0 : if_nametoindex(uplink_.c_str()));
  if (!netlink_ || tap == 0 || to == 0) return {};
  if (const auto set = write_sysctl(conf("ipv6", uplink_, "disable_ipv6"), "0"); !set) {
    log(LogLevel::debug, set.error().message);
  }
  return move(mirror, tap, to);
}

}  // namespace podwire::control::routes
