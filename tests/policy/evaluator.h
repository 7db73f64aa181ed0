// NetworkPolicy and ClusterNetworkPolicy read plainly, from the objects, for one question at a
// time: nothing is kept, nothing is compiled, and no code is control/build's. What the builder's
// table says is held against this; evaluator_test.cc holds this against the API's documentation.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "control/store.h"

namespace podwire::tests {

struct Question {
  net::Address source, destination;
  std::uint8_t protocol = 6;
  std::uint16_t port = 0;
  bool from_own_node = false;
};

class Evaluator {
 public:
  // `attached`: this node's pods' addresses, with the pod's full name ("": none of Kubernetes').
  Evaluator(const control::Store& store, std::map<net::Address, std::string> attached)
      : store_(store), attached_(std::move(attached)) {}

  [[nodiscard]] bool allows(const Question& question) const;

 private:
  enum class Direction : std::uint8_t { ingress, egress };
  struct Flow {  // as one end sees it
    Direction direction;
    const control::kube::Pod* subject;
    net::Address peer;
    const control::kube::Pod* peer_pod;  // null: the address is no pod's
    std::uint8_t protocol;
    std::uint16_t port;
  };
  enum class Answer : std::uint8_t { allow, deny, none };

  [[nodiscard]] bool end_allows(const Question& question, Direction direction) const;
  [[nodiscard]] Answer cluster_tier(const Flow& flow,
                                    control::kube::ClusterNetworkPolicy::Tier tier) const;
  [[nodiscard]] Answer network_policies(const Flow& flow) const;
  [[nodiscard]] bool rule_matches(const control::kube::PolicyRule& rule, const std::string& ns,
                                  const Flow& flow) const;
  [[nodiscard]] bool rule_matches(const control::kube::ClusterPolicyRule& rule,
                                  const Flow& flow) const;
  [[nodiscard]] bool peer_matches(const control::kube::PolicyPeer& peer, const std::string& ns,
                                  const Flow& flow) const;
  [[nodiscard]] bool peer_matches(const control::kube::ClusterPolicyPeer& peer,
                                  const Flow& flow) const;
  [[nodiscard]] const control::kube::Pod* pod_at(const net::Address& address) const;
  [[nodiscard]] control::kube::Labels labels_of_namespace(const std::string& name) const;

  const control::Store& store_;
  std::map<net::Address, std::string> attached_;
};

}  // namespace podwire::tests
