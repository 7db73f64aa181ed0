// What is known of this node's bird: for podwirectl, metrics, and status. Control thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "dataplane/net/address.h"

namespace podwire::control::bgp {

// A peer as BIRD's `show protocols all` has it, joined with what wants it.
struct PeerState {
  std::string name;    // of the protocol
  std::string object;  // "BGPPeer tor", "node mesh"
  std::string node;    // empty: none of the cluster's
  net::Address address;
  std::uint32_t as_number = 0;
  std::string state;       // BIRD's: "Established", "Active", ...; empty: bird does not have it
  std::string last_error;  // "Received: Bad peer AS"; empty: none
  std::optional<std::chrono::steady_clock::time_point> down_since;
  std::uint64_t imported = 0, exported = 0, preferred = 0, filtered = 0;  // routes
  bool has_password = false;

  [[nodiscard]] bool established() const { return state == "Established"; }
};

struct BgpState {
  bool enabled = false;
  bool connected = false;  // bird answers
  std::string version;     // "2.0.12"; empty: never connected
  net::Address router_id;
  std::uint32_t as_number = 0;
  std::vector<net::Prefix> own;          // announced: State::own_prefixes
  std::set<net::Prefix> service_routes;  // announced for Services
  std::vector<PeerState> peers;
  std::uint64_t reloads = 0, refusals = 0;  // configurations that bird took; that it refused
  std::vector<std::string> problems;        // one sentence each, for status
};

}  // namespace podwire::control::bgp
