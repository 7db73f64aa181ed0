#include "control/ipam/pools.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace podwire::control {
namespace {

using nlohmann::json;

constexpr const char* kAddresses = "cni.projectcalico.org/ipAddrs";
constexpr const char* kForeignAddresses = "cni.projectcalico.org/ipAddrsNoIpam";
constexpr const char* kPoolsV4 = "cni.projectcalico.org/ipv4pools";
constexpr const char* kPoolsV6 = "cni.projectcalico.org/ipv6pools";

std::string place_of(const std::string& object, const char* annotation) {
  return object + ": annotation " + annotation;
}

// A JSON list of texts in a text: "[\"pool-1\"]".
Result<std::vector<std::string>> read_list(const kube::Labels& annotations, const char* key,
                                           const std::string& object) {
  std::vector<std::string> texts;
  const auto found = annotations.find(key);
  if (found == annotations.end()) return texts;
  const auto list = json::parse(found->second, nullptr, false);
  const auto is_text = [](const json& element) { return element.is_string(); };
  if (!list.is_array() || !std::ranges::all_of(list, is_text)) {
    return fail(place_of(object, key) + ": " + found->second +
                " is not a list of texts such as [\"a\", \"b\"]");
  }
  for (const json& element : list) texts.push_back(element.get<std::string>());
  return texts;
}

Result<void> read_addresses(const kube::Pod& pod, const std::string& object, AddressWishes& into) {
  if (pod.meta.annotations.contains(kForeignAddresses)) {
    return fail(place_of(object, kForeignAddresses) +
                ": addresses outside of every pool are not given; use " + kAddresses);
  }
  const auto texts = read_list(pod.meta.annotations, kAddresses, object);
  if (!texts) return tl::unexpected(texts.error());
  for (const std::string& text : *texts) {
    const auto address = net::Address::parse(text);
    const auto same_family = [&](const net::Address& a) { return a.family() == address->family(); };
    if (!address || std::ranges::any_of(into.addresses, same_family)) {
      return fail(place_of(object, kAddresses) + ": " + text +
                  (address ? " is a second address of its family" : " is no IP address"));
    }
    into.addresses.push_back(*address);
  }
  return {};
}

Result<void> read_pools(const kube::Labels& annotations, const std::string& object,
                        AddressWishes& into) {
  const auto v4 = read_list(annotations, kPoolsV4, object);
  const auto v6 = read_list(annotations, kPoolsV6, object);
  for (const auto* list : {&v4, &v6}) {
    if (!*list) return tl::unexpected(list->error());
  }
  if (into.v4.empty() && !v4->empty()) {
    into.v4 = *v4;
    into.v4_place = place_of(object, kPoolsV4);
  }
  if (into.v6.empty() && !v6->empty()) {
    into.v6 = *v6;
    into.v6_place = place_of(object, kPoolsV6);
  }
  return {};
}

const kube::IpPool* find_pool(const Store& store, const std::string& name_or_cidr) {
  if (const auto found = store.ip_pools.find(name_or_cidr); found != store.ip_pools.end()) {
    return &found->second;
  }
  const auto cidr = net::Prefix::parse(name_or_cidr);
  for (const auto& [name, pool] : store.ip_pools) {
    if (cidr && pool.cidr == *cidr) return &pool;
  }
  return nullptr;
}

const kube::Labels& labels_of(const auto& objects, const std::string& name) {
  static const kube::Labels none;
  const auto found = objects.find(name);
  return found == objects.end() ? none : found->second.meta.labels;
}

const kube::IpPool* pool_around(const Store& store, const net::Prefix& range) {
  for (const auto& [name, pool] : store.ip_pools) {
    if (pool.cidr.contains(range)) return &pool;
  }
  return nullptr;
}

bool is_for_node_alone(const Store& store, const std::string& node, const kube::IpPool& pool) {
  return std::ranges::all_of(store.nodes, [&](const auto& entry) {
    return pool.nodes.matches(entry.second.meta.labels) == (entry.first == node);
  });
}

// That are enabled, select the node, and keep their addresses.
std::vector<const kube::IpPool*> pools_of_node(const Store& store, const std::string& node,
                                               const auto& fits) {
  const auto overlapping = overlapping_pools(store);
  std::vector<const kube::IpPool*> pools;
  for (const auto& [name, pool] : store.ip_pools) {
    const bool usable = !pool.disabled && !overlapping.contains(name) &&
                        pool.nodes.matches(labels_of(store.nodes, node));
    if (usable && fits(pool)) pools.push_back(&pool);
  }
  return pools;
}

// Of a pool what is this node's: whole, or by affinities that somebody has written.
std::vector<net::Prefix> own_parts(const Store& store, const std::string& node,
                                   const kube::IpPool& pool) {
  if (is_for_node_alone(store, node, pool)) return {pool.cidr};
  std::vector<net::Prefix> parts;
  for (const auto& [name, affinity] : store.block_affinities) {
    const bool own = affinity.node == node && !affinity.deleted &&
                     affinity.state == kube::BlockAffinity::State::confirmed;
    if (own && pool.cidr.contains(affinity.cidr)) parts.push_back(affinity.cidr);
  }
  return parts;
}

}  // namespace

Result<AddressWishes> read_wishes(const kube::Pod* pod, const Store& store,
                                  const std::vector<std::string>& configured_v4,
                                  const std::vector<std::string>& configured_v6) {
  AddressWishes wishes;
  if (pod != nullptr) {
    const std::string object = "Pod " + pod->meta.full_name();
    if (auto done = read_addresses(*pod, object, wishes); !done) {
      return tl::unexpected(done.error());
    }
    if (auto done = read_pools(pod->meta.annotations, object, wishes); !done) {
      return tl::unexpected(done.error());
    }
    if (const auto ns = store.namespaces.find(pod->meta.ns); ns != store.namespaces.end()) {
      auto done = read_pools(ns->second.meta.annotations, "Namespace " + pod->meta.ns, wishes);
      if (!done) return tl::unexpected(done.error());
    }
  }
  if (wishes.v4.empty()) {
    wishes.v4 = configured_v4;
    wishes.v4_place = "network configuration: ipam.ipv4_pools";
  }
  if (wishes.v6.empty()) {
    wishes.v6 = configured_v6;
    wishes.v6_place = "network configuration: ipam.ipv6_pools";
  }
  return wishes;
}

Result<std::vector<const kube::IpPool*>> pools_for(const Store& store, const std::string& node,
                                                   const std::string& name_space,
                                                   net::Family family,
                                                   const AddressWishes& wishes) {
  const bool v4 = family == net::Family::v4;
  const auto& named = v4 ? wishes.v4 : wishes.v6;
  const auto overlapping = overlapping_pools(store);
  std::vector<const kube::IpPool*> pools;
  for (const std::string& text : named) {
    const kube::IpPool* const pool = find_pool(store, text);
    const auto refused = [&](const std::string& why) {
      return fail((v4 ? wishes.v4_place : wishes.v6_place) + ": IPPool " + text + " " + why);
    };
    if (pool == nullptr) return refused("does not exist");
    if (pool->disabled) return refused("is disabled");
    if (!pool->for_pods) return refused("is not for pods: its allowedUses hold no Workload");
    if (pool->cidr.family() != family) return refused(v4 ? "is no IPv4 pool" : "is no IPv6 pool");
    if (const auto other = overlapping.find(pool->meta.name); other != overlapping.end()) {
      return refused("overlaps IPPool " + other->second);
    }
    pools.push_back(pool);
  }
  if (!named.empty()) return pools;
  return pools_of_node(store, node, [&](const kube::IpPool& pool) {
    return pool.for_pods && !pool.manual && pool.cidr.family() == family &&
           pool.namespaces.matches(labels_of(store.namespaces, name_space));
  });
}

std::vector<const kube::IpPool*> tunnel_pools(const Store& store, const std::string& node) {
  return pools_of_node(store, node, [](const kube::IpPool& pool) {
    return pool.for_tunnels && pool.ipip != kube::TunnelMode::never;
  });
}

Result<std::vector<net::Prefix>> ranges_for(const Store& store, const std::string& node,
                                            const std::string& name_space, net::Family family,
                                            const AddressWishes& wishes) {
  const auto pools = pools_for(store, node, name_space, family, wishes);
  if (!pools) return tl::unexpected(pools.error());
  const bool named = !(family == net::Family::v4 ? wishes.v4 : wishes.v6).empty();
  std::vector<net::Prefix> ranges;
  if (const auto self = store.nodes.find(node); self != store.nodes.end()) {
    for (const net::Prefix& range : self->second.pod_cidrs) {
      if (range.family() != family) continue;
      const kube::IpPool* const around = pool_around(store, range);
      const bool fits = around == nullptr ? !named : std::ranges::count(*pools, around) > 0;
      if (fits) ranges.push_back(range);
    }
  }
  for (const kube::IpPool* pool : *pools) {
    const auto holds = [&](const net::Prefix& range) { return pool->cidr.contains(range); };
    if (std::ranges::any_of(ranges, holds)) continue;
    for (const net::Prefix& part : own_parts(store, node, *pool)) ranges.push_back(part);
  }
  if (!ranges.empty() || !named) return ranges;
  return fail((family == net::Family::v4 ? wishes.v4_place : wishes.v6_place) +
              ": no part of these pools is node " + node +
              "'s: neither its podCIDRs, nor a pool that selects it alone, nor a block");
}

const kube::IpPool* pool_of(const Store& store, const net::Address& address) {
  for (const auto& [name, pool] : store.ip_pools) {
    if (!pool.disabled && pool.cidr.contains(address)) return &pool;
  }
  return nullptr;
}

std::map<std::string, std::string> overlapping_pools(const Store& store) {
  std::map<std::string, std::string> overlapping;
  std::vector<const kube::IpPool*> kept;
  for (const auto& [name, pool] : store.ip_pools) {
    if (pool.disabled) continue;
    const auto overlaps = [&cidr = pool.cidr](const kube::IpPool* other) {
      return other->cidr.contains(cidr) || cidr.contains(other->cidr);
    };
    const auto other = std::ranges::find_if(kept, overlaps);
    if (other == kept.end()) {
      kept.push_back(&pool);
    } else {
      overlapping.emplace(name, (*other)->meta.name);
    }
  }
  return overlapping;
}

}  // namespace podwire::control
