// This node's own address in a pool that encapsulates, as each of Calico's nodes has one: the node
// itself speaks with pods elsewhere from it, so that what they answer is encapsulated, too. It is
// taken out of a block under the handle "ipip-tunnel-addr-<node>" and written to the Node as
// annotation projectcalico.org/IPv4IPIPTunnelAddr, where everybody, podwire too, reads it. Source:
// projectcalico/calico node/pkg/allocateip/allocateip.go. Control thread only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/ipam/block_ipam.h"
#include "control/loop_hooks.h"
#include "control/state.h"

namespace podwire::control {

class TunnelAddress {
 public:
  using ClientOf = std::function<ObjectClient*()>;
  // The state and `blocks` outlive it.
  TunnelAddress(State& state, LoopHooks hooks, BlockIpam& blocks, ClientOf client);

  // Takes one, or gives it back, when the objects ask for it; State::tunnel_trouble says why not.
  // After each change of them, where the server keeps blocks.
  void follow();

 private:
  [[nodiscard]] std::vector<BlockIpam::Pool> pools() const;
  // Addresses that blocks note under the handle.
  [[nodiscard]] std::set<net::Address> held() const;
  void assign(std::vector<BlockIpam::Pool> from);
  void give_back(std::vector<net::Address> hints);
  // Writes the Node's annotation, or takes it away.
  void announce(const std::optional<net::Address>& address);
  void failed(const std::string& sentence);
  void ended();

  State& state_;
  LoopHooks hooks_;
  BlockIpam& blocks_;
  ClientOf client_;
  const std::string handle_;
  // Given to us; the watches may not have told of it yet.
  std::optional<net::Address> given_;
  bool busy_ = false;
  std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
};

}  // namespace podwire::control
