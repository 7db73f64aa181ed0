// What `podwirectl bgp` asks for.
#include <algorithm>

#include "control/ctl/reports.h"

namespace podwire::control::ctl {
namespace {

using nlohmann::json;

json peer_json(const bgp::PeerState& peer) {
  json shown{{"name", peer.name},
             {"object", peer.object},
             {"node", nullptr},
             {"address", peer.address.to_string()},
             {"asNumber", peer.as_number},
             {"state", peer.state},
             {"established", peer.established()},
             {"downSeconds", nullptr},
             {"lastError", nullptr},
             {"imported", peer.imported},
             {"exported", peer.exported},
             {"preferred", peer.preferred},
             {"filtered", peer.filtered}};
  if (!peer.node.empty()) shown["node"] = peer.node;
  if (!peer.last_error.empty()) shown["lastError"] = peer.last_error;
  if (peer.down_since) {
    const auto passed = std::chrono::steady_clock::now() - *peer.down_since;
    shown["downSeconds"] = std::chrono::duration_cast<std::chrono::seconds>(passed).count();
  }
  return shown;
}

}  // namespace

json bgp(const Sources& sources) {
  const bgp::BgpState& state = sources.state.bgp;
  json shown{{"enabled", state.enabled},
             {"connected", state.connected},
             {"bird", state.version},
             {"routerId", state.router_id.is_unspecified() ? "" : state.router_id.to_string()},
             {"asNumber", state.as_number},
             {"own", json::array()},
             {"services", json::array()},
             {"peers", json::array()},
             {"reloads", state.reloads},
             {"refusals", state.refusals},
             {"problems", state.problems}};
  for (const auto& prefix : state.own) shown["own"].push_back(prefix.to_string());
  for (const auto& prefix : state.service_routes) shown["services"].push_back(prefix.to_string());
  for (const auto& peer : state.peers) shown["peers"].push_back(peer_json(peer));
  return shown;
}

}  // namespace podwire::control::ctl
