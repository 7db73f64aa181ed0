#include "control/routes/mirror.h"

#include <linux/if.h>
#include <linux/neighbour.h>
#include <net/if_arp.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "control/log.h"

namespace podwire::control::routes {
namespace {

using namespace std::chrono_literals;

constexpr auto kBurst = 2ms;           // how long a burst of events is gathered before reading
constexpr auto kReadAgain = 1s;        // after a reading that failed
constexpr auto kProbe = 1s;            // a round of questions for neighbours that are not known
constexpr unsigned kFreshRounds = 10;  // rounds after which stale neighbours are asked for again
constexpr unsigned kResolveRounds = 300;
constexpr std::size_t kMaxResolving = 4096;
constexpr std::uint16_t kUsable =
    NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE;

net::Address unspecified(std::uint8_t family) {
  return family == AF_INET ? net::Address::from_v4(net::be32{}) : net::Address{};
}

// The first usable next hop of a route with several.
struct Hop {
  int device = 0;
  std::optional<net::Address> gateway;
  std::uint32_t flags = 0;
};

std::optional<net::Address> payload_address(const void* bytes, std::size_t size) {
  if (size == 16) return net::Address::from_v6(bytes);
  if (size != 4) return std::nullopt;
  std::uint32_t raw;
  std::memcpy(&raw, bytes, 4);
  return net::Address::from_v4(net::be32::from_raw(raw));
}

std::optional<net::Address> via(const nlattr* attribute) {
  if (attribute == nullptr || mnl_attr_get_payload_len(attribute) < sizeof(rtvia)) return {};
  const auto* value = static_cast<const rtvia*>(mnl_attr_get_payload(attribute));
  return payload_address(value->rtvia_addr,
                         mnl_attr_get_payload_len(attribute) - sizeof(value->rtvia_family));
}

std::optional<Hop> first_of_many(const nlattr* attribute) {
  const auto* hop = static_cast<const rtnexthop*>(mnl_attr_get_payload(attribute));
  int left = mnl_attr_get_payload_len(attribute);
  for (; RTNH_OK(hop, left); left -= RTNH_ALIGN(hop->rtnh_len), hop = RTNH_NEXT(hop)) {
    if ((hop->rtnh_flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN)) != 0) continue;
    Hop found{hop->rtnh_ifindex, std::nullopt, hop->rtnh_flags};
    const auto* inner = reinterpret_cast<const nlattr*>(RTNH_DATA(hop));
    int inner_left = static_cast<int>(hop->rtnh_len) - static_cast<int>(sizeof(rtnexthop));
    for (; mnl_attr_ok(inner, inner_left);
         inner_left -= MNL_ALIGN(inner->nla_len), inner = mnl_attr_next(inner)) {
      if (mnl_attr_get_type(inner) == RTA_GATEWAY) {
        found.gateway =
            payload_address(mnl_attr_get_payload(inner), mnl_attr_get_payload_len(inner));
      } else if (mnl_attr_get_type(inner) == RTA_VIA) {
        found.gateway = via(inner);
      }
    }
    return found;
  }
  return std::nullopt;
}

std::optional<KernelRoute> parse_route(const nlmsghdr& message) {
  const auto& header = *static_cast<const rtmsg*>(mnl_nlmsg_get_payload(&message));
  const Attributes attributes(message, sizeof(rtmsg));
  const std::uint32_t table = attributes.u32(RTA_TABLE).value_or(header.rtm_table);
  if (table != RT_TABLE_MAIN || (header.rtm_flags & RTM_F_CLONED) != 0) return std::nullopt;
  if (header.rtm_family != AF_INET && header.rtm_family != AF_INET6) return std::nullopt;
  KernelRoute found;
  found.type = header.rtm_type;
  found.scope = header.rtm_scope;
  found.flags = header.rtm_flags & RTNH_F_ONLINK;
  LinuxRoute& route = found.route;
  const auto destination = attributes.address(RTA_DST).value_or(unspecified(header.rtm_family));
  route.destination = net::Prefix::around(destination, header.rtm_dst_len);
  route.metric = attributes.u32(RTA_PRIORITY).value_or(0);
  route.protocol = header.rtm_protocol;
  route.gateway = unspecified(header.rtm_family);
  if (const auto source = attributes.address(RTA_PREFSRC)) {
    found.preferred_source = *source;
    found.has_preferred_source = true;
  }
  if (header.rtm_type == RTN_BLACKHOLE || header.rtm_type == RTN_UNREACHABLE ||
      header.rtm_type == RTN_PROHIBIT) {
    route.blackhole = true;
    return found;
  }
  if (header.rtm_type != RTN_UNICAST || destination.is_multicast()) return std::nullopt;
  std::optional<Hop> hop;
  if (const nlattr* many = attributes.find(RTA_MULTIPATH)) {
    hop = first_of_many(many);
  } else if ((header.rtm_flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN)) == 0) {
    hop = Hop{static_cast<int>(attributes.u32(RTA_OIF).value_or(0)),
              attributes.address(RTA_GATEWAY), 0};
    if (!hop->gateway) hop->gateway = via(attributes.find(RTA_VIA));
  }
  if (!hop) return std::nullopt;
  found.device = hop->device;
  found.flags |= hop->flags & RTNH_F_ONLINK;
  if (hop->gateway) {
    route.gateway = *hop->gateway;
    route.has_gateway = true;
  }
  return found;
}

std::optional<KernelAddress> parse_address(const nlmsghdr& message) {
  const auto& header = *static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(&message));
  const Attributes attributes(message, sizeof(ifaddrmsg));
  // On a point-to-point link IFA_ADDRESS is the peer's.
  auto address = attributes.address(IFA_LOCAL);
  if (!address) address = attributes.address(IFA_ADDRESS);
  if (!address) return std::nullopt;
  return KernelAddress{{*address, header.ifa_prefixlen},
                       static_cast<int>(header.ifa_index),
                       header.ifa_scope,
                       attributes.u32(IFA_FLAGS).value_or(header.ifa_flags)};
}

}  // namespace

Mirror::Mirror(boost::asio::io_context& io, std::string host_tap, std::function<void()> changed)
    : io_(io),
      host_tap_(std::move(host_tap)),
      changed_(std::move(changed)),
      read_timer_(io),
      probe_timer_(io) {}

Mirror::~Mirror() {
  stop();
}

Result<void> Mirror::start() {
  auto events = Netlink::open({RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR,
                               RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE});
  if (!events) return tl::unexpected(events.error());
  auto requests = Netlink::open();
  if (!requests) return tl::unexpected(requests.error());
  events_ = std::move(*events);
  requests_ = std::move(*requests);
  if (auto read = read_all(); !read) return read;
  descriptor_ = std::make_unique<boost::asio::posix::stream_descriptor>(io_, events_->descriptor());
  listen();
  probe();
  return {};
}

void Mirror::stop() {
  read_timer_.cancel();
  probe_timer_.cancel();
  if (descriptor_ != nullptr) {
    descriptor_->cancel();
    descriptor_->release();  // the socket closes it
    descriptor_.reset();
  }
}

Result<void> Mirror::read_links() {
  return requests_->dump(
      RTM_GETLINK, AF_UNSPEC,
      [&](const nlmsghdr& message) {
        const auto& header = *static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(&message));
        if ((header.ifi_flags & IFF_LOOPBACK) != 0) loopbacks_.insert(header.ifi_index);
        const Attributes attributes(message, sizeof(ifinfomsg));
        const nlattr* name = attributes.find(IFLA_IFNAME);
        if (name == nullptr || host_tap_ != mnl_attr_get_str(name)) return;
        host_tap_index_ = header.ifi_index;
        host_tap_mtu_ = static_cast<std::uint16_t>(
            std::min<std::uint32_t>(attributes.u32(IFLA_MTU).value_or(1500), 0xffff));
      },
      [&] {
        loopbacks_.clear();
        host_tap_index_ = 0;
      });
}

Result<void> Mirror::read_addresses() {
  return requests_->dump(
      RTM_GETADDR, AF_UNSPEC,
      [&](const nlmsghdr& message) {
        if (const auto address = parse_address(message)) addresses_.push_back(*address);
      },
      [&] { addresses_.clear(); });
}

Result<void> Mirror::read_routes() {
  const auto restart = [&] {
    routes_.clear();
    own_routes_.clear();
  };
  restart();
  for (const std::uint8_t family : {AF_INET, AF_INET6}) {
    std::vector<KernelRoute> found;
    auto read = requests_->dump(
        RTM_GETROUTE, family,
        [&](const nlmsghdr& message) {
          if (auto route = parse_route(message)) found.push_back(*route);
        },
        [&] { found.clear(); });
    if (!read) return read;
    for (KernelRoute& r : found) {
      if (r.route.protocol == kRouteProtocol) {
        if (r.device == host_tap_index_) {
          own_routes_[r.route.destination] =
              r.has_preferred_source ? std::optional(r.preferred_source) : std::nullopt;
        }
        continue;
      }
      if (!r.route.blackhole && loopbacks_.contains(r.device)) continue;
      r.route.through_host_tap = r.device != 0 && r.device == host_tap_index_;
      routes_.push_back(r.route);
    }
  }
  return {};
}

Result<void> Mirror::read_neighbours() {
  return requests_->dump(
      RTM_GETNEIGH, AF_UNSPEC, [&](const nlmsghdr& message) { on_neighbour(message); },
      [&] { neighbours_.clear(); });
}

Result<void> Mirror::read_all() {
  for (const auto part : {&Mirror::read_links, &Mirror::read_addresses, &Mirror::read_routes,
                          &Mirror::read_neighbours}) {
    if (auto read = (this->*part)(); !read) return read;
  }
  state_ = assemble();
  return {};
}

// Returns whether a next hop may be another.
bool Mirror::on_neighbour(const nlmsghdr& message) {
  const auto& header = *static_cast<const ndmsg*>(mnl_nlmsg_get_payload(&message));
  if (header.ndm_ifindex != host_tap_index_) return false;
  const Attributes attributes(message, sizeof(ndmsg));
  const auto address = attributes.address(NDA_DST);
  const nlattr* link = attributes.find(NDA_LLADDR);
  if (!address) return false;
  const bool usable = message.nlmsg_type == RTM_NEWNEIGH && (header.ndm_state & kUsable) != 0 &&
                      link != nullptr && mnl_attr_get_payload_len(link) == sizeof(net::Mac);
  net::Mac mac;
  if (usable) std::memcpy(mac.bytes.data(), mnl_attr_get_payload(link), sizeof mac);
  // Our own entry for the gateway into podwire is no neighbour on the wire.
  if (!usable || mac == net::kGatewayMac || mac.is_multicast() || mac.is_zero()) {
    return neighbours_.erase(*address) != 0;
  }
  Known& known = neighbours_[*address];
  known.stale = (header.ndm_state & NUD_STALE) != 0;
  return std::exchange(known.mac, mac) != mac;
}

LinuxState Mirror::assemble() const {
  LinuxState state;
  state.routes = routes_;
  std::sort(state.routes.begin(), state.routes.end());
  for (const auto& [address, known] : neighbours_) {
    state.neighbours.push_back({address, known.mac});
  }
  for (const KernelAddress& a : addresses_) {
    if (a.address.address.is_loopback()) continue;
    state.addresses.push_back(a.address);
    if (a.device == host_tap_index_) state.host_tap_addresses.push_back(a.address);
  }
  // The host tap's stay in Linux's order: its first address is the one Linux prefers.
  std::sort(state.addresses.begin(), state.addresses.end());
  state.host_tap_mtu = host_tap_mtu_;
  return state;
}

void Mirror::listen() {
  descriptor_->async_wait(
      boost::asio::posix::stream_descriptor::wait_read,
      [this](const boost::system::error_code& error) {
        if (error) return;
        const auto received = events_->receive([&](const nlmsghdr& m) { on_event(m); });
        if (received == Netlink::Received::overrun) {
          log(LogLevel::warning, "netlink events were lost: reading Linux's tables anew");
          read_soon();
        }
        tell();
        if (descriptor_ != nullptr) listen();
      });
}

void Mirror::on_event(const nlmsghdr& message) {
  switch (message.nlmsg_type) {
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      on_neighbour(message);
      break;
    case RTM_NEWLINK:
    case RTM_DELLINK:
    case RTM_NEWADDR:
    case RTM_DELADDR:
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      read_soon();
      break;
    default:
      break;
  }
}

void Mirror::read_soon() {
  if (std::exchange(read_due_, true)) return;
  read_timer_.expires_after(kBurst);
  const auto read = [this](const boost::system::error_code& error) {
    if (error) return;
    read_due_ = false;
    const LinuxState before = state_;
    const auto own_before = own_routes_;
    if (const auto done = read_all(); !done) {
      log(LogLevel::warning, done.error().message);
      state_ = before;
      read_due_ = true;
      read_timer_.expires_after(kReadAgain);
      read_timer_.async_wait([this](const boost::system::error_code& e) {
        if (e) return;
        read_due_ = false;
        read_soon();
      });
      return;
    }
    if (state_ != before || own_routes_ != own_before) changed_();
  };
  read_timer_.async_wait(read);
}

void Mirror::tell() {
  if (read_due_) return;  // the reading will
  LinuxState now = assemble();
  if (now == state_) return;
  state_ = std::move(now);
  changed_();
}

Result<std::vector<KernelRoute>> Mirror::routes_of(int device) {
  std::vector<KernelRoute> all;
  for (const std::uint8_t family : {AF_INET, AF_INET6}) {
    std::vector<KernelRoute> found;
    auto read = requests_->dump(
        RTM_GETROUTE, family,
        [&](const nlmsghdr& message) {
          auto route = parse_route(message);
          if (route && route->device == device) found.push_back(*route);
        },
        [&] { found.clear(); });
    if (!read) return tl::unexpected(read.error());
    all.insert(all.end(), found.begin(), found.end());
  }
  return all;
}

Result<std::vector<KernelAddress>> Mirror::addresses_of(int device) {
  std::vector<KernelAddress> found;
  const auto read = requests_->dump(
      RTM_GETADDR, AF_UNSPEC,
      [&](const nlmsghdr& message) {
        const auto address = parse_address(message);
        if (address && address->device == device) found.push_back(*address);
      },
      [&] { found.clear(); });
  if (!read) return tl::unexpected(read.error());
  return found;
}

void Mirror::want(const std::vector<net::Address>& neighbours) {
  for (const net::Address& neighbour : neighbours) {
    if (!wanted_.contains(neighbour) && !neighbours_.contains(neighbour)) ask(neighbour);
  }
  wanted_ = {neighbours.begin(), neighbours.end()};
}

void Mirror::resolve(const net::Address& neighbour) {
  if (resolving_.size() < kMaxResolving) resolving_[neighbour] = probe_round_ + kResolveRounds;
  if (!neighbours_.contains(neighbour)) ask(neighbour);
}

// As if Linux itself had a packet for the neighbour (NTF_USE, linux/neighbour.h). Whether it
// answers shows in the events.
void Mirror::ask(const net::Address& neighbour) {
  if (host_tap_index_ == 0 || !requests_) return;
  Message message(RTM_NEWNEIGH, NLM_F_CREATE);
  auto& header = message.header<ndmsg>();
  header.ndm_family = neighbour.is_v4() ? AF_INET : AF_INET6;
  header.ndm_ifindex = host_tap_index_;
  header.ndm_state = NUD_NONE;
  header.ndm_flags = NTF_USE;
  message.put(NDA_DST, neighbour);
  if (const auto asked = requests_->request(message); !asked) {
    log(LogLevel::debug, "neighbour " + neighbour.to_string() + ": " + asked.error().message);
  }
}

void Mirror::probe() {
  probe_timer_.expires_after(kProbe);
  probe_timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    ++probe_round_;
    std::erase_if(resolving_, [&](const auto& item) { return item.second <= probe_round_; });
    const bool refresh = probe_round_ % kFreshRounds == 0;
    for (const net::Address& address : wanted_) {
      const auto known = neighbours_.find(address);
      if (known == neighbours_.end() || (refresh && known->second.stale)) ask(address);
    }
    // Those that a packet was held for are asked for again only once they were found: the worker
    // speaks up anew for one that never answered.
    for (const auto& [address, until] : resolving_) {
      const auto known = neighbours_.find(address);
      if (refresh && known != neighbours_.end() && known->second.stale) ask(address);
    }
    probe();
  });
}

}  // namespace podwire::control::routes
