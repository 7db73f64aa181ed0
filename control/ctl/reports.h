// What podwirectl asks for, as JSON: a function of the state for each command. Keys are stable;
// new ones may come. Control thread only.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "control/serve/totals.h"
#include "control/state.h"
#include "dataplane/result.h"

namespace podwire::control::ctl {

struct Sources {
  State& state;
  const Sampler& sampler;
  const std::vector<std::string>& attachment_problems;
  const std::vector<std::string>& health_check_problems;
};

struct FlowFilter {
  std::string pod;       // "namespace/name"
  std::string service;   // "namespace/name", or with ":port-name"
  std::string protocol;  // "tcp", "udp", "sctp", "icmp", "icmpv6" or a number
  std::size_t limit = 100;
};

nlohmann::json status(const Sources& sources);
nlohmann::json pods(const Sources& sources);
nlohmann::json services(const Sources& sources);
nlohmann::json policies(const Sources& sources);
// Of the prefixes in `to` and around it ("10.1.0.0/16", an address; empty: all) the first
// kMostRoutes.
Result<nlohmann::json> routes(const Sources& sources, const std::string& to);
nlohmann::json bgp(const Sources& sources);
Result<nlohmann::json> flows(const Sources& sources, const FlowFilter& filter);
nlohmann::json drops(const Sources& sources);
nlohmann::json counters(const Sources& sources);
nlohmann::json top(const Sources& sources);

// "tcp" for 6; the number where it has no name here.
std::string protocol_name(std::uint8_t protocol);

}  // namespace podwire::control::ctl
