// Linux's routes of the main table, by prefix, as its own messages change them: made for a million,
// about 100 bytes each, with what they say kept once for all that say the same. Filled by
// control/routes, read by control/build. Control thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "dataplane/net/address.h"

namespace podwire::control {

// One next hop of a route (struct rtnexthop of linux/rtnetlink.h).
struct LinuxPath {
  net::Address gateway;  // unspecified of its family (has_gateway false): on the link
  bool has_gateway = false;
  bool through_host_tap = false;  // device is the host tap: out of the uplink for us
  bool usable = true;             // neither RTNH_F_DEAD nor RTNH_F_LINKDOWN
  bool onlink = false;            // RTNH_F_ONLINK
  int device = 0;                 // ifindex
  std::uint32_t weight = 1;       // rtnh_hops + 1
  bool operator==(const LinuxPath&) const = default;
  auto operator<=>(const LinuxPath&) const = default;
};

// What a route says of its destination.
struct LinuxPaths {
  std::vector<LinuxPath> paths;  // IPv6's sorted; none of a blackhole
  bool blackhole = false;        // or unreachable, or prohibit
  std::uint32_t object = 0;      // RTA_NH_ID: a nexthop object says it; 0: the route itself
  bool operator==(const LinuxPaths&) const = default;
  [[nodiscard]] bool usable() const;
};

struct LinuxRoute {
  std::shared_ptr<const LinuxPaths> says;
  std::uint32_t metric = 0;
  std::uint8_t protocol = 0;  // rtm_protocol; podwired's own (kRouteProtocol) are not mirrored
  bool operator==(const LinuxRoute&) const = default;
};

class LinuxRoutes {
 public:
  // Prefixes past the limit are counted and left out.
  explicit LinuxRoutes(std::size_t limit = 1'200'000) : limit_(limit) {}

  // The route that Linux takes to exactly this prefix: of the lowest metric, with a path that can
  // be used. Null: none.
  [[nodiscard]] const LinuxRoute* find(const net::Prefix& prefix) const;
  // The one that it takes to the address.
  [[nodiscard]] const LinuxRoute* route_to(const net::Address& address) const;
  // f(const net::Prefix&, const LinuxRoute&) for the one of each prefix that is taken.
  template <typename F>
  void for_each(F&& f) const {
    for (const auto& [prefix, entry] : all_) {
      if (const LinuxRoute* taken = used(entry)) f(prefix, *taken);
    }
  }
  // f(const std::shared_ptr<const LinuxPaths>&): each that some route says.
  template <typename F>
  void for_each_saying(F&& f) const {
    for (const auto& item : sayings_) {
      if (const auto says = item.second.lock()) f(says);
    }
  }
  // All of one prefix, in Linux's order.
  [[nodiscard]] std::vector<LinuxRoute> all_of(const net::Prefix& prefix) const;
  [[nodiscard]] std::size_t prefixes() const { return all_.size(); }
  [[nodiscard]] std::size_t limit() const { return limit_; }
  // Prefixes left out since the last complete reading.
  [[nodiscard]] std::size_t refused() const { return refused_; }
  // There is room again for what was refused: a reading is due.
  [[nodiscard]] bool has_room_again() const {
    return refused_ != 0 && all_.size() < limit_ - limit_ / 64;
  }

  // Prefixes whose route has become another since the last call. Sorted, each once.
  std::vector<net::Prefix> take_changes();
  [[nodiscard]] bool changed() const { return !changes_.empty(); }

  // As in a message RTM_NEWROUTE with these flags: neither means NLM_F_CREATE alone.
  enum class Add : std::uint8_t { create, append, replace };
  void add(const net::Prefix& prefix, LinuxPaths says, std::uint32_t metric, std::uint8_t protocol,
           Add how);
  // RTM_DELROUTE.
  void remove(const net::Prefix& prefix, const LinuxPaths& says, std::uint32_t metric,
              std::uint8_t protocol);

  // A complete reading: begin, every route in the kernel's order, end. What was not read is gone.
  void begin_reading();
  void read(const net::Prefix& prefix, LinuxPaths says, std::uint32_t metric,
            std::uint8_t protocol);
  void end_reading();

 private:
  using Routes = std::vector<LinuxRoute>;
  struct Entry {
    LinuxRoute first;
    std::unique_ptr<Routes> more;  // most prefixes have one route
    std::uint32_t reading = 0;     // in which it was seen last
  };
  struct PrefixHash {
    std::size_t operator()(const net::Prefix& p) const noexcept {
      return net::AddressHash()(p.address) + p.length * 0x9e3779b97f4a7c15ULL;
    }
  };
  struct PathsHash {
    std::size_t operator()(const LinuxPaths& says) const noexcept;
  };

  [[nodiscard]] static const LinuxRoute* used(const Entry& entry);
  [[nodiscard]] static Routes routes_of(const Entry& entry);
  void store(const net::Prefix& prefix, Routes routes);
  void note(const net::Prefix& prefix) { changes_.push_back(prefix); }
  std::shared_ptr<const LinuxPaths> intern(LinuxPaths says);
  void settle_read();

  const std::size_t limit_;
  std::unordered_map<net::Prefix, Entry, PrefixHash> all_;
  // How many prefixes there are of each length: of IPv6, IPv4.
  std::array<std::array<std::uint32_t, 129>, 2> lengths_{};
  std::unordered_map<LinuxPaths, std::weak_ptr<const LinuxPaths>, PathsHash> sayings_;
  std::shared_ptr<const LinuxPaths> last_said_;
  std::size_t sweep_at_ = 64;
  std::vector<net::Prefix> changes_;
  std::size_t refused_ = 0;

  std::uint32_t reading_ = 0;
  net::Prefix read_prefix_;
  Routes read_;  // of read_prefix_, so far
};

}  // namespace podwire::control
