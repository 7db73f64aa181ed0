#include "control/build/blocks.h"

#include <algorithm>
#include <set>

#include "control/build/this_node.h"

namespace podwire::control::build {
namespace {

using State = kube::BlockAffinity::State;

using BlocksByCidr = std::map<net::Prefix, const kube::IpamBlock*>;

// A block that somebody else holds is not this node's, whatever its affinity says.
bool is_held(const kube::BlockAffinity& affinity, const BlocksByCidr& blocks) {
  if (affinity.deleted || affinity.state != State::confirmed || affinity.node.empty()) return false;
  const auto block = blocks.find(affinity.cidr);
  return block == blocks.end() || block->second->node == affinity.node;
}

BlocksByCidr blocks_of(const Store& store) {
  BlocksByCidr blocks;
  for (const auto& [name, block] : store.ipam_blocks) {
    if (!block.deleted) blocks.emplace(block.cidr, &block);
  }
  return blocks;
}

std::map<net::Prefix, std::string> holders_of(const Store& store, const BlocksByCidr& blocks) {
  std::map<net::Prefix, std::string> holders;
  for (const auto& [name, affinity] : store.block_affinities) {
    if (is_held(affinity, blocks)) holders.emplace(affinity.cidr, affinity.node);
  }
  return holders;
}

}  // namespace

std::map<net::Prefix, std::string> block_routes(const Store& store) {
  const BlocksByCidr blocks = blocks_of(store);
  const auto holders = holders_of(store, blocks);
  auto routes = holders;
  for (const auto& [cidr, block] : blocks) {
    const auto holder = holders.find(cidr);
    for (const kube::IpamBlock::Allocation& allocation : block->allocations) {
      if (allocation.node.empty()) continue;
      if (holder != holders.end() && holder->second == allocation.node) continue;
      routes.emplace(net::Prefix::host(allocation.address), allocation.node);
    }
  }
  return routes;
}

std::vector<net::Prefix> own_prefixes(const std::string& node, const Store& store,
                                      const std::vector<Attachment>& attachments) {
  std::set<net::Prefix> own;
  const auto found = store.nodes.find(node);
  if (found != store.nodes.end()) {
    own.insert(found->second.pod_cidrs.begin(), found->second.pod_cidrs.end());
  }
  for (const auto& [block, holder] : holders_of(store, blocks_of(store))) {
    if (holder == node) own.insert(block);
  }
  std::set<net::Prefix> single;
  const auto add = [&](const net::Address& ip) {
    const auto holds = [&](const net::Prefix& prefix) { return prefix.contains(ip); };
    if (std::ranges::none_of(own, holds)) single.insert(net::Prefix::host(ip));
  };
  for (const Attachment& attachment : attachments) {
    for (const net::Address& ip : attachment.ips) add(ip);
  }
  if (found != store.nodes.end()) {
    if (const auto tunnel = tunnel_address(found->second, store)) add(*tunnel);
  }
  own.merge(single);
  return {own.begin(), own.end()};
}

}  // namespace podwire::control::build
