#include "control/routes/mirror.h"

#include <linux/if.h>
#include <linux/neighbour.h>
#include <net/if_arp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
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

bool works(const ifinfomsg& link) {
  constexpr unsigned kWorks = IFF_UP | IFF_RUNNING;  // up, with a carrier
  return (link.ifi_flags & kWorks) == kWorks;
}
bool is_over(const KernelRoute& route, int device) {
  return std::any_of(route.says.paths.begin(), route.says.paths.end(),
                     [&](const LinuxPath& path) { return path.device == device; });
}
bool is_on_host_tap(const KernelRoute& route) {
  return !route.says.paths.empty() && route.says.paths.front().through_host_tap;
}
std::optional<net::Address> source_of(const KernelRoute& route) {
  if (!route.has_preferred_source) return std::nullopt;
  return route.preferred_source;
}

std::optional<KernelAddress> parse_address(const nlmsghdr& message) {
  const auto& header = *static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(&message));
  const Attributes attributes(message, sizeof(ifaddrmsg));
  // On a point-to-point link IFA_ADDRESS is the peer's.
  auto address = attributes.address(IFA_LOCAL);
  if (!address) address = attributes.address(IFA_ADDRESS);
  if (!address) return std::nullopt;
  const bool of_link = address->is_v4() && header.ifa_scope == RT_SCOPE_LINK;
  return KernelAddress{{*address, header.ifa_prefixlen, of_link},
                       static_cast<int>(header.ifa_index),
                       header.ifa_scope,
                       attributes.u32(IFA_FLAGS).value_or(header.ifa_flags)};
}

}  // namespace

Mirror::Mirror(boost::asio::io_context& io, HostTap host_tap, std::size_t route_limit,
               std::function<void()> changed)
    : io_(io),
      host_tap_(std::move(host_tap)),
      changed_(std::move(changed)),
      read_timer_(io),
      probe_timer_(io),
      routes_(std::make_shared<LinuxRoutes>(route_limit)) {
  state_.routes = routes_;
}

Mirror::~Mirror() {
  stop();
}

Result<void> Mirror::start() {
  auto events =
      Netlink::open({RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
                     RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_NEXTHOP});
  if (!events) return tl::unexpected(events.error());
  auto requests = Netlink::open();
  if (!requests) return tl::unexpected(requests.error());
  events_ = std::move(*events);
  requests_ = std::move(*requests);
  if (auto done = read(kAll); !done) return done;
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

// Linux takes any MTU for a tap; routes have what the uplink carries, so that the sender of a
// larger packet hears of it.
void Mirror::take_mtu(std::uint32_t says) {
  const auto mtu = static_cast<std::uint16_t>(
      std::min<std::uint32_t>(says, std::min<std::uint32_t>(host_tap_.largest_mtu, 0xffff)));
  if (mtu < says && std::exchange(mtu_said_, says) != says) {
    log(LogLevel::warning, "device " + host_tap_.name + " has an MTU of " + std::to_string(says) +
                               ", but the uplink carries " + std::to_string(mtu) +
                               ": larger packets are dropped as too_big");
  }
  host_tap_mtu_ = mtu;
}

Result<void> Mirror::read_links() {
  Devices devices;
  const auto read = requests_->dump(
      RTM_GETLINK, AF_UNSPEC,
      [&](const nlmsghdr& message) {
        const auto& header = *static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(&message));
        working_[header.ifi_index] = works(header);
        if ((header.ifi_flags & IFF_LOOPBACK) != 0) devices.loopbacks.insert(header.ifi_index);
        const Attributes attributes(message, sizeof(ifinfomsg));
        const nlattr* name = attributes.find(IFLA_IFNAME);
        if (name == nullptr || host_tap_.name != mnl_attr_get_str(name)) return;
        devices.host_tap = header.ifi_index;
        take_mtu(attributes.u32(IFLA_MTU).value_or(1500));
      },
      [&] {
        working_.clear();
        devices = {};
      });
  if (!read) return read;
  host_tap_index_ = devices.host_tap;
  if (devices != devices_) due_ |= kRoutes;
  devices_ = std::move(devices);
  return {};
}

Result<void> Mirror::read_addresses() {
  return requests_->dump(
      RTM_GETADDR, AF_UNSPEC,
      [&](const nlmsghdr& message) {
        if (const auto address = parse_address(message)) addresses_.push_back(*address);
      },
      [&] { addresses_.clear(); });
}

// What is read twice, or comes again as an event, does no harm: see LinuxRoutes.
Result<void> Mirror::read_routes() {
  const auto objects = requests_->dump(
      RTM_GETNEXTHOP, AF_UNSPEC, [&](const nlmsghdr& message) { objects_.apply(message); },
      [&] { objects_.clear(); });
  if (!objects) log(LogLevel::debug, "nexthop objects: " + objects.error().message);
  std::map<net::Prefix, std::optional<net::Address>> own;
  routes_->begin_reading();
  for (const std::uint8_t family : {AF_INET, AF_INET6}) {
    const auto read = requests_->dump(
        RTM_GETROUTE, family,
        [&](const nlmsghdr& message) {
          const auto route = parse_route(message, objects_, devices_);
          if (!route) return;
          if (route->protocol != kRouteProtocol) {
            routes_->read(route->destination, route->says, route->metric, route->protocol);
          } else if (is_on_host_tap(*route)) {
            own[route->destination] = source_of(*route);
          }
        },
        [] {});
    if (!read) return read;
  }
  routes_->end_reading();
  if (own != own_routes_) own_changed_ = true;
  own_routes_ = std::move(own);
  return {};
}

Result<void> Mirror::read_neighbours() {
  return requests_->dump(
      RTM_GETNEIGH, AF_UNSPEC, [&](const nlmsghdr& message) { on_neighbour(message); },
      [&] { neighbours_.clear(); });
}

// Links first: what else there is to read may show there.
Result<void> Mirror::read(unsigned parts) {
  due_ |= parts;
  const std::array<std::pair<Part, Result<void> (Mirror::*)()>, 4> all{
      {{kLinks, &Mirror::read_links},
       {kAddresses, &Mirror::read_addresses},
       {kRoutes, &Mirror::read_routes},
       {kNeighbours, &Mirror::read_neighbours}}};
  for (const auto& item : all) {
    if ((due_ & item.first) == 0) continue;
    if (auto done = (this->*item.second)(); !done) return done;
    due_ &= ~item.first;
  }
  return {};
}

Result<void> Mirror::read_now() {
  auto done = read(kAll);
  if (done) state_ = assemble();
  return done;
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
          read_soon(kAll);
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
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      on_route(message);
      break;
    case RTM_NEWNEXTHOP:
    case RTM_DELNEXTHOP:
      if (objects_.apply(message)) read_soon(kRoutes);
      break;
    case RTM_NEWLINK:
    case RTM_DELLINK:
      on_link(message);
      break;
    case RTM_NEWADDR:
      read_soon(kAddresses);
      break;
    case RTM_DELADDR:  // IPv4: with the routes that prefer it as their source
      read_soon(kAddresses | kRoutes);
      break;
    default:
      break;
  }
}

// When a device stops working or goes, Linux drops routes of IPv4 over it without a message.
void Mirror::on_link(const nlmsghdr& message) {
  read_soon(kLinks);
  const auto& header = *static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(&message));
  const bool now = message.nlmsg_type == RTM_NEWLINK && works(header);
  if (std::exchange(working_[header.ifi_index], now) == now) return;
  routes_->for_each_saying([&](const std::shared_ptr<const LinuxPaths>& says) {
    for (const LinuxPath& path : says->paths) {
      if (path.device == header.ifi_index) due_ |= kRoutes;
    }
  });
}

void Mirror::on_route(const nlmsghdr& message) {
  const bool comes = message.nlmsg_type == RTM_NEWROUTE;
  const bool replaces = comes && (message.nlmsg_flags & NLM_F_REPLACE) != 0;
  const auto route = parse_route(message, objects_, devices_);
  if (!route || route->protocol == kRouteProtocol) {
    // In place of one of another kind, perhaps.
    if (replaces && is_of_main_table(message)) read_soon(kRoutes);
    if (!route || !is_on_host_tap(*route)) return;
    own_changed_ = true;
    if (comes) {
      own_routes_[route->destination] = source_of(*route);
    } else {
      own_routes_.erase(route->destination);
    }
    return;
  }
  if (!comes) {
    routes_->remove(route->destination, route->says, route->metric, route->protocol);
    if (routes_->has_room_again()) read_soon(kRoutes);
    return;
  }
  using Add = LinuxRoutes::Add;
  const bool appends = (message.nlmsg_flags & NLM_F_APPEND) != 0;
  routes_->add(route->destination, route->says, route->metric, route->protocol,
               replaces  ? Add::replace
               : appends ? Add::append
                         : Add::create);
}

void Mirror::read_soon(unsigned parts) {
  due_ |= parts;
  if (std::exchange(read_waits_, true)) return;
  read_timer_.expires_after(kBurst);
  read_timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) read_due();
  });
}

void Mirror::read_due() {
  read_waits_ = false;
  if (const auto done = read(0); !done) {
    log(LogLevel::warning, done.error().message);
    read_waits_ = true;
    read_timer_.expires_after(kReadAgain);
    read_timer_.async_wait([this](const boost::system::error_code& error) {
      if (!error) read_due();
    });
  }
  tell();
}

void Mirror::tell() {
  LinuxState now = assemble();
  if (now != state_) own_changed_ = true;
  state_ = std::move(now);
  if (own_changed_ || routes_->changed()) changed_();
}

Result<std::vector<KernelRoute>> Mirror::routes_of(int device) {
  std::vector<KernelRoute> all;
  for (const std::uint8_t family : {AF_INET, AF_INET6}) {
    std::vector<KernelRoute> found;
    auto read = requests_->dump(
        RTM_GETROUTE, family,
        [&](const nlmsghdr& message) {
          const auto route = parse_route(message, objects_, {});
          if (route && is_over(*route, device)) found.push_back(*route);
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
