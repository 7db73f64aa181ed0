// Addresses for attachments out of the API server's blocks, so that a crash at any moment leaves
// nothing that is not found again: a note on disk stands before the first write to the server, and
// goes when the attachment's own record is on disk, or when the server has everything back.
// Control thread only.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "control/cni/protocol.h"
#include "control/ipam/block_ipam.h"
#include "control/ipam/journal.h"
#include "control/ipam/leaks.h"
#include "control/ipam/pools.h"
#include "control/ipam/tunnel_address.h"
#include "control/loop_hooks.h"
#include "control/state.h"

namespace podwire::control {

class Addresses {
 public:
  using Taken = std::function<void(tl::expected<std::vector<net::Address>, cni::Reply>)>;
  struct Ask {
    cni::AttachmentName name;
    std::string network;
    // Looked at before take() returns; null: the runtime named none.
    const kube::Pod* pod = nullptr;
    std::vector<net::Address> wanted;  // by the caller; the Pod's wishes count where there are none
    bool another_interface = false;    // addresses that a Pod names are for its first
  };

  // `reserved`: addresses of this node that the server may not know of.
  Addresses(State& state, LoopHooks hooks, Block::Reserved reserved);

  // After State::attachments is what it was before: what was under way is given back.
  Result<void> restore(std::vector<std::string>& problems);
  // The server keeps blocks, and there is a pool to take them from.
  [[nodiscard]] bool from_blocks() const;

  // "k8s-pod-network.<container id>", as Calico's plugin has it; other interfaces than eth0 have
  // theirs behind it.
  [[nodiscard]] static std::string handle_of(const std::string& network,
                                             const cni::AttachmentName& name);
  void take(const Ask& ask, Taken taken);
  // The attachment's record is on disk.
  void settled(const cni::AttachmentName& name);
  // Before the record of an attachment with a handle is removed.
  Result<void> note(const Attachment& attachment);
  // Frees what the handle has: tried at once, then again until it is done, over restarts too when
  // it was noted. `done` is called after the first try.
  void give_back(const cni::AttachmentName& name, const std::string& handle,
                 const std::vector<net::Address>& known, std::function<void()> done);

  // Keeps this node's tunnel address; after each change of the objects.
  void follow(const Changes& changes);

  // Leaks::collect(). Called each minute; tests call it with an age of their own.
  void collect_leaks(std::chrono::steady_clock::duration age);

 private:
  struct Taking;
  using TakingPtr = std::shared_ptr<Taking>;
  Result<std::vector<BlockIpam::Ask>> asks_of(const Ask& ask, const std::string& handle) const;
  Result<std::vector<BlockIpam::Ask>> fixed_asks(const std::vector<net::Address>& addresses,
                                                 const BlockIpam::Ask& blank) const;
  void take_next(const TakingPtr& taking);
  void try_to_free(const Journal::Note& note, std::chrono::milliseconds wait,
                   std::function<void()> done);
  void watch_leaks();
  [[nodiscard]] ObjectClient* client() const;
  [[nodiscard]] bool has_blocks() const;  // the server serves their kinds

  State& state_;
  LoopHooks hooks_;
  Journal journal_;
  BlockIpam blocks_;
  TunnelAddress tunnel_;
  Leaks leaks_;
  std::map<cni::AttachmentName, std::string> under_way_;  // taking or giving back: handles
  std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
};

}  // namespace podwire::control
