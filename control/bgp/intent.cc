#include "control/bgp/intent.h"

#include <algorithm>

#include "control/build/this_node.h"

namespace podwire::control::bgp {
namespace {

using build::Problem;
using kube::BgpConfiguration;

// Any IPv4 address does as long as no other has it; Calico makes it of the name, too, where a node
// has none (FNV-1a, 32 bits).
net::Address router_id_of(const std::string& name) {
  std::uint32_t hash = 2166136261;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619;
  return net::Address::from_v4(net::be32(hash == 0 ? 1 : hash));
}

const BgpConfiguration* find(const Store& store, const std::string& name) {
  const auto found = store.bgp_configurations.find(name);
  return found == store.bgp_configurations.end() ? nullptr : &found->second;
}

// A name is looked up in the object itself, then in the cluster's.
std::optional<kube::Community> community_of(const std::string& text, const BgpConfiguration& own,
                                            const BgpConfiguration* cluster) {
  if (auto community = kube::parse_community(text)) return community;
  for (const BgpConfiguration* one : {&own, cluster}) {
    if (one == nullptr) continue;
    const auto named = one->communities.find(text);
    if (named != one->communities.end()) return named->second;
  }
  return std::nullopt;
}

void add_communities(const BgpConfiguration& own, const BgpConfiguration* cluster, Intent& intent,
                     std::vector<Problem>& problems) {
  for (std::size_t i = 0; i < own.prefix_advertisements.size(); ++i) {
    const auto& advertisement = own.prefix_advertisements[i];
    std::vector<kube::Community> communities;
    for (const std::string& text : advertisement.communities) {
      if (auto community = community_of(text, own, cluster)) {
        communities.push_back(std::move(*community));
      } else {
        problems.push_back({"BGPConfiguration " + own.meta.name,
                            "spec.prefixAdvertisements[" + std::to_string(i) + "].communities: \"" +
                                text +
                                "\" is neither a community nor the name of one in "
                                "spec.communities; " +
                                advertisement.cidr.to_string() + " goes without it"});
      }
    }
    intent.communities.emplace_back(advertisement.cidr, std::move(communities));
  }
}

void add_configuration(const Store& store, const std::string& node, Intent& intent,
                       std::vector<Problem>& problems) {
  const BgpConfiguration* const cluster = cluster_configuration(store);
  const BgpConfiguration* const own = node_configuration(store, node);
  for (const BgpConfiguration* one : {cluster, own}) {  // the node's own is the stronger
    if (one == nullptr) continue;
    if (one->listen_port != 0) intent.listen_port = one->listen_port;
    if (one->log_severity) intent.log = *one->log_severity;
    if (one->bind_node_ip) intent.bind_address = *one->bind_node_ip;
    if (one->ignored_interfaces) intent.ignored_interfaces = *one->ignored_interfaces;
  }
  if (cluster != nullptr && cluster->as_number != 0) intent.as_number = cluster->as_number;
  const BgpConfiguration* advertising =
      own != nullptr && !own->prefix_advertisements.empty() ? own : cluster;
  if (advertising != nullptr) add_communities(*advertising, cluster, intent, problems);
}

void add_ranges(const IntentInputs& inputs, Intent& intent) {
  for (const auto& [name, pool] : inputs.store.ip_pools) {
    if (pool.disable_bgp_export) {
      intent.unexported_pools.push_back(pool.cidr);
    } else if (!pool.disabled) {
      intent.pools.push_back(pool.cidr);
    }
    if (pool.ipip != kube::TunnelMode::never) intent.encapsulating_pools.push_back(pool.cidr);
  }
  intent.tunnel_source = tunnel_source(inputs.store, inputs.config.node_name, inputs.linux_state);
  intent.unlearned = build::service_ranges(inputs.config, inputs.store);
  const BgpConfiguration* const cluster = cluster_configuration(inputs.store);
  if (cluster == nullptr) return;
  for (const auto* ranges : {&cluster->service_cluster_ips, &cluster->service_external_ips,
                             &cluster->service_load_balancer_ips}) {
    intent.unlearned.insert(ranges->begin(), ranges->end());
  }
  if (!intent.reflector) return;
  for (const auto* ranges : {&cluster->service_external_ips, &cluster->service_load_balancer_ips}) {
    intent.reflected.insert(intent.reflected.end(), ranges->begin(), ranges->end());
  }
}

}  // namespace

const BgpConfiguration* cluster_configuration(const Store& store) {
  return find(store, "default");
}

const BgpConfiguration* node_configuration(const Store& store, const std::string& node) {
  return find(store, "node." + node);
}

std::optional<net::Address> tunnel_source(const Store& store, const std::string& node,
                                          const LinuxState& linux_state) {
  const auto self = store.nodes.find(node);
  if (self == store.nodes.end()) return std::nullopt;
  const auto address = build::tunnel_address(self->second, store);
  const bool there =
      address && std::ranges::any_of(linux_state.host_tap_addresses,
                                     [&](const LinuxAddress& a) { return a.address == *address; });
  return there ? address : std::nullopt;
}

std::optional<net::Address> bgp_address(const kube::Node& node, net::Family family) {
  const auto& annotated = family == net::Family::v4 ? node.bgp_v4 : node.bgp_v6;
  return annotated ? annotated : build::internal_ip(node, family);
}

std::optional<Intent> intend(IntentInputs inputs, std::vector<Problem>& problems) {
  const auto found = inputs.store.nodes.find(inputs.config.node_name);
  if (found == inputs.store.nodes.end()) return std::nullopt;
  const kube::Node& self = found->second;
  const auto v4 = bgp_address(self, net::Family::v4);
  if (!v4 && !bgp_address(self, net::Family::v6)) {
    problems.push_back({"Node " + self.meta.name, "has no address to speak BGP with"});
    return std::nullopt;
  }
  Intent intent;
  intent.router_id = v4 ? *v4 : router_id_of(self.meta.name);
  intent.reflector = self.reflector;
  intent.bfd_interval_ms = inputs.config.bgp_bfd_interval_ms;
  intent.bfd_multiplier = inputs.config.bgp_bfd_multiplier;
  add_configuration(inputs.store, self.meta.name, intent, problems);
  if (self.as_number != 0) intent.as_number = self.as_number;
  intent.own = std::move(inputs.own);
  intent.service_routes = std::move(inputs.service_routes);
  add_ranges(inputs, intent);
  add_peers(inputs, self, intent, problems);
  return intent;
}

}  // namespace podwire::control::bgp
