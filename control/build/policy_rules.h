// A policy of either kind as the rows take it: whom it is about, where it stands, and rules without
// defaults. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "control/kube/objects.h"
#include "dataplane/tables/policy_table.h"

namespace podwire::control::build {

struct RulePeer {
  std::optional<kube::IpBlock> block;        // addresses, pods' too; else pods:
  std::optional<kube::Selector> namespaces;  // absent: of the policy's own namespace
  kube::Selector pods;
};
struct RulePort {
  std::uint8_t protocol = 6;
  std::uint16_t first = 0, last = 0xffff;
  std::string name;  // when given: whatever port of the protocol has it where the flow goes
};
struct Rule {
  std::uint32_t number = 0;  // its place in the object's list
  tables::PolicyAction action = tables::PolicyAction::allow;
  bool any_peer = false, any_port = false;
  std::vector<RulePeer> peers;
  std::vector<RulePort> ports;
};
struct Policy {
  struct Side {
    bool applies = false;
    std::vector<Rule> rules;
  };
  std::string name;  // the object's full name
  std::string ns;    // empty: of the cluster
  tables::PolicyTier tier = tables::PolicyTier::network_policy;
  unsigned priority = 0;  // lower goes first
  std::optional<kube::Selector> namespaces;
  kube::Selector pods;
  Side ingress, egress;

  [[nodiscard]] bool before(const Policy& other) const {
    return std::tie(tier, priority, name) < std::tie(other.tier, other.priority, other.name);
  }
};

Policy policy_of(const kube::NetworkPolicy& policy);
Policy policy_of(const kube::ClusterNetworkPolicy& policy);

}  // namespace podwire::control::build
