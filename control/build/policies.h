// NetworkPolicies, ClusterNetworkPolicies, pods and namespaces -> PolicyTable. Control thread only.
//
//   pod ── labels, namespace, named ports, and the longest ipBlock prefix around its address
//          make its identity; addresses of no pod have only the prefix.
//   local pod ── the policies that select it make its row, shared by all pods with the same set.
//
// A change of a pod costs its identity and, when that is new, a look at the rows that have
// something to say of it. A change of a policy costs the rows that hold it. A row's tiers are
// Admin, NetworkPolicy where one isolates the pod, Baseline; what none of them decides passes.
// Semantics: k8s.io/api/networking/v1 types.go, sigs.k8s.io/network-policy-api apis/v1alpha2;
// README.md.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "control/build/builder.h"
#include "control/build/peer_index.h"
#include "control/build/policy_rules.h"
#include "dataplane/tables/policy_table.h"

namespace podwire::control::build {

class PoliciesBuilder {
 public:
  struct Result {
    std::shared_ptr<const tables::PolicyTable> table;
    std::uint32_t generation = 0;  // moved when an answer may have changed
  };
  PoliciesBuilder();
  Result build(const Inputs& inputs);

 private:
  using IdentityId = tables::IdentityId;
  using NamedPort = std::pair<std::string, std::uint8_t>;  // name, protocol
  using NamedPorts = std::map<NamedPort, std::uint16_t>;

  // What no rule can tell apart.
  struct Identity {
    bool is_pod = false;
    std::string ns;
    kube::Labels labels;
    NamedPorts ports;
    std::optional<net::Prefix> block;  // the longest ipBlock prefix (cidr or except) around it
    auto operator<=>(const Identity&) const = default;
  };
  struct Peer {
    const RulePeer* peer;  // in the policy, held by the row
    std::string ns;        // of the policy
  };
  // What becomes one rule of the row. NetworkPolicies' rules that allow the same ports are one:
  // peers are alternatives. Among others order counts.
  struct Group {
    tables::PolicyTier tier = tables::PolicyTier::network_policy;
    tables::PolicyAction action = tables::PolicyAction::allow;
    std::vector<tables::PortRange> ports;  // empty: everything
    // An egress rule's named port, for the peers at which the name means this number.
    std::optional<NamedPort> named;
    std::uint16_t named_number = 0;
    bool any_peer = false;
    std::vector<Peer> peers;
    std::vector<tables::RuleOrigin> origins;
  };
  enum class Direction : std::uint8_t { ingress, egress };
  // Local pods with the same key share a row. The pod's own named ports matter to ingress rules.
  struct RowKey {
    Direction direction;
    std::vector<std::string> policies;  // full names, sorted; those of the cluster have no '/'
    NamedPorts ports;
    auto operator<=>(const RowKey&) const = default;
  };
  struct Row {
    std::vector<std::shared_ptr<const Policy>> policies;  // in the order of evaluation
    std::vector<Group> groups;                            // the same
    std::set<NamedPort> named;  // egress: names that the groups were expanded for
    bool selects_namespaces = false, has_blocks = false;
    std::shared_ptr<const tables::PolicyRow> row;
    std::vector<net::Address> users;  // local pods
  };
  struct Address {
    IdentityId identity = tables::kWorld;
    bool listed = false;           // in the table: a pod's, or attached here
    std::set<std::string> claims;  // pods that say they have it
  };
  struct LocalPod {
    std::string pod;  // full name
    std::optional<RowKey> ingress, egress;
    bool held_back = false;  // not known yet: both directions are closed
    const Row *ingress_row = nullptr, *egress_row = nullptr;  // of the keys, once rows are settled
    [[nodiscard]] bool same_rows(const LocalPod& other) const {
      return ingress == other.ingress && egress == other.egress && held_back == other.held_back;
    }
  };
  struct Touched {  // what one build looks at again, and what came of it
    std::set<std::string> policies, policy_namespaces, pods;
    std::map<net::Prefix, IdentityId> prefixes;  // new or gone, with the identity it has or had
    std::set<net::Address> addresses;
    std::set<net::Address> unplugged;  // of attachments that are gone or others
    std::set<IdentityId> identities;   // new ones
    std::set<NamedPort> named;         // names that got a number they did not have
    std::vector<IdentityId> released;
    std::vector<std::pair<IdentityId, IdentityId>> moves;  // of addresses: before, after
    bool namespaces = false, local = false;
    std::set<const Row*> rows;  // those that are others
    bool answers = false;       // an answer may be another
  };

  void learn_policies(const Changes& changes, const Store& store, Touched& touched);
  void learn_namespaces(const Changes& changes, const Store& store, Touched& touched);
  void learn_attachments(const Inputs& inputs, Touched& touched);
  void learn_pods(const Inputs& inputs, Touched& touched);
  void settle_addresses(const Store& store, Touched& touched);
  void settle_prefixes(Touched& touched);
  [[nodiscard]] std::set<std::string> local_pods_touched(const Touched& touched) const;
  void settle_local_pods(const Store& store, Touched& touched);
  void learn_policy(const std::string& name, std::shared_ptr<const Policy> now, Touched& touched);
  void note_prefixes(const Policy& policy, bool comes, Touched& touched);
  void settle_rows(Touched& touched);
  void drop_unused_rows();
  std::size_t rebuild_outdated(Touched& touched);
  void teach_new_identities(Touched& touched);
  void forget_retired(Touched& touched);
  void compare_answers(Touched& touched) const;
  void fill_table(Touched& touched);
  void fill_local(const net::Address& address, tables::PolicyTable::Pod& pod);

  void claim(const std::string& pod, const std::vector<net::Address>& ips, Touched& touched);
  [[nodiscard]] const kube::Pod* owner(const Store& store, const net::Address& address) const;
  IdentityId intern(const Identity& identity, Touched& touched);
  void release(IdentityId id);
  [[nodiscard]] std::optional<net::Prefix> block_around(const net::Address& address) const;

  [[nodiscard]] bool selects(const Policy& policy, const kube::Pod& pod) const;
  [[nodiscard]] LocalPod describe_local(const Store& store, const std::string& pod) const;
  [[nodiscard]] static bool outdated(const Row& row, const RowKey& key, const Touched& touched);
  bool rebuild(const RowKey& key, Row& row);
  void index(Row& row);
  void unindex(Row& row);
  void replace(Row& row, std::shared_ptr<const tables::PolicyRow> now);
  template <typename F>
  void for_rows_about(const Identity& identity, F&& f) const;
  [[nodiscard]] std::vector<unsigned> rules_for(const Row& row, const Identity& identity) const;
  [[nodiscard]] std::shared_ptr<const tables::PolicyRow> compile(const Row& row);
  [[nodiscard]] std::vector<Group> groups_of(const RowKey& key, const Rule& rule, Row& row) const;
  void add_rule(const RowKey& key, const Policy& policy, const Rule& rule, Row& row);
  [[nodiscard]] std::set<IdentityId> matching(const Group& group) const;
  void add_matching(const Peer& peer, std::set<IdentityId>& found) const;
  [[nodiscard]] bool matches(const Group& group, const Identity& identity) const;
  [[nodiscard]] bool matches(const Peer& peer, const Identity& identity) const;
  [[nodiscard]] bool matches_namespace(const kube::Selector& selector, const std::string& ns) const;
  std::uint32_t number_of(const std::string& policy);

  std::map<std::string, kube::Labels> namespaces_;
  std::map<std::string, std::shared_ptr<const Policy>> policies_;
  std::map<std::string, std::set<std::string>> policies_by_ns_;  // "": those of the cluster
  std::map<net::Prefix, unsigned> prefix_users_;                 // named by policies
  tables::Lpm<net::Prefix> blocks_;                              // the same, for look-up
  std::map<net::Prefix, IdentityId> prefix_ids_;

  std::map<Identity, IdentityId> identities_;
  std::vector<const Identity*> identity_by_id_{nullptr};  // null: free (0: the world)
  std::vector<unsigned> identity_users_{0};
  std::vector<IdentityId> free_identities_;
  // No longer used, but rows may still know them. Taken out of all rows when there are many.
  std::vector<IdentityId> retired_identities_;
  std::map<std::string, std::set<IdentityId>> identities_by_ns_;  // pods
  // The same by what else rules ask for.
  std::map<NamedPort, std::map<std::uint16_t, std::set<IdentityId>>> named_numbers_;
  std::map<net::Prefix, std::set<IdentityId>> identities_by_block_;

  std::map<std::string, std::vector<net::Address>> pod_addresses_;
  std::map<net::Address, Address> addresses_;
  std::map<std::string, std::vector<net::Address>> attached_;  // by pod, also unnamed ("")
  std::map<net::Address, LocalPod> local_;
  std::map<RowKey, Row> rows_;
  PeerIndex<Row> peer_index_;
  std::set<Row*> rows_with_blocks_, rows_with_names_;  // the latter of egress rules' named ports
  std::vector<unsigned> knowers_;                      // how many rows know an identity, by its id
  std::shared_ptr<const tables::PolicyRow> closed_;    // for pods that are not known yet

  std::map<std::string, std::uint32_t> policy_numbers_;
  std::vector<std::string> policy_names_;
  std::shared_ptr<const std::vector<std::string>> given_names_;  // null: they changed since
  std::vector<std::uint32_t> free_policy_numbers_;
  std::shared_ptr<const tables::PolicyTable> last_;
  std::uint32_t generation_ = 0;
};

}  // namespace podwire::control::build
