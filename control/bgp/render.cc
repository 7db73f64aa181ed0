#include "control/bgp/render.h"

#include <algorithm>

#include "control/linux_state.h"

namespace podwire::control::bgp {
namespace {

using kube::BgpPeer;
using Log = kube::BgpConfiguration::Log;

std::string suffix(net::Family family) {
  return family == net::Family::v4 ? "_v4" : "_v6";
}
std::string channel(net::Family family) {
  return family == net::Family::v4 ? "ipv4" : "ipv6";
}

std::string general(const Intent& intent) {
  static constexpr const char* kLevels[] = {
      "all", "{ info, remote, warning, error, auth, fatal, bug }",
      "{ warning, error, auth, fatal, bug }", "{ error, auth, fatal, bug }", "{ fatal, bug }"};
  std::string text = std::string("log stderr ") + kLevels[static_cast<std::size_t>(intent.log)] +
                     ";\n" + "router id " + intent.router_id.to_string() + ";\n" +
                     "graceful restart wait 30;\n";
  if (intent.log == Log::debug) text += "debug protocols all;\n";
  if (intent.log == Log::info) text += "debug protocols { states };\n";
  return text;
}

template <typename Prefixes>
std::string set_of(const Prefixes& prefixes, net::Family family) {
  std::string text;
  for (const net::Prefix& prefix : prefixes) {
    if (prefix.family() != family) continue;
    text += (text.empty() ? "" : ", ") + prefix.to_string() + "+";
  }
  return text;
}

// "if net ~ [ ... ] then WHAT;", or nothing when there is no such prefix.
template <typename Prefixes>
std::string when_in(const Prefixes& prefixes, net::Family family, const std::string& what) {
  const std::string set = set_of(prefixes, family);
  return set.empty() ? "" : "  if net ~ [ " + set + " ] then " + what + ";\n";
}

// What peers are told, in Calico's order.
std::string export_function(const Intent& intent, net::Family family) {
  std::string text = "function podwire_export" + suffix(family) + "() {\n";
  text += when_in(intent.unexported_pools, family, "reject");
  for (const auto& [prefix, communities] : intent.communities) {
    if (prefix.family() != family) continue;
    text += "  if net ~ " + prefix.to_string() + " then {";
    for (const kube::Community& community : communities) {
      text += std::string(community.parts.size() == 3 ? " bgp_large_community" : " bgp_community") +
              ".add(" + render_community(community) + ");";
    }
    text += " }\n";
  }
  // A range of this node goes out whole, never in pieces.
  for (const net::Prefix& own : intent.own) {
    if (own.family() != family) continue;
    text += "  if net = " + own.to_string() + " then accept;\n";
    text += "  if net ~ " + own.to_string() + " then reject;\n";
  }
  text += "  if source = RTS_STATIC && proto = \"podwire_services" + suffix(family) +
          "\" then accept;\n";
  text += when_in(intent.reflected, family, "accept");
  text += when_in(intent.pools, family, "accept");
  return text + "  reject;\n}\n";
}

// What becomes a route of Linux, and so of podwire: what peers have taught, but for Services',
// which podwire itself serves. Own ranges stay out: podwire drops what nobody has there, and Linux
// is to hand it everything.
std::string kernel_protocol(const Intent& intent, net::Family family) {
  std::string text = "filter podwire_to_linux" + suffix(family) + " {\n";
  text += when_in(intent.unlearned, family, "reject");
  if (intent.tunnel_source && family == net::Family::v4) {
    text += when_in(intent.encapsulating_pools, family,
                    "krt_prefsrc = " + intent.tunnel_source->to_string());
  }
  text += "  if source = RTS_BGP then accept;\n";
  text += "  if proto = \"podwire_reach" + suffix(family) + "\" then accept;\n";
  text += "  reject;\n}\n";
  return text + "protocol kernel podwire_kernel" + suffix(family) + " {\n" +
         "  learn;\n  persist;\n  scan time 10;\n  merge paths on;\n  graceful restart on;\n  " +
         channel(family) + " {\n    import where krt_source != " + std::to_string(kRouteProtocol) +
         ";\n    export filter podwire_to_linux" + suffix(family) + ";\n  };\n}\n";
}

std::string static_protocol(const char* name, net::Family family,
                            const std::vector<std::string>& routes) {
  std::string text = "protocol static podwire_" + std::string(name) + suffix(family) + " {\n  " +
                     channel(family) + ";\n";
  for (const std::string& route : routes) text += "  route " + route + ";\n";
  return text + "}\n";
}

std::string static_protocols(const Intent& intent, net::Family family) {
  const auto blackholes = [&](const auto& prefixes) {
    std::vector<std::string> routes;
    for (const net::Prefix& prefix : prefixes) {
      if (prefix.family() == family) routes.push_back(prefix.to_string() + " blackhole");
    }
    return routes;
  };
  std::vector<std::string> reach;
  for (const Peer& peer : intent.peers) {
    if (!peer.reachable_by || peer.address.family() != family) continue;
    reach.push_back(net::Prefix::host(peer.address).to_string() + " via " +
                    peer.reachable_by->to_string());
  }
  std::ranges::sort(reach);
  reach.erase(std::unique(reach.begin(), reach.end()), reach.end());
  return static_protocol("own", family, blackholes(intent.own)) +
         static_protocol("services", family, blackholes(intent.service_routes)) +
         static_protocol("reach", family, reach);
}

std::string interfaces(const Intent& intent) {
  std::string text;
  for (const std::string& pattern : intent.ignored_interfaces) text += "-\"" + pattern + "\", ";
  return text + "\"*\"";
}

std::string bfd_protocol(const Intent& intent) {
  if (std::ranges::none_of(intent.peers, &Peer::bfd)) return "";
  const std::string interval = std::to_string(intent.bfd_interval_ms) + " ms";
  return "protocol bfd podwire_bfd {\n  interface \"*\" {\n    min rx interval " + interval +
         ";\n    min tx interval " + interval + ";\n    idle tx interval 1 s;\n    multiplier " +
         std::to_string(intent.bfd_multiplier) + ";\n  };\n}\n";
}

std::string filter_calls(const Peer& peer, bool import, net::Family family) {
  std::string text;
  for (const std::string& name : peer.filters) {
    text += "      " + filter_function(name, import, family) +
            (peer.external() ? "(true);\n" : "(false);\n");
  }
  return text;
}

std::string channel_of(const Peer& peer) {
  const net::Family family = peer.address.family();
  std::string text = "  " + channel(family) + " {\n    gateway recursive;\n    add paths on;\n";
  if (peer.next_hop == BgpPeer::NextHop::self) text += "    next hop self;\n";
  if (peer.next_hop == BgpPeer::NextHop::keep) text += "    next hop keep;\n";
  // Of a neighbour's two addresses the one that its Node object has, not its link-local one.
  if (peer.direct && family == net::Family::v6) text += "    next hop prefer global;\n";
  if (peer.closed) return text + "    import none;\n    export none;\n  };\n";
  text += "    import filter {\n" + filter_calls(peer, true, family) + "      accept;\n    };\n";
  text += "    export filter {\n" + filter_calls(peer, false, family) + "      podwire_export" +
          suffix(family) + "();\n      reject;\n    };\n";
  return text + "  };\n";
}

std::string distance(const Peer& peer) {
  if (peer.ttl_security_hops) {
    const int hops = *peer.ttl_security_hops;
    return "  ttl security on;\n" + (peer.direct ? std::string("  direct;\n")
                                                 : "  multihop " + std::to_string(hops) + ";\n");
  }
  return peer.direct ? "  direct;\n" : "  multihop;\n";
}

std::string ends(const Intent& intent, const Peer& peer) {
  std::string text = "  local";
  if (peer.source) text += " " + peer.source->to_string();
  if (intent.listen_port != kBgpPort) text += " port " + std::to_string(intent.listen_port);
  text +=
      " as " + std::to_string(peer.local_as_number) + ";\n  neighbor " + peer.address.to_string();
  if (peer.port != kBgpPort) text += " port " + std::to_string(peer.port);
  text += " as " + std::to_string(peer.as_number) + ";\n";
  if (intent.bind_address && peer.source) text += "  strict bind on;\n";
  return text;
}

std::string bgp_protocol(const Intent& intent, const Peer& peer) {
  std::string text = "protocol bgp " + peer.name + " {\n  description \"" + peer.object +
                     (peer.node.empty() ? "" : ", node " + peer.node) + "\";\n";
  text += ends(intent, peer) + distance(peer);
  if (peer.passive) text += "  passive on;\n";
  if (peer.password) text += "  password \"" + *peer.password + "\";\n";
  text += "  connect delay time 1;\n  connect retry time 5;\n  error wait time 5, 30;\n";
  if (peer.keepalive_seconds) {
    text += "  keepalive time " + std::to_string(*peer.keepalive_seconds) + ";\n";
  }
  text += "  graceful restart on;\n";
  if (peer.restart_seconds) {
    text += "  graceful restart time " + std::to_string(*peer.restart_seconds) + ";\n";
  }
  if (peer.allowed_local_as != 0) {
    text += "  allow local as " + std::to_string(peer.allowed_local_as) + ";\n";
  }
  if (peer.reflector_client) {
    text += "  rr client;\n  rr cluster id " + intent.reflector->to_string() + ";\n";
  }
  if (peer.bfd) text += "  bfd on;\n";
  return text + channel_of(peer) + "}\n";
}

}  // namespace

std::string render(const Intent& intent) {
  std::string text = general(intent) + render_filters(intent);
  for (const net::Family family : net::kFamilies) {
    text += export_function(intent, family) + kernel_protocol(intent, family) +
            static_protocols(intent, family);
  }
  text += "protocol device podwire_device {\n  scan time 10;\n}\n";
  text += "protocol direct podwire_direct {\n  ipv4;\n  ipv6;\n  interface " + interfaces(intent) +
          ";\n}\n";
  text += bfd_protocol(intent);
  for (const Peer& peer : intent.peers) text += bgp_protocol(intent, peer);
  return text;
}

}  // namespace podwire::control::bgp
