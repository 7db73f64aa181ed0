// Gives back what nobody has any more: addresses noted for this node that no attachment, note or
// Pod has (those of a lost disk), and what nodes that are gone have left, addresses and blocks, as
// Calico's kube-controllers do it. Source: projectcalico/calico
// kube-controllers/pkg/controllers/node/ipam.go. Control thread only.
#pragma once

#include <chrono>
#include <map>
#include <set>
#include <string>

#include "control/ipam/block_ipam.h"
#include "control/state.h"

namespace podwire::control {

class Leaks {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Duration = Time::duration;
  // Both outlive it.
  Leaks(const State& state, BlockIpam& blocks) : state_(state), blocks_(blocks) {}

  // What has been suspected at each call for so long: `age` for this node's, three times of that
  // for what gone nodes have left, six times where another node should have seen to it. `in_use`:
  // handles that this node has, or is about to take or give back.
  void collect(const std::set<std::string>& in_use, Duration age,
               Time now = std::chrono::steady_clock::now());

 private:
  struct Suspect {
    std::string node;
    std::vector<net::Address> addresses;  // of a handle
    std::optional<net::Prefix> block;
  };
  [[nodiscard]] bool is_gone(const std::string& node) const;
  [[nodiscard]] std::map<std::string, Suspect> suspects(const std::set<std::string>& in_use) const;
  void give_back(const std::string& handle, const std::vector<net::Address>& addresses);
  [[nodiscard]] Duration patience(const Suspect& suspect, Duration age) const;

  const State& state_;
  BlockIpam& blocks_;
  std::map<std::string, Time> since_;  // by handle, or by the block's prefix
  // Handles whose giving back was cut off: their addresses may be free, and name them no more.
  std::map<std::string, std::vector<net::Address>> unfinished_;
};

}  // namespace podwire::control
