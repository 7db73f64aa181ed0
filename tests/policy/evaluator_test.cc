// The plain evaluator, and the builder's table, against the API's documentation, case by case.
#include <gtest/gtest.h>

#include <set>

#include "tests/policy/cases.h"
#include "tests/policy/evaluator.h"
#include "tests/unit/control/build/cluster.h"

namespace podwire::tests {
namespace {

using control::build::Cluster;

// "N {...}" is a NetworkPolicy of shop with that spec, M a second one, L one of lab; C, D and B are
// ClusterNetworkPolicies.
std::string document(const std::string& text) {
  const std::string name(1, static_cast<char>(std::tolower(text[0])));
  const bool of_cluster = std::string("CDB").find(text[0]) != std::string::npos;
  const std::string meta =
      of_cluster ? "name: " + name
                 : "name: " + name + ", namespace: " + (text[0] == 'L' ? "lab" : "shop");
  return (of_cluster ? std::string("apiVersion: policy.networking.k8s.io/v1alpha2\n"
                                   "kind: ClusterNetworkPolicy\n")
                     : std::string("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n")) +
         "metadata: {" + meta + "}\nspec: " + text.substr(2) + "\n";
}

void apply(Cluster& cluster, std::string policies) {
  const std::string separator = "\n---\n";
  while (!policies.empty()) {
    const auto end = policies.find(separator);
    cluster.apply(document(policies.substr(0, end)));
    policies = end == std::string::npos ? "" : policies.substr(end + separator.size());
  }
}

void ask(const Case& c) {
  SCOPED_TRACE(std::string(c.rule) + "\n" + c.policies + "\n" + c.from + " to " + c.to + " " +
               std::to_string(c.protocol) + "/" + std::to_string(c.port));
  Cluster cluster;
  cluster.apply(kCluster);
  cluster.attach("shop/web", {"10.1.0.2", "fd01::2"});
  cluster.attach("shop/solo", {"10.1.0.4", "fd01::4"});
  apply(cluster, c.policies);
  std::map<net::Address, std::string> attached;
  for (const auto& a : cluster.attachments) {
    for (const auto& ip : a.ips) attached[ip] = a.pod;
  }
  const auto from = control::build::ip(c.from), to = control::build::ip(c.to);
  const Evaluator evaluator(cluster.store, attached);
  EXPECT_EQ(evaluator.allows({from, to, c.protocol, c.port, c.from_own_node}), c.allowed)
      << "evaluator";
  const auto answer =
      cluster.build().policies->judge({from, to, net::be16(c.port), c.protocol, c.from_own_node});
  EXPECT_EQ(answer.allowed, c.allowed) << "builder";
}

TEST(NetworkPolicy, IsAsDocumented) {
  for (const Case& c : network_policy_cases()) ask(c);
}

TEST(ClusterNetworkPolicy, IsAsDocumented) {
  for (const Case& c : cluster_policy_cases()) ask(c);
}

TEST(Cases, EachSaysSomethingElse) {
  for (const auto* cases : {&network_policy_cases(), &cluster_policy_cases()}) {
    std::set<std::string> seen;
    for (const Case& c : *cases) {
      EXPECT_TRUE(seen.insert(std::string(c.policies) + c.from + c.to + std::to_string(c.protocol) +
                              "/" + std::to_string(c.port))
                      .second)
          << c.rule;
    }
  }
}

}  // namespace
}  // namespace podwire::tests
