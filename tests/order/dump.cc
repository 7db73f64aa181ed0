#include "tests/order/dump.h"

#include <set>

namespace podwire::tests {
namespace {

using tables::NextHop;

std::string port_name(const tables::Snapshot& s, PortId id) {
  const auto* port = s.ports->find(id);
  return port == nullptr ? "-" : port->name;
}

std::string to_string(const tables::Snapshot& s, const NextHop& hop) {
  std::string text = "kind " + std::to_string(static_cast<int>(hop.kind)) + " " +
                     port_name(s, hop.port) + " mtu " + std::to_string(hop.mtu) + " " +
                     hop.source_mac.to_string() + " " + hop.destination_mac.to_string() + " via " +
                     hop.gateway.to_string() + " tunnel " +
                     std::to_string(hop.tunnel_source.host()) + " " +
                     std::to_string(hop.tunnel_destination.host());
  if (hop.pod_source_twin != tables::kNoNextHop) {
    text += " twin (" + to_string(s, s.routes->at(hop.pod_source_twin)) + ")";
  }
  return text;
}

std::string to_string(const tables::Service& service) {
  std::string text = service.name + " affinity " + std::to_string(service.affinity_seconds) +
                     (service.internal_local ? " internal-local" : "") +
                     (service.external_local ? " external-local" : "") +
                     (service.has_any_endpoint ? " any" : "");
  for (const auto* set : {&service.cluster, &service.local}) {
    text += " |";
    for (const tables::Backend& b : *set) {
      text +=
          " " + b.address.to_string() + ":" + std::to_string(b.port.host()) + (b.local ? "*" : "");
    }
  }
  return text;
}

void dump_services(const tables::ServiceTable& table, std::set<std::string>& lines) {
  table.frontends.for_each([&](const tables::FrontendKey& key, const tables::Frontend& f) {
    std::string line = "frontend " + key.address.to_string() + " " +
                       std::to_string(key.port.host()) + "/" + std::to_string(key.protocol) +
                       " kind " + std::to_string(static_cast<int>(f.kind)) + " ";
    for (const net::Prefix& range : f.source_ranges) line += range.to_string() + " ";
    lines.insert(line + to_string(*f.service));
  });
  table.cluster_ips.for_each(
      [&](const net::Address& ip, bool) { lines.insert("cluster ip " + ip.to_string()); });
  for (const auto& ip : table.node_port_addresses) lines.insert("node ports " + ip.to_string());
}

void dump_routes(const tables::Snapshot& s, std::set<std::string>& lines) {
  const tables::RouteTable& table = *s.routes;
  table.prefixes.for_each([&](const net::Prefix& prefix, tables::NextHopId id) {
    lines.insert("route " + prefix.to_string() + " " + to_string(s, table.at(id)));
  });
  table.pools.for_each([&](const tables::PoolTable::Pool& pool) {
    lines.insert("pool " + pool.cidr.to_string() + (pool.nat_outgoing ? " nat" : ""));
  });
  for (const net::be32 peer : table.tunnel_peers) {
    lines.insert("peer " + net::Address::from_v4(peer).to_string());
  }
  lines.insert("masquerade " + table.masquerade_v4.to_string() + " " +
               table.masquerade_v6.to_string());
}

void dump_policies(const tables::PolicyTable& table, const Probes& probes,
                   std::set<std::string>& lines) {
  for (const net::Address& from : probes.addresses) {
    for (const net::Address& to : probes.addresses) {
      if (from.family() != to.family()) continue;
      std::string line = "policy " + from.to_string() + " to " + to.to_string();
      for (const auto& [protocol, port] : probes.places) {
        const auto answer = table.judge({from, to, net::be16(port), protocol, false});
        line += answer.allowed ? " yes"
                               : std::string(answer.egress_denied ? " out" : "") +
                                     (answer.ingress_denied ? " in" : "") + ":" +
                                     table.policy_name(answer.policy);
      }
      lines.insert(line);
    }
  }
}

}  // namespace

std::string dump(const tables::Snapshot& snapshot, const Probes& probes) {
  std::set<std::string> lines;
  for (const tables::PortInfo& port : snapshot.ports->ports) {
    if (port.role == tables::PortRole::none) continue;
    lines.insert("port " + port.name + " " + port.mac.to_string() + " " + std::to_string(port.mtu) +
                 " " + (port.has_v4 ? port.v4.to_string() : "-") + " " +
                 (port.has_v6 ? port.v6.to_string() : "-"));
  }
  for (const auto& ip : snapshot.node_addresses) lines.insert("own " + ip.to_string());
  dump_services(*snapshot.services, lines);
  dump_routes(snapshot, lines);
  dump_policies(*snapshot.policies, probes, lines);
  std::string all;
  for (const std::string& line : lines) all += line + "\n";
  return all;
}

}  // namespace podwire::tests
