#include "control/linux_routes.h"

#include <linux/rtnetlink.h>

#include <algorithm>

namespace podwire::control {
namespace {

using Routes = std::vector<LinuxRoute>;

// The same next hops, whatever their state: what is removed may have become unusable meanwhile.
bool same_hop(const LinuxPath& a, const LinuxPath& b) {
  return a.gateway == b.gateway && a.device == b.device && a.has_gateway == b.has_gateway;
}
bool same_hops(const LinuxPaths& a, const LinuxPaths& b) {
  return a.blackhole == b.blackhole && a.object == b.object &&
         std::equal(a.paths.begin(), a.paths.end(), b.paths.begin(), b.paths.end(), same_hop);
}

// IPv6 routes of one metric that are next hops of one another (rt6_qualify_for_ecmp of
// include/net/ip6_route.h): a message about one carries all of them.
bool joins(const LinuxPaths& says, std::uint8_t protocol) {
  return !says.blackhole && says.object == 0 && protocol != RTPROT_RA && !says.paths.empty() &&
         says.paths.front().has_gateway;
}
bool joins(const LinuxRoute& route) {
  return joins(*route.says, route.protocol);
}

Routes::iterator first_of(Routes& routes, std::uint32_t metric) {
  return std::find_if(routes.begin(), routes.end(),
                      [&](const LinuxRoute& r) { return r.metric >= metric; });
}
Routes::iterator behind(Routes& routes, std::uint32_t metric) {
  return std::find_if(routes.begin(), routes.end(),
                      [&](const LinuxRoute& r) { return r.metric > metric; });
}

// net/ipv4/fib_trie.c, fib_table_insert: a replacement takes the place of the first of its metric.
void put_v4(Routes& routes, LinuxRoute route, LinuxRoutes::Add how) {
  const auto first = first_of(routes, route.metric);
  const bool any = first != routes.end() && first->metric == route.metric;
  if (how == LinuxRoutes::Add::replace && any) {
    *first = std::move(route);
    return;
  }
  const bool append = how == LinuxRoutes::Add::append;
  routes.insert(append ? behind(routes, route.metric) : first, std::move(route));
}

// net/ipv6/ip6_fib.c, fib6_add_rt2node.
void put_v6(Routes& routes, LinuxRoute route, LinuxRoutes::Add how) {
  const auto begin = first_of(routes, route.metric), end = behind(routes, route.metric);
  const auto alike =
      std::find_if(begin, end, [&](const LinuxRoute& r) { return joins(r) == joins(route); });
  const bool replaces = how == LinuxRoutes::Add::replace && begin != end;
  if (alike != end && (replaces || joins(route))) {
    *alike = std::move(route);
  } else if (replaces) {
    *begin = std::move(route);
  } else {
    routes.insert(end, std::move(route));
  }
}

}  // namespace

bool LinuxPaths::usable() const {
  return blackhole ||
         std::any_of(paths.begin(), paths.end(), [](const LinuxPath& p) { return p.usable; });
}

std::size_t LinuxRoutes::PathsHash::operator()(const LinuxPaths& says) const noexcept {
  std::size_t hash = says.object + (says.blackhole ? 1U : 0U);
  for (const LinuxPath& path : says.paths) {
    hash = hash * 31 + net::AddressHash()(path.gateway) + static_cast<unsigned>(path.device) +
           path.weight;
  }
  return hash;
}

const LinuxRoute* LinuxRoutes::used(const Entry& entry) {
  if (entry.first.says->usable()) return &entry.first;
  if (entry.more == nullptr) return nullptr;
  for (const LinuxRoute& route : *entry.more) {
    if (route.says->usable()) return &route;
  }
  return nullptr;
}

LinuxRoutes::Routes LinuxRoutes::routes_of(const Entry& entry) {
  Routes all{entry.first};
  if (entry.more != nullptr) all.insert(all.end(), entry.more->begin(), entry.more->end());
  return all;
}

const LinuxRoute* LinuxRoutes::find(const net::Prefix& prefix) const {
  const auto found = all_.find(prefix);
  return found == all_.end() ? nullptr : used(found->second);
}

const LinuxRoute* LinuxRoutes::route_to(const net::Address& address) const {
  const auto& lengths = lengths_[address.is_v4()];
  for (int length = address.is_v4() ? 32 : 128; length >= 0; --length) {
    if (lengths[static_cast<std::size_t>(length)] == 0) continue;
    const auto prefix = net::Prefix::around(address, static_cast<std::uint8_t>(length));
    if (const LinuxRoute* route = find(prefix)) return route;
  }
  return nullptr;
}

std::vector<LinuxRoute> LinuxRoutes::all_of(const net::Prefix& prefix) const {
  const auto found = all_.find(prefix);
  return found == all_.end() ? Routes() : routes_of(found->second);
}

std::vector<net::Prefix> LinuxRoutes::take_changes() {
  std::sort(changes_.begin(), changes_.end());
  changes_.erase(std::unique(changes_.begin(), changes_.end()), changes_.end());
  return std::exchange(changes_, {});
}

std::shared_ptr<const LinuxPaths> LinuxRoutes::intern(LinuxPaths says) {
  if (last_said_ != nullptr && *last_said_ == says) return last_said_;
  if (sayings_.size() >= sweep_at_) {
    std::erase_if(sayings_, [](const auto& item) { return item.second.expired(); });
    sweep_at_ = sayings_.size() * 2 + 64;
  }
  auto& kept = sayings_[says];
  last_said_ = kept.lock();
  if (last_said_ == nullptr)
    kept = last_said_ = std::make_shared<const LinuxPaths>(std::move(says));
  return last_said_;
}

// The prefix has these now, in order; none: it is gone.
void LinuxRoutes::store(const net::Prefix& prefix, Routes routes) {
  auto found = all_.find(prefix);
  auto& of_length = lengths_[prefix.address.is_v4()][prefix.length];
  if (routes.empty()) {
    if (found == all_.end()) return;
    if (used(found->second) != nullptr) note(prefix);
    all_.erase(found);
    --of_length;
    return;
  }
  if (found == all_.end()) {
    if (all_.size() >= limit_) {
      ++refused_;
      return;
    }
    found = all_.try_emplace(prefix).first;
    found->second.first.says = intern({});
    ++of_length;
  }
  Entry& entry = found->second;
  const LinuxRoute* taken = used(entry);
  const LinuxRoute before = taken == nullptr ? LinuxRoute() : *taken;
  entry.first = std::move(routes.front());
  entry.reading = reading_;
  if (routes.size() > 1) {
    routes.erase(routes.begin());
    entry.more = std::make_unique<Routes>(std::move(routes));
  } else {
    entry.more.reset();
  }
  taken = used(entry);
  if ((taken == nullptr ? LinuxRoute() : *taken) != before) note(prefix);
}

void LinuxRoutes::add(const net::Prefix& prefix, LinuxPaths says, std::uint32_t metric,
                      std::uint8_t protocol, Add how) {
  LinuxRoute route{intern(std::move(says)), metric, protocol};
  Routes routes = all_of(prefix);
  const auto same = std::find(routes.begin(), routes.end(), route);
  // A reading may have shown it before its message came in.
  if (same != routes.end()) {
    if (how != Add::replace || same == first_of(routes, metric)) return;
    routes.erase(same);
  }
  if (prefix.address.is_v4()) {
    put_v4(routes, std::move(route), how);
  } else {
    put_v6(routes, std::move(route), how);
  }
  store(prefix, std::move(routes));
}

void LinuxRoutes::remove(const net::Prefix& prefix, const LinuxPaths& says, std::uint32_t metric,
                         std::uint8_t protocol) {
  Routes routes = all_of(prefix);
  if (!prefix.address.is_v4() && joins(says, protocol)) {
    for (auto route = routes.begin(); route != routes.end(); ++route) {
      if (route->metric != metric || !joins(*route)) continue;
      LinuxPaths left = *route->says;
      std::erase_if(left.paths, [&](const LinuxPath& path) {
        return std::any_of(says.paths.begin(), says.paths.end(),
                           [&](const LinuxPath& gone) { return same_hop(path, gone); });
      });
      if (left.paths.empty()) {
        routes.erase(route);
      } else {
        route->says = intern(std::move(left));
      }
      break;
    }
  } else {
    const auto gone = std::find_if(routes.begin(), routes.end(), [&](const LinuxRoute& r) {
      return r.metric == metric && r.protocol == protocol && same_hops(*r.says, says);
    });
    if (gone != routes.end()) routes.erase(gone);
  }
  store(prefix, std::move(routes));
}

void LinuxRoutes::begin_reading() {
  ++reading_;
  refused_ = 0;
  read_.clear();
}

void LinuxRoutes::settle_read() {
  if (!read_.empty()) store(read_prefix_, std::exchange(read_, {}));
}

void LinuxRoutes::read(const net::Prefix& prefix, LinuxPaths says, std::uint32_t metric,
                       std::uint8_t protocol) {
  if (prefix != read_prefix_) settle_read();
  read_prefix_ = prefix;
  read_.push_back({intern(std::move(says)), metric, protocol});
}

void LinuxRoutes::end_reading() {
  settle_read();
  for (auto it = all_.begin(); it != all_.end();) {
    if (it->second.reading == reading_) {
      ++it;
      continue;
    }
    if (used(it->second) != nullptr) note(it->first);
    --lengths_[it->first.address.is_v4()][it->first.length];
    it = all_.erase(it);
  }
}

}  // namespace podwire::control
