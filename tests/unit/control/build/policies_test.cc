// NetworkPolicy as the builder compiles it. Every sentence of the API's text, and random clusters:
// tests/policy.
#include <gtest/gtest.h>

#include "tests/lib/protocols.h"
#include "tests/unit/control/build/cluster.h"

namespace podwire::control::build {
namespace {

const char* kPolicyBase = R"(
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.1.0.0/24]}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: a}}
---
apiVersion: v1
kind: Namespace
metadata: {name: lab, labels: {team: b}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web, tier: front}}
spec:
  nodeName: n1
  containers: [{name: c, ports: [{name: http, containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}]}]
status: {podIPs: [{ip: 10.1.0.2}, {ip: 'fd01::2'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec:
  nodeName: n2
  containers: [{name: c, ports: [{name: http, containerPort: 9090}]}]
status: {podIPs: [{ip: 10.2.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: guest, namespace: lab, labels: {app: web}}
spec: {nodeName: n2, containers: [{name: c}]}
status: {podIPs: [{ip: 10.2.0.3}]}
---
apiVersion: v1
kind: Pod
metadata: {name: agent, namespace: shop, labels: {app: db}}
spec: {nodeName: n2, hostNetwork: true, containers: [{name: c}]}
status: {podIPs: [{ip: 192.168.0.2}]}
)";

// The rules of one policy over web, the only pod of this node.
std::string policy(const std::string& spec, const std::string& name = "p") {
  return "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: " + name +
         ", namespace: shop}\nspec: " + spec + "\n";
}

class Policies : public testing::Test {
 protected:
  Policies() {
    cluster.apply(kPolicyBase);
    cluster.attach("shop/web", {"10.1.0.2", "fd01::2"});
  }
  void apply(const std::string& spec) { cluster.apply(policy(spec)); }
  bool in(const std::string& from, std::uint16_t port = 80, std::uint8_t protocol = kTcp) {
    return ask(from, from.find(':') == from.npos ? "10.1.0.2" : "fd01::2", port, protocol);
  }
  bool out(const std::string& to, std::uint16_t port = 80, std::uint8_t protocol = kTcp) {
    return ask(to.find(':') == to.npos ? "10.1.0.2" : "fd01::2", to, port, protocol);
  }
  bool ask(const std::string& from, const std::string& to, std::uint16_t port,
           std::uint8_t protocol, bool own_node = false) {
    return cluster.build()
        .policies->judge({ip(from), ip(to), net::be16(port), protocol, own_node})
        .allowed;
  }
  Cluster cluster;
};

TEST_F(Policies, NothingIsolatesAPodThatNoPolicySelects) {
  EXPECT_TRUE(in("8.8.8.8"));
  apply("{podSelector: {matchLabels: {app: other}}}");
  EXPECT_TRUE(in("8.8.8.8"));
}
TEST_F(Policies, SelectsOnlyPodsOfItsOwnNamespace) {
  cluster.apply(
      "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: "
      "lab}\nspec: {podSelector: {}}\n");
  EXPECT_TRUE(in("8.8.8.8"));
}
TEST_F(Policies, EmptySelectorSelectsAllAndNoRulesAllowNothing) {
  apply("{podSelector: {}}");
  EXPECT_FALSE(in("8.8.8.8"));
  EXPECT_FALSE(in("10.2.0.2"));
  EXPECT_FALSE(in("fd02::9"));
  EXPECT_TRUE(out("8.8.8.8"));
}
TEST_F(Policies, EmptyRuleAllowsEveryPeerPortAndProtocol) {
  apply("{podSelector: {}, ingress: [{}]}");
  EXPECT_TRUE(in("8.8.8.8", 1, kSctp) && in("10.2.0.3", 0, kIcmp) && in("fd02::9", 0, 47));
}
TEST_F(Policies, TypesAreIngressAlwaysAndEgressWhenItHasRules) {
  apply("{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 8.0.0.0/8}}]}]}");
  EXPECT_FALSE(in("8.8.8.8"));
  EXPECT_TRUE(out("8.8.8.8"));
  EXPECT_FALSE(out("9.9.9.9"));
}
TEST_F(Policies, EgressTypeAloneDoesNotIsolateIngress) {
  apply("{podSelector: {}, policyTypes: [Egress], ingress: [{from: [{podSelector: {}}]}]}");
  EXPECT_TRUE(in("8.8.8.8"));
  EXPECT_FALSE(out("8.8.8.8"));
}
TEST_F(Policies, PoliciesAdd) {
  apply("{podSelector: {}}");
  cluster.apply(
      policy("{podSelector: {matchLabels: {tier: front}}, ingress: [{from: [{podSelector: "
             "{matchLabels: {app: db}}}]}]}",
             "q"));
  EXPECT_TRUE(in("10.2.0.2"));
  EXPECT_FALSE(in("10.2.0.3"));
}
// What rows know of a kind of pod stays when its last pod goes: its number may be given to another
// kind only when they have forgotten it.
TEST_F(Policies, KindsOfPodsThatAreGoneLeaveNothingToThoseWithTheirNumbers) {
  apply("{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]}");
  const auto become = [&](const std::string& app, unsigned n) {
    cluster.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: db, namespace: shop, labels: {app: " + app +
        ", n: x" + std::to_string(n) +
        "}}\nspec: {nodeName: n2, containers: [{name: c}]}\n"
        "status: {podIPs: [{ip: 10.2.0.2}]}\n");
  };
  for (unsigned n = 0; n < 1500; ++n) {
    become("db", n);
    ASSERT_TRUE(in("10.2.0.2")) << n;
  }
  for (unsigned n = 0; n < 1500; ++n) {
    become("cache", n);
    ASSERT_FALSE(in("10.2.0.2")) << n;
  }
}
TEST_F(Policies, PodSelectorAloneMeansThePolicysNamespace) {
  apply("{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}");
  EXPECT_TRUE(in("10.2.0.2"));
  EXPECT_FALSE(in("10.2.0.3"));
  EXPECT_FALSE(in("8.8.8.8"));
}
TEST_F(Policies, NamespaceSelectorAloneMeansAllPodsThere) {
  apply("{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}]}]}");
  EXPECT_TRUE(in("10.2.0.3"));
  EXPECT_FALSE(in("10.2.0.2"));
}
TEST_F(Policies, NamespacesCarryTheirName) {
  apply(
      "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: "
      "{kubernetes.io/metadata.name: lab}}}]}]}");
  EXPECT_TRUE(in("10.2.0.3"));
  EXPECT_FALSE(in("10.2.0.2"));
}
TEST_F(Policies, BothSelectorsMustHold) {
  apply(
      "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}, "
      "podSelector: {matchLabels: {app: db}}}]}]}");
  EXPECT_FALSE(in("10.2.0.3"));
  EXPECT_FALSE(in("10.2.0.2"));
}
TEST_F(Policies, BothSelectorsEmptyMeanEveryPodNotEveryAddress) {
  apply("{podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {}}]}]}");
  EXPECT_TRUE(in("10.2.0.3") && in("10.2.0.2"));
  EXPECT_FALSE(in("8.8.8.8"));
}
TEST_F(Policies, ExpressionsTreatAbsentKeysAsKubernetesDoes) {
  apply(
      "{podSelector: {}, ingress: [{from: [{podSelector: {matchExpressions: [{key: tier, operator: "
      "NotIn, values: [front]}]}}]}]}");
  EXPECT_TRUE(in("10.2.0.2"));  // has no tier
}
TEST_F(Policies, HostNetworkPodsAreNobodysPeers) {
  apply("{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]}");
  EXPECT_FALSE(in("192.168.0.2"));
  apply("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.168.0.0/24}}]}]}");
  EXPECT_TRUE(in("192.168.0.2"));
}
TEST_F(Policies, FinishedPodsAreNobodysPeers) {
  apply("{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}");
  EXPECT_TRUE(in("10.2.0.2"));
  kube::Pod db = cluster.store.pods.at("shop/db");
  db.finished = true;
  cluster.writer.put(db);
  EXPECT_FALSE(in("10.2.0.2"));
}
TEST_F(Policies, IpBlockMatchesPodsNodesAndOthersMinusItsExceptions) {
  apply(
      "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.2.0.2/32, "
      "10.3.0.0/16]}}]}]}");
  EXPECT_TRUE(in("10.2.0.3"));
  EXPECT_FALSE(in("10.2.0.2"));
  EXPECT_FALSE(in("10.3.4.5"));
  EXPECT_TRUE(in("10.4.4.5"));
  EXPECT_FALSE(in("fd02::9"));  // the wrong family never matches
}
TEST_F(Policies, ExceptIsNoDeny) {
  apply(
      "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.2.0.0/16]}}, "
      "{ipBlock: {cidr: 10.2.0.2/32}}]}]}");
  EXPECT_TRUE(in("10.2.0.2"));
  EXPECT_FALSE(in("10.2.0.3"));
}
TEST_F(Policies, PortsDefaultToTcpAndMayBeRanges) {
  apply(
      "{podSelector: {}, ingress: [{ports: [{port: 80}, {protocol: UDP, port: 100, endPort: "
      "200}, {protocol: SCTP}]}]}");
  EXPECT_TRUE(in("8.8.8.8", 80));
  EXPECT_FALSE(in("8.8.8.8", 81));
  EXPECT_FALSE(in("8.8.8.8", 80, kUdp));
  EXPECT_TRUE(in("8.8.8.8", 100, kUdp) && in("8.8.8.8", 200, kUdp));
  EXPECT_FALSE(in("8.8.8.8", 201, kUdp));
  EXPECT_TRUE(in("8.8.8.8", 7, kSctp));
  EXPECT_FALSE(in("8.8.8.8", 0, kIcmp));  // no port of a rule with ports
}
TEST_F(Policies, IngressNamedPortIsThisPodsAndOfItsProtocol) {
  apply("{podSelector: {}, ingress: [{ports: [{port: http}, {port: dns}]}]}");
  EXPECT_TRUE(in("8.8.8.8", 8080));
  EXPECT_FALSE(in("8.8.8.8", 9090));
  EXPECT_FALSE(in("8.8.8.8", 53));  // dns is UDP here, the rule says TCP
  EXPECT_FALSE(in("8.8.8.8", 53, kUdp));
}
TEST_F(Policies, EgressNamedPortIsThePeersAndNeverAnAddresssOnly) {
  apply("{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}");
  EXPECT_TRUE(out("10.2.0.2", 9090));
  EXPECT_FALSE(out("10.2.0.2", 8080));
  EXPECT_FALSE(out("10.2.0.3", 9090));
  EXPECT_FALSE(out("8.8.8.8", 9090));
  kube::Pod guest = cluster.store.pods.at("lab/guest");
  guest.ports = {{"http", 7070, kTcp}};
  cluster.writer.put(guest);
  EXPECT_TRUE(out("10.2.0.3", 7070));  // a number that the name did not have before
}
TEST_F(Policies, OwnNodeComesInAlwaysAndIsNoExceptionOnTheWayOut) {
  apply("{podSelector: {}, policyTypes: [Ingress, Egress]}");
  EXPECT_TRUE(ask("192.168.0.1", "10.1.0.2", 80, kTcp, true));
  EXPECT_FALSE(in("192.168.0.1"));
  EXPECT_FALSE(out("192.168.0.1"));
}
TEST_F(Policies, IcmpFollowsRulesWithoutPorts) {
  apply("{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]}");
  EXPECT_TRUE(in("10.2.0.2", 0, kIcmp));
  EXPECT_FALSE(in("10.2.0.3", 0, kIcmp));
}
TEST_F(Policies, ChangedLabelsJudgeRunningPodsAnew) {
  apply("{podSelector: {matchLabels: {app: web}}}");
  EXPECT_FALSE(in("8.8.8.8"));
  kube::Pod web = cluster.store.pods.at("shop/web");
  web.meta.labels["app"] = "retired";
  cluster.writer.put(web);
  EXPECT_TRUE(in("8.8.8.8"));
  kube::Namespace lab = cluster.store.namespaces.at("lab");
  apply("{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: c}}}]}]}");
  EXPECT_FALSE(in("10.2.0.3"));
  lab.meta.labels["team"] = "c";
  cluster.writer.put(lab);
  EXPECT_TRUE(in("10.2.0.3"));
}
TEST_F(Policies, AttachedPodIsClosedUntilItsObjectIsKnown) {
  cluster.attach("shop/new", {"10.1.0.3"});
  EXPECT_FALSE(ask("8.8.8.8", "10.1.0.3", 80, kTcp));
  EXPECT_FALSE(ask("10.1.0.3", "8.8.8.8", 80, kTcp));
  EXPECT_TRUE(ask("192.168.0.1", "10.1.0.3", 80, kTcp, true));
  cluster.apply(
      "apiVersion: v1\nkind: Pod\nmetadata: {name: new, namespace: shop}\nspec: {nodeName: n1, "
      "containers: [{name: c}]}\n");
  EXPECT_TRUE(ask("8.8.8.8", "10.1.0.3", 80, kTcp));
}
TEST_F(Policies, RefusalNamesAPolicyThatIsolatesThePod) {
  apply("{podSelector: {}}");
  const auto& snapshot = cluster.build();
  const auto answer =
      snapshot.policies->judge({ip("8.8.8.8"), ip("10.1.0.2"), net::be16(80), kTcp, false});
  EXPECT_EQ(snapshot.policies->policy_name(answer.policy), "shop/p");
}

TEST_F(Policies, RefusalNamesThePolicyThatDenies) {
  apply("{podSelector: {}, ingress: [{}]}");
  cluster.apply(
      "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: "
      "guard}\nspec: {tier: Admin, priority: 1, subject: {namespaces: {}}, ingress: [{action: "
      "Deny, "
      "from: [{namespaces: {matchLabels: {team: b}}}]}]}\n");
  const auto& snapshot = cluster.build();
  const auto answer =
      snapshot.policies->judge({ip("10.2.0.3"), ip("10.1.0.2"), net::be16(80), kTcp, false});
  EXPECT_TRUE(answer.ingress_denied);
  EXPECT_EQ(snapshot.policies->policy_name(answer.policy), "guard");
}

TEST_F(Policies, PodsWithTheSamePoliciesShareARow) {
  apply("{podSelector: {}}");
  cluster.apply(
      "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: "
      "guard}\nspec: {tier: Baseline, priority: 1, subject: {namespaces: {}}, ingress: [{action: "
      "Deny, from: [{namespaces: {}}]}]}\n");
  cluster.apply(
      "apiVersion: v1\nkind: Pod\nmetadata: {name: twin, namespace: shop}\nspec: {nodeName: n1}\n");
  cluster.attach("shop/twin", {"10.1.0.3"});
  const auto& policies = *cluster.build().policies;
  EXPECT_EQ(policies.pod(ip("10.1.0.2"))->ingress, policies.pod(ip("10.1.0.3"))->ingress);
  const auto* before = policies.pod(ip("10.1.0.2"))->ingress.get();
  cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: elsewhere}\n");
  EXPECT_EQ(cluster.build().policies->pod(ip("10.1.0.2"))->ingress.get(), before);
}

TEST_F(Policies, GenerationStaysWhereNoAnswerMoves) {
  apply("{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]}");
  const auto generation = cluster.build().policy_generation;
  kube::Pod guest = cluster.store.pods.at("lab/guest");
  guest.meta.labels["version"] = "2";  // no rule of this node can see it
  cluster.writer.put(guest);
  EXPECT_EQ(cluster.build().policy_generation, generation);
  cluster.apply(
      "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: far, namespace: "
      "lab}\nspec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.2.0.0/16}}]}]}\n");
  EXPECT_EQ(cluster.build().policy_generation, generation);
  kube::Pod db = cluster.store.pods.at("shop/db");
  db.meta.labels["app"] = "web";
  cluster.writer.put(db);
  EXPECT_GT(cluster.build().policy_generation, generation);
}

}  // namespace
}  // namespace podwire::control::build
