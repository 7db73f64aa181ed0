// Questions over a small cluster, as a folder gives it and as a node has it in force.
#include "control/explain/explainer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "control/explain/offline.h"
#include "control/manifests/endpoints.h"
#include "control/manifests/namespaces.h"
#include "tests/unit/control/build/cluster.h"

namespace podwire::control::explain {
namespace {

using nlohmann::json;

constexpr const char* kCluster = R"(
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.1.0.0/24]}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
spec: {podCIDRs: [10.2.0.0/24]}
status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  nodeName: n1
  containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]
status: {podIPs: [{ip: 10.1.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web2, namespace: shop, labels: {app: web, side: far}}
spec:
  nodeName: n2
  containers: [{name: c, ports: [{name: http, containerPort: 9090}]}]
status: {podIPs: [{ip: 10.2.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop, labels: {app: client}}
spec: {nodeName: n1, containers: [{name: c}]}
status: {podIPs: [{ip: 10.1.0.3}]}
---
apiVersion: v1
kind: Pod
metadata: {name: guest, namespace: lab, labels: {app: client}}
spec: {nodeName: n2, containers: [{name: c}]}
status: {podIPs: [{ip: 10.2.0.3}]}
---
apiVersion: v1
kind: Pod
metadata: {name: pending, namespace: shop, labels: {app: client}}
spec: {containers: [{name: c}]}
---
apiVersion: v1
kind: Pod
metadata: {name: agent, namespace: shop, labels: {app: client}}
spec: {nodeName: n1, hostNetwork: true, containers: [{name: c}]}
status: {podIPs: [{ip: 192.168.0.1}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: shop}
spec:
  clusterIP: 10.96.0.1
  selector: {app: web}
  ports: [{name: main, port: 80, targetPort: http}, {name: other, port: 81, targetPort: 7000}]
---
apiVersion: v1
kind: Service
metadata: {name: none, namespace: shop}
spec: {clusterIP: 10.96.0.2, selector: {app: nobody}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: shop}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web-in, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
    - from: [{podSelector: {matchLabels: {app: nobody}}}]
      ports: [{port: 443}]
    - from: [{podSelector: {matchLabels: {app: client}}}]
      ports: [{port: http}, {protocol: UDP, port: 53}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web-more, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
    - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: lab}}}]
      ports: [{port: http}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: far-out, namespace: shop}
spec:
  podSelector: {matchLabels: {side: far}}
  policyTypes: [Egress]
  egress: [{to: [{ipBlock: {cidr: 10.1.0.0/24}}]}]
)";

class Explained : public testing::Test {
 protected:
  Explained() { apply(kCluster); }
  void apply(const std::string& yaml) {
    cluster.apply(yaml);
    namespaces.update(cluster.writer);
    endpoints.update(cluster.writer);
  }
  json ask(const std::string& from, const std::string& to, const std::string& port = "8080",
           const std::string& protocol = "TCP") {
    const json question{{"from", from}, {"to", to}, {"protocol", protocol}, {"port", port}};
    return json::parse(explainer.answer_lines(question.dump(), in_force));
  }
  // As podwired on n1 has it, with web and client attached.
  void run_node() {
    cluster.attach("shop/web", {"10.1.0.2"});
    cluster.attach("shop/client", {"10.1.0.3"});
    in_force.snapshot = &cluster.build();
    in_force.attachments = &cluster.attachments;
    ++in_force.version;
  }
  build::Cluster cluster;
  manifests::ImpliedNamespaces namespaces;
  manifests::Endpoints endpoints;
  Explainer explainer{cluster.store, "n1", 1000};
  InForce in_force;
};

TEST_F(Explained, NamesThePolicyAndTheRuleThatAllows) {
  for (const bool node : {false, true}) {
    if (node) run_node();
    const json allowed = ask("shop/client", "shop/web");
    EXPECT_EQ(allowed["verdict"], "allow") << allowed;
    EXPECT_EQ(allowed["egress"], (json{{"verdict", "allow"}, {"by", "not isolated"}}));
    EXPECT_EQ(allowed["ingress"], (json{{"verdict", "allow"},
                                        {"by", "policy"},
                                        {"tier", "NetworkPolicy"},
                                        {"policy", "shop/web-in"},
                                        {"rule", 1}}));
    // The same ports: compiled as one rule with the one above.
    const json other = ask("lab/guest", "shop/web");
    EXPECT_EQ(other["ingress"]["policy"], "shop/web-more") << other;
    EXPECT_EQ(other["ingress"]["rule"], 0);
  }
}

TEST_F(Explained, TellsTheNearestRuleOfARefusal) {
  for (const bool node : {false, true}) {
    if (node) run_node();
    const json refused = ask("shop/client", "shop/web", "8081");
    EXPECT_EQ(refused["verdict"], "deny");
    const json& ingress = refused["ingress"];
    EXPECT_EQ(ingress["by"], "default");
    EXPECT_EQ(ingress["policy"], "shop/web-in");
    EXPECT_EQ(ingress["isolatedBy"], (json{"shop/web-in", "shop/web-more"}));
    EXPECT_EQ(ingress["nearest"]["policy"], "shop/web-in");
    EXPECT_EQ(ingress["nearest"]["rule"], 1);
    EXPECT_EQ(ingress["nearest"]["differs"], json{"port"});
    EXPECT_EQ(ingress["nearest"]["text"],
              "policy shop/web-in ingress[1] allows TCP \"http\" (8080), UDP 53, asked was TCP "
              "8081");
    const json stranger = ask("203.0.113.9", "shop/web");
    EXPECT_EQ(stranger["ingress"]["nearest"]["text"],
              "policy shop/web-in ingress[1] does not name 203.0.113.9 in from");
  }
}

TEST_F(Explained, JudgesAnotherNodesEndAsThatNodeDoes) {
  run_node();
  const json far = ask("shop/client", "shop/web2", "9090");
  EXPECT_EQ(far["ingress"]["policy"], "shop/web-in") << far;
  EXPECT_EQ(ask("shop/client", "shop/web2", "8080")["verdict"], "deny");
  const json out = ask("shop/web2", "lab/guest", "80");
  EXPECT_EQ(out["egress"]["nearest"]["differs"], json{"peer"}) << out;
  EXPECT_EQ(out["egress"]["policy"], "shop/far-out");
  EXPECT_EQ(out["ingress"]["by"], "not isolated");
  // The one end refuses here, the other there.
  const json both = ask("shop/web2", "shop/web", "443");
  EXPECT_EQ(both["egress"]["verdict"], "allow");
  EXPECT_EQ(both["ingress"]["verdict"], "deny");
}

TEST_F(Explained, AnswersAreOfTheTablesInForce) {
  run_node();
  EXPECT_EQ(ask("shop/client", "shop/web")["verdict"], "allow");
  // In the store, but not in force yet.
  cluster.writer.remove(kube::Kind::network_policy, "shop/web-in");
  EXPECT_EQ(ask("shop/client", "shop/web")["verdict"], "allow");
  in_force.snapshot = &cluster.build();
  ++in_force.version;
  EXPECT_EQ(ask("shop/client", "shop/web")["verdict"], "deny");
}

TEST_F(Explained, FollowsAServiceToItsBackends) {
  for (const bool node : {false, true}) {
    if (node) run_node();
    for (const char* to : {"shop/shop", "service:shop/shop", "10.96.0.1"}) {
      const json both = ask("shop/client", to, "80");
      EXPECT_EQ(both["verdict"], "allow") << both;
      EXPECT_EQ(both["service"], "shop/shop");
      ASSERT_EQ(both["paths"].size(), 2U) << both;
      EXPECT_EQ(both["paths"][0]["to"], "shop/web");
      EXPECT_EQ(both["paths"][0]["port"], 8080);
      EXPECT_EQ(both["paths"][1]["address"], "10.2.0.2");
      EXPECT_EQ(both["paths"][1]["port"], 9090);
    }
    EXPECT_EQ(ask("shop/client", "shop/shop", "main")["verdict"], "allow");
    EXPECT_EQ(ask("shop/client", "shop/shop", "other")["verdict"], "deny");
    const json no_port = ask("shop/client", "shop/shop", "82");
    EXPECT_EQ(no_port["verdict"], "deny");
    EXPECT_EQ(no_port["reason"], "the Service has no TCP port 82");
    EXPECT_EQ(ask("shop/client", "shop/none", "80")["reason"], "the Service has no endpoints");
    // 8080 is web's http, and web2's is 9090.
    const json mixed = ask("shop/client", "shop/headless", "8080");
    EXPECT_EQ(mixed["verdict"], "unknown") << mixed;
    EXPECT_EQ(mixed["reason"],
              "it depends on the backend that is chosen: 1 of 2 paths are allowed");
    EXPECT_EQ(mixed["ingress"]["verdict"], "deny");
    const json from = ask("shop/shop", "lab/guest", "80");
    EXPECT_EQ(from["pathsJudged"], 2) << from;
  }
}

TEST_F(Explained, NodeAndHostNetworkReachTheirOwnPods) {
  for (const bool node : {false, true}) {
    if (node) run_node();
    for (const char* from : {"node", "node:n1", "192.168.0.1", "shop/agent"}) {
      EXPECT_EQ(ask(from, "shop/web", "1")["ingress"]["by"], "own node") << from;
    }
    EXPECT_EQ(ask("node:n2", "shop/web", "1")["verdict"], "deny");
    EXPECT_EQ(ask("shop/client", "shop/agent", "1")["ingress"]["by"], "host network");
    EXPECT_EQ(ask("shop/web2", "shop/web2", "1")["ingress"]["by"], "loopback");
  }
}

TEST_F(Explained, APodWithoutAnAddressIsJudgedByItsLabels) {
  EXPECT_EQ(ask("shop/pending", "shop/web")["verdict"], "allow");
  EXPECT_EQ(ask("shop/pending", "shop/web", "1")["verdict"], "deny");
  const json unsure = ask("shop/web2", "shop/pending", "1");
  EXPECT_EQ(unsure["verdict"], "unknown") << unsure;
  EXPECT_EQ(unsure["reason"], "Pod shop/pending has no address yet, and a policy names addresses");
}

TEST_F(Explained, WhatIsNotKnownHasAReason) {
  const auto reason = [&](const std::string& from, const std::string& to) {
    const json answer = ask(from, to);
    EXPECT_EQ(answer["verdict"], "unknown");
    return answer["reason"].get<std::string>();
  };
  EXPECT_EQ(reason("shop/x", "shop/web"), "from: there is no Pod or Service shop/x");
  EXPECT_EQ(reason("shop/web", "pod:shop/shop"), "to: there is no Pod shop/shop");
  EXPECT_EQ(reason("node:n9", "shop/web"), "from: there is no Node n9");
  EXPECT_EQ(reason("web", "shop/web"),
            "from: \"web\" is not namespace/name, node, node:name or an address");
  EXPECT_EQ(reason("fd00::1", "shop/web"), "the two have no addresses of one family");
  EXPECT_EQ(ask("shop/web", "shop/client", "http")["reason"],
            "shop/client has no TCP port \"http\"");
  in_force.attachments = &cluster.attachments;
  ++in_force.version;
  EXPECT_EQ(reason("shop/client", "shop/web"), "podwired has not read every object yet");
}

TEST_F(Explained, EachLineHasItsAnswerInItsPlace) {
  const std::string good = R"({"from":"shop/client","to":"shop/web","port":8080})";
  const std::string answers = explainer.answer_lines(
      good +
      "\n\nnull\n{\"from\":1,\"to\":\"a/b\",\"port\":1}\n{\"from\":\"a/b\",\"to\":\"a/b\","
      "\"prot\":1}\n{\"from\":\"a/b\",\"to\":\"a/b\",\"port\":0}\n" +
      good);
  std::vector<json> lines;
  for (std::size_t at = 0; at < answers.size();) {
    const std::size_t end = answers.find('\n', at);
    lines.push_back(json::parse(answers.substr(at, end - at)));
    at = end + 1;
  }
  ASSERT_EQ(lines.size(), 7U);
  EXPECT_EQ(lines[0]["verdict"], "allow");
  EXPECT_EQ(lines[1]["error"], "the line is not a JSON object");
  EXPECT_EQ(lines[2]["error"], "the line is not a JSON object");
  EXPECT_EQ(lines[3]["error"], "from: is not a string");
  EXPECT_EQ(lines[4]["error"], "\"prot\" is no part of a question: from, to, protocol, port");
  EXPECT_EQ(lines[5]["error"], "port: 0 is not between 1 and 65535");
  EXPECT_EQ(lines[6], lines[0]);
}

// Whatever was asked before, and however few pods it may remember.
TEST_F(Explained, AnswersDependOnNothingThatWasAskedBefore) {
  // Alike but for the ipBlock around the last.
  for (const char* pod : {"c1:10.1.0.11", "c2:10.1.0.12", "c3:10.1.0.13", "c4:10.3.0.14"}) {
    const std::string text = pod;
    apply("apiVersion: v1\nkind: Pod\nmetadata: {name: " + text.substr(0, 2) +
          ", namespace: shop, labels: {side: far, app: web}}\nspec: {nodeName: n2, containers: "
          "[{name: c}]}\nstatus: {podIPs: [{ip: " +
          text.substr(3) + "}]}\n");
  }
  EXPECT_EQ(ask("shop/c1", "shop/c2")["egress"]["by"], "policy");
  EXPECT_EQ(ask("shop/c2", "shop/c1")["ingress"]["by"], "default");
  EXPECT_EQ(ask("shop/c2", "shop/c4")["egress"]["by"], "default");
  EXPECT_EQ(ask("shop/c3", "shop/c3")["egress"]["by"], "loopback");
  Explainer forgetful(cluster.store, "n1", 1);
  Explainer ready(cluster.store, "n1", 1000);
  ready.prepare_all();
  const char* ends[] = {"shop/web",   "shop/web2", "shop/client", "lab/guest", "shop/pending",
                        "shop/agent", "shop/shop", "203.0.113.1", "shop/c1",   "shop/c2",
                        "10.1.0.13",  "shop/c3",   "shop/c4"};
  for (const char* from : ends) {
    for (const char* to : ends) {
      for (const char* port : {"80", "8080", "9090"}) {
        const json question{{"from", from}, {"to", to}, {"port", port}};
        const std::string expected =
            Explainer(cluster.store, "n1", 1000).answer_lines(question.dump());
        EXPECT_EQ(explainer.answer_lines(question.dump()), expected);
        EXPECT_EQ(forgetful.answer_lines(question.dump()), expected);
        EXPECT_EQ(ready.answer_lines(question.dump()), expected);
      }
    }
  }
}

}  // namespace
}  // namespace podwire::control::explain
