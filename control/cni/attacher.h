// The CNI verbs on this node's pods: an address, a port, a record on disk, and the answer only once
// the pod's port and policy are in force. What fails on the way is undone. The only writer of
// State::attachments. Requests for one attachment are carried out one after the other; others
// overlap. Control thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/cni/pod_side.h"
#include "control/cni/protocol.h"
#include "control/cni/records.h"
#include "control/ipam/addresses.h"
#include "control/ipam/ipam.h"
#include "control/loop_hooks.h"
#include "control/state.h"

namespace podwire::control {

class Attacher {
 public:
  using Done = std::function<void(cni::Reply)>;  // called exactly once, at once or later
  // What acts inside the pod's namespace; tests without namespaces put their own here.
  struct PodSideActions {
    std::function<Result<void>(const PodSide&)> set_up = set_up_pod_side;
    std::function<Result<void>(const PodSide&)> check = check_pod_side;
    std::function<void(const PodSide&)> clear = clear_pod_side;
  };

  Attacher(State& state, LoopHooks hooks);
  Attacher(State& state, LoopHooks hooks, PodSideActions actions);

  // Brings back what is on disk: addresses are taken, ports are opened again. A tap whose namespace
  // is gone stays without a port until its DEL. The error is about the folders only.
  Result<void> restore();
  // Carries out the deletes that podwire-cni noted while nobody answered. After the socket listens.
  void carry_out_pending();
  void handle(cni::Request request, Done done);
  // After each change of the objects.
  void follow(const Changes& changes) { addresses_.follow(changes); }

  // What is wrong with files of state-dir, for `podwirectl status`.
  [[nodiscard]] const std::vector<std::string>& problems() const { return problems_; }

 private:
  using Name = cni::AttachmentName;

  void begin(const Name& name, std::function<void()> job);
  void end(const Name& name);

  void add(const cni::Request& request, const Done& done);
  void remove(const cni::Request& request, const Done& done);
  void check_one(const cni::Request& request, const Done& done);
  void collect_garbage(const cni::Request& request, const Done& done);
  [[nodiscard]] cni::Reply status(const cni::Request& request);

  // The Pod of the request, null when the runtime named none; or why it cannot be attached now.
  tl::expected<const kube::Pod*, cni::Reply> pod_of(const cni::Request& request) const;
  // Those of the caller's choice, of an IPAM plugin's, or podwired's own choice.
  tl::expected<std::vector<net::Address>, cni::Reply> take_for(const cni::Request& request,
                                                               const kube::Pod* pod);
  // The container has another interface already: a Pod's own addresses are those of its first.
  [[nodiscard]] bool is_another(const cni::Request& request) const;
  void add_from_blocks(const cni::Request& request, const kube::Pod* pod, const Done& done);
  // Everything but the port is there.
  void attach(Attachment&& fresh, const Done& done);
  tl::expected<std::vector<net::Address>, cni::Reply> take_addresses(const kube::Pod* pod);
  tl::expected<std::vector<net::Address>, cni::Reply> take_named(const kube::Pod& pod);
  tl::expected<std::vector<net::Address>, cni::Reply> take_free(const kube::Pod* pod);
  void release(const std::vector<net::Address>& addresses);
  Result<void> open_port(Attachment& attachment);
  Attachment* find(const Name& name);
  // Everything but addresses and port; or why it cannot be had.
  tl::expected<Attachment, cni::Reply> draft(const cni::Request& request,
                                             const kube::Pod* pod) const;
  tl::expected<void, cni::Reply> choose_kind(const cni::Request& request, const kube::Pod* pod,
                                             Attachment& fresh) const;
  // Nothing in it can still use its port.
  [[nodiscard]] static bool is_dead(const Attachment& attachment);
  using Synced = std::function<void(const Result<void>&)>;
  // Calls back when the record is on the disk, or cannot be.
  void sync_record(const std::string& path, Synced then);
  void sync_records_waiting();
  void reply_in_force(const Name& name, const Done& done);
  // The node's: Linux's, and its tunnel address before Linux has it.
  [[nodiscard]] bool is_nodes_own(const net::Address& ip) const;
  [[nodiscard]] std::set<net::Address> reserved_for(const kube::Pod* pod) const;
  void undo(Attachment&& attachment);
  void note_addresses(const Attachment& attachment);
  void forget(const Name& name, const Done& done);
  void end_port(const std::shared_ptr<Attachment>& attachment, std::function<void()> then);
  void finish_forgetting(const Attachment& attachment, const Done& done);
  // Runs `job` once what is now in State is in force, unless this is gone by then.
  void when_in_force(std::function<void()> job);
  // Runs `job` beside the control thread, then `then` on it, unless this is gone by then.
  void elsewhere(std::function<void()> job, std::function<void()> then);

  State& state_;
  LoopHooks hooks_;
  PodSideActions actions_;
  Records records_;
  Ipam ipam_;
  Addresses addresses_;  // out of the API server's blocks, where it keeps such
  std::map<Name, std::queue<std::function<void()>>> busy_;
  std::vector<std::pair<std::string, Synced>> unsynced_;  // records, by path
  bool syncing_ = false;
  std::vector<std::string> problems_;
  std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
};

// A result of CNI 1.1.0 without cniVersion.
nlohmann::json cni_result(const Attachment& attachment);
// Locally administered and the same for the same addresses.
net::Mac pod_mac(const std::vector<net::Address>& ips);

}  // namespace podwire::control
