#include "control/ipam/leaks.h"

#include <algorithm>
#include <utility>

#include "control/log.h"

namespace podwire::control {

bool Leaks::is_gone(const std::string& node) const {
  return !node.empty() && !state_.store.nodes.contains(node);
}

std::map<std::string, Leaks::Suspect> Leaks::suspects(const std::set<std::string>& in_use) const {
  std::map<std::string, Suspect> all;
  std::set<std::pair<net::Prefix, std::string>> held;  // blocks in which a node has addresses
  for (const auto& [name, block] : state_.store.ipam_blocks) {
    for (const kube::IpamBlock::Allocation& one : block.allocations) {
      held.emplace(block.cidr, one.node);
      const bool own = one.node == state_.config.node_name;
      // What is of no pod on a living node, its tunnel address, is not ours to judge.
      if (own ? one.pod.empty() || in_use.contains(one.handle) : !is_gone(one.node)) continue;
      const auto pod = state_.store.pods.find(one.pod);
      const bool has_it = pod != state_.store.pods.end() &&
                          std::ranges::find(pod->second.ips, one.address) != pod->second.ips.end();
      if (has_it || one.handle.empty()) continue;
      Suspect& suspect = all[one.handle];
      suspect.node = one.node;
      suspect.addresses.push_back(one.address);
    }
  }
  for (const auto& [name, affinity] : state_.store.block_affinities) {
    if (!is_gone(affinity.node) || held.contains({affinity.cidr, affinity.node})) continue;
    all[affinity.cidr.to_string()] = {affinity.node, {}, affinity.cidr};
  }
  return all;
}

// One node sees to what is left, so that not all of them write at once: the first by name.
Leaks::Duration Leaks::patience(const Suspect& suspect, Duration age) const {
  if (suspect.node == state_.config.node_name) return age;
  const bool first =
      !state_.store.nodes.empty() && state_.store.nodes.begin()->first == state_.config.node_name;
  return (first ? 3 : 6) * age;
}

void Leaks::give_back(const std::string& handle, const std::vector<net::Address>& addresses) {
  blocks_.release({handle, addresses}, [this, handle, addresses](bool done) {
    if (!done) unfinished_[handle] = addresses;
  });
}

void Leaks::collect(const std::set<std::string>& in_use, Duration age, Time now) {
  for (const auto& [handle, addresses] : std::exchange(unfinished_, {})) {
    if (!in_use.contains(handle)) give_back(handle, addresses);
  }
  const auto all = suspects(in_use);
  std::erase_if(since_, [&](const auto& entry) { return !all.contains(entry.first); });
  for (const auto& [key, suspect] : all) {
    const auto since = since_.try_emplace(key, now).first->second;
    if (now - since < patience(suspect, age)) continue;
    if (suspect.block) {
      log(LogLevel::info, "a block of a node that is gone is given up",
          "block=" + key + " node=" + suspect.node);
      blocks_.disown(suspect.node, *suspect.block);
    } else {
      log(LogLevel::warning, "addresses that nobody has any more are given back",
          "handle=" + key + " first=" + suspect.addresses.front().to_string() +
              " node=" + suspect.node);
      give_back(key, suspect.addresses);
    }
  }
}

}  // namespace podwire::control
