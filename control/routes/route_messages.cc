#include "control/routes/route_messages.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <string>

namespace podwire::control::routes {
namespace {

constexpr std::uint32_t kUnusable = RTNH_F_DEAD | RTNH_F_LINKDOWN;
constexpr std::size_t kMultipathBytes = std::size_t{127} * 28;

net::Address unspecified(std::uint8_t family) {
  return family == AF_INET ? net::Address::from_v4(net::be32{}) : net::Address{};
}

std::optional<net::Address> address_in(const void* bytes, std::size_t size) {
  if (size == 16) return net::Address::from_v6(bytes);
  if (size != 4) return std::nullopt;
  std::uint32_t raw;
  std::memcpy(&raw, bytes, 4);
  return net::Address::from_v4(net::be32::from_raw(raw));
}

// Of RTA_GATEWAY or RTA_VIA; either may be null.
std::optional<net::Address> gateway_in(const nlattr* gateway, const nlattr* via) {
  if (gateway != nullptr) {
    return address_in(mnl_attr_get_payload(gateway), mnl_attr_get_payload_len(gateway));
  }
  if (via == nullptr || mnl_attr_get_payload_len(via) < sizeof(rtvia)) return std::nullopt;
  const auto* value = static_cast<const rtvia*>(mnl_attr_get_payload(via));
  return address_in(value->rtvia_addr, mnl_attr_get_payload_len(via) - sizeof(value->rtvia_family));
}

LinuxPath path_of(int device, std::uint32_t flags, const std::optional<net::Address>& gateway,
                  std::uint8_t family) {
  LinuxPath path;
  path.device = device;
  path.usable = (flags & kUnusable) == 0;
  path.onlink = (flags & RTNH_F_ONLINK) != 0;
  path.has_gateway = gateway.has_value();
  path.gateway = gateway.value_or(unspecified(family));
  return path;
}

std::vector<LinuxPath> multipath_in(const nlattr* attribute, std::uint8_t family) {
  std::vector<LinuxPath> all;
  const auto* hop = static_cast<const rtnexthop*>(mnl_attr_get_payload(attribute));
  int left = mnl_attr_get_payload_len(attribute);
  for (; RTNH_OK(hop, left); left -= RTNH_ALIGN(hop->rtnh_len), hop = RTNH_NEXT(hop)) {
    const nlattr *gateway = nullptr, *via = nullptr;
    const auto* inner = reinterpret_cast<const nlattr*>(RTNH_DATA(hop));
    int inner_left = static_cast<int>(hop->rtnh_len) - static_cast<int>(sizeof(rtnexthop));
    for (; mnl_attr_ok(inner, inner_left);
         inner_left -= MNL_ALIGN(inner->nla_len), inner = mnl_attr_next(inner)) {
      if (mnl_attr_get_type(inner) == RTA_GATEWAY) gateway = inner;
      if (mnl_attr_get_type(inner) == RTA_VIA) via = inner;
    }
    all.push_back(path_of(hop->rtnh_ifindex, hop->rtnh_flags, gateway_in(gateway, via), family));
    all.back().weight = hop->rtnh_hops + 1U;
  }
  return all;
}

// As the host tap and loopbacks make of them. IPv6's messages begin with any of the next hops; to
// IPv4 the same ones in another order are another route.
void settle(LinuxPaths& says, const Devices& devices, std::uint8_t family) {
  std::erase_if(says.paths,
                [&](const LinuxPath& path) { return devices.loopbacks.contains(path.device); });
  for (LinuxPath& path : says.paths) {
    path.through_host_tap = path.device != 0 && path.device == devices.host_tap;
  }
  if (family == AF_INET6) std::sort(says.paths.begin(), says.paths.end());
}

// What the message itself says, or the nexthop object it names. False: nothing.
bool read_paths(LinuxPaths& says, const rtmsg& header, const Attributes& attributes,
                const NexthopObjects& objects) {
  if (header.rtm_type == RTN_BLACKHOLE || header.rtm_type == RTN_UNREACHABLE ||
      header.rtm_type == RTN_PROHIBIT) {
    says.blackhole = true;
    return true;
  }
  if (const auto object = attributes.u32(RTA_NH_ID)) {
    if (const auto known = objects.paths_of(*object)) {
      says = *known;
      return true;
    }
    says.object = *object;
  }
  if (const nlattr* many = attributes.find(RTA_MULTIPATH)) {
    says.paths = multipath_in(many, header.rtm_family);
  } else {
    says.paths = {path_of(static_cast<int>(attributes.u32(RTA_OIF).value_or(0)), header.rtm_flags,
                          gateway_in(attributes.find(RTA_GATEWAY), attributes.find(RTA_VIA)),
                          header.rtm_family)};
  }
  return !says.paths.empty();
}

}  // namespace

bool NexthopObjects::apply(const nlmsghdr& message) {
  const auto& header = *static_cast<const nhmsg*>(mnl_nlmsg_get_payload(&message));
  const Attributes attributes(message, sizeof(nhmsg));
  const auto id = attributes.u32(NHA_ID);
  if (!id) return false;
  if (message.nlmsg_type == RTM_DELNEXTHOP) return all_.erase(*id) != 0;
  Object object;
  object.blackhole = attributes.find(NHA_BLACKHOLE) != nullptr;
  object.path = path_of(static_cast<int>(attributes.u32(NHA_OIF).value_or(0)), header.nh_flags,
                        gateway_in(attributes.find(NHA_GATEWAY), nullptr), header.nh_family);
  if (const nlattr* group = attributes.find(NHA_GROUP)) {
    const auto* member = static_cast<const nexthop_grp*>(mnl_attr_get_payload(group));
    const std::size_t count = mnl_attr_get_payload_len(group) / sizeof *member;
    for (std::size_t n = 0; n < count; ++n, ++member) {
      object.members.emplace_back(member->id, member->weight + 1U);
    }
  }
  const auto [place, added] = all_.try_emplace(*id, object);
  if (added || place->second == object) return false;
  place->second = std::move(object);
  return true;
}

std::optional<LinuxPaths> NexthopObjects::paths_of(std::uint32_t id) const {
  const auto found = all_.find(id);
  if (found == all_.end()) return std::nullopt;
  LinuxPaths says;
  says.object = id;
  if (found->second.members.empty()) {
    says.blackhole = found->second.blackhole;
    if (!says.blackhole) says.paths = {found->second.path};
    return says;
  }
  for (const auto& [member, weight] : found->second.members) {
    const auto one = all_.find(member);
    if (one == all_.end() || one->second.blackhole) continue;
    says.paths.push_back(one->second.path);
    says.paths.back().weight = weight;
  }
  return says;
}

bool is_of_main_table(const nlmsghdr& message) {
  const auto& header = *static_cast<const rtmsg*>(mnl_nlmsg_get_payload(&message));
  const Attributes attributes(message, sizeof(rtmsg));
  return attributes.u32(RTA_TABLE).value_or(header.rtm_table) == RT_TABLE_MAIN;
}

std::optional<KernelRoute> parse_route(const nlmsghdr& message, const NexthopObjects& objects,
                                       const Devices& devices) {
  const auto& header = *static_cast<const rtmsg*>(mnl_nlmsg_get_payload(&message));
  const Attributes attributes(message, sizeof(rtmsg));
  if (!is_of_main_table(message) || (header.rtm_flags & RTM_F_CLONED) != 0) return std::nullopt;
  if (header.rtm_family != AF_INET && header.rtm_family != AF_INET6) return std::nullopt;
  if (header.rtm_tos != 0 || header.rtm_src_len != 0) return std::nullopt;
  KernelRoute route;
  const auto destination = attributes.address(RTA_DST).value_or(unspecified(header.rtm_family));
  route.destination = net::Prefix::around(destination, header.rtm_dst_len);
  route.metric = attributes.u32(RTA_PRIORITY).value_or(0);
  route.protocol = header.rtm_protocol;
  route.scope = header.rtm_scope;
  route.type = header.rtm_type;
  if (const auto source = attributes.address(RTA_PREFSRC)) {
    route.preferred_source = *source;
    route.has_preferred_source = true;
  }
  if (!read_paths(route.says, header, attributes, objects)) return std::nullopt;
  settle(route.says, devices, header.rtm_family);
  if (route.says.blackhole) return route;
  const bool carried = header.rtm_type == RTN_UNICAST && !destination.is_multicast();
  return carried && !route.says.paths.empty() ? std::optional(route) : std::nullopt;
}

namespace {

void put_gateway(Message& message, const net::Prefix& destination, const net::Address& gateway) {
  if (gateway.family() == destination.family()) {
    message.put(RTA_GATEWAY, gateway);
    return;
  }
  struct {
    std::uint16_t family = AF_INET6;
    std::uint8_t address[16];
  } via;
  std::memcpy(via.address, gateway.bytes.data(), sizeof via.address);
  message.put_bytes(RTA_VIA, &via, sizeof via);
}

// RTA_MULTIPATH, of gateways of the route's own family.
std::string multipath(const KernelRoute& route, int device) {
  std::string bytes;
  for (const LinuxPath& path : route.says.paths) {
    if (bytes.size() > kMultipathBytes) break;
    const bool v4 = path.gateway.is_v4();
    const std::size_t size = v4 ? 4 : 16;
    nlattr attribute{};
    attribute.nla_type = RTA_GATEWAY;
    attribute.nla_len = static_cast<std::uint16_t>(sizeof attribute + size);
    rtnexthop hop{};
    const std::size_t gateway = path.has_gateway ? sizeof attribute + size : 0;
    hop.rtnh_len = static_cast<unsigned short>(sizeof hop + gateway);
    hop.rtnh_flags = static_cast<unsigned char>(path.onlink ? RTNH_F_ONLINK : 0);
    hop.rtnh_hops = static_cast<unsigned char>(path.weight - 1);
    hop.rtnh_ifindex = device;
    bytes.append(reinterpret_cast<const char*>(&hop), sizeof hop);
    if (!path.has_gateway) continue;
    bytes.append(reinterpret_cast<const char*>(&attribute), sizeof attribute);
    bytes.append(reinterpret_cast<const char*>(path.gateway.bytes.data()) + (v4 ? 12 : 0), size);
  }
  return bytes;
}

}  // namespace

void put_route(Message& message, const KernelRoute& route, int device) {
  auto& header = message.header<rtmsg>();
  header.rtm_family = route.destination.address.is_v4() ? AF_INET : AF_INET6;
  header.rtm_dst_len = route.destination.length;
  header.rtm_table = RT_TABLE_MAIN;
  header.rtm_protocol = route.protocol;
  header.rtm_scope = route.scope;
  header.rtm_type = route.type;
  if (route.destination.length > 0) message.put(RTA_DST, route.destination.address);
  if (route.metric != 0) message.put_u32(RTA_PRIORITY, route.metric);
  if (route.has_preferred_source) message.put(RTA_PREFSRC, route.preferred_source);
  if (route.says.paths.size() > 1) {
    const std::string bytes = multipath(route, device);
    message.put_bytes(RTA_MULTIPATH, bytes.data(), bytes.size());
    return;
  }
  message.put_u32(RTA_OIF, static_cast<std::uint32_t>(device));
  if (route.says.paths.empty()) return;
  const LinuxPath& path = route.says.paths.front();
  if (path.onlink) header.rtm_flags = RTNH_F_ONLINK;
  if (path.has_gateway) put_gateway(message, route.destination, path.gateway);
}

}  // namespace podwire::control::routes
