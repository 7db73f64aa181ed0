#include <cstdint>

#include "tests/lib/protocols.h"
#include "tests/policy/cases.h"

namespace podwire::tests {

const char* const kCluster = R"(
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: a}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: lab, labels: {team: b}}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web, tier: front}}
spec:
  nodeName: n1
  containers:
    - {name: c, ports: [{name: http, containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}]}
  initContainers:
    - {name: i, ports: [{name: early, containerPort: 7001}]}
    - {name: s, restartPolicy: Always, ports: [{name: side, containerPort: 7002}]}
status: {podIPs: [{ip: 10.1.0.2}, {ip: 'fd01::2'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: solo, namespace: shop, labels: {app: solo}}
spec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 9999}]}]}
status: {podIPs: [{ip: 10.1.0.4}, {ip: 'fd01::4'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec: {nodeName: n2, containers: [{name: c, ports: [{name: http, containerPort: 9090}]}]}
status: {podIPs: [{ip: 10.2.0.2}, {ip: 'fd02::2'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: guest, namespace: lab, labels: {app: web}}
spec: {nodeName: n2, containers: [{name: c}]}
status: {podIPs: [{ip: 10.2.0.3}, {ip: 'fd02::3'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: done, namespace: shop, labels: {app: db}}
spec: {nodeName: n2, containers: [{name: c}]}
status: {phase: Succeeded, podIPs: [{ip: 10.2.0.4}]}
---
{apiVersion: v1, kind: Pod, metadata: {name: new, namespace: shop, labels: {app: db}}, spec: {nodeName: n2}}
---
apiVersion: v1
kind: Pod
metadata: {name: agent, namespace: shop, labels: {app: db}}
spec: {nodeName: n2, hostNetwork: true, containers: [{name: c}]}
status: {podIPs: [{ip: 192.168.0.2}, {ip: 'fd99::2'}]}
)";

namespace {

// Over web alone.
#define WEB "podSelector: {matchLabels: {app: web}}"

// clang-format off
const std::vector<Case> kNetworkPolicyCases{
  // Isolation.
  {"a pod that no policy selects is not isolated", "", kOut, kWeb, kTcp, 80, true},
  {"not selected by this one", "N {podSelector: {matchLabels: {app: db}}}", kOut, kWeb, kTcp, 80, true},
  {"selected, no rules: nothing comes in", "N {" WEB "}", kDb, kWeb, kTcp, 80, false},
  {"also IPv6", "N {" WEB "}", kDb6, kWeb6, kTcp, 80, false},
  {"also SCTP", "N {" WEB "}", kDb, kWeb, kSctp, 80, false},
  {"also ICMP", "N {" WEB "}", kDb, kWeb, kIcmp, 0, false},
  {"isolated inwards is not isolated outwards", "N {" WEB "}", kWeb, kDb, kTcp, 80, true},
  {"an empty podSelector selects every pod of the namespace", "N {podSelector: {}}", kOut, kSolo, kTcp, 80, false},
  {"an absent one too", "N {}", kOut, kSolo, kTcp, 80, false},
  {"only pods of the policy's own namespace", "L {podSelector: {}}", kOut, kWeb, kTcp, 80, true},
  {"both ends must agree", "N {podSelector: {matchLabels: {app: solo}}, policyTypes: [Egress]}", kSolo, kWeb, kTcp, 80, false},
  {"policies add up", "N {" WEB "}\n---\nM {" WEB ", ingress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]}", kDb, kWeb, kTcp, 80, true},
  {"but no further than they say", "N {" WEB "}\n---\nM {" WEB ", ingress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]}", kSolo, kWeb, kTcp, 80, false},
  // policyTypes.
  {"types: Ingress always by default", "N {" WEB ", egress: [{}]}", kDb, kWeb, kTcp, 80, false},
  {"types: Egress too when it has rules", "N {" WEB ", egress: [{to: [{ipBlock: {cidr: 9.0.0.0/8}}]}]}", kWeb, kOut, kTcp, 80, false},
  {"types: an empty egress list is no rules", "N {" WEB ", egress: []}", kWeb, kOut, kTcp, 80, true},
  {"types: [Egress] leaves ingress open", "N {" WEB ", policyTypes: [Egress]}", kDb, kWeb, kTcp, 80, true},
  {"types: [Egress] without rules denies all", "N {" WEB ", policyTypes: [Egress]}", kWeb, kDb, kTcp, 80, false},
  {"types: ingress rules do not isolate under [Egress]", "N {" WEB ", policyTypes: [Egress], ingress: [{from: [{podSelector: {}}]}]}", kOut, kWeb, kTcp, 80, true},
  {"types: [Ingress] ignores egress rules", "N {" WEB ", policyTypes: [Ingress], egress: [{to: [{ipBlock: {cidr: 9.0.0.0/8}}]}]}", kWeb, kOut, kTcp, 80, true},
  // Empty and absent.
  {"ingress [] allows nothing", "N {" WEB ", ingress: []}", kDb, kWeb, kTcp, 80, false},
  {"ingress [{}] allows any peer", "N {" WEB ", ingress: [{}]}", kOut, kWeb, kTcp, 80, true},
  {"and any protocol", "N {" WEB ", ingress: [{}]}", kOut6, kWeb6, kSctp, 80, true},
  {"and what has no ports", "N {" WEB ", ingress: [{}]}", kOut, kWeb, kIgmp, 0, true},
  {"from [] is any peer", "N {" WEB ", ingress: [{from: [], ports: [{port: 80}]}]}", kOut, kWeb, kTcp, 80, true},
  {"ports [] is any port", "N {" WEB ", ingress: [{from: [{podSelector: {}}], ports: []}]}", kDb, kWeb, kUdp, 9, true},
  {"from absent, ports given", "N {" WEB ", ingress: [{ports: [{port: 80}]}]}", kOut, kWeb, kTcp, 81, false},
  {"podSelector {} alone: pods of the policy's namespace", "N {" WEB ", ingress: [{from: [{podSelector: {}}]}]}", kDb, kWeb, kTcp, 80, true},
  {"and of no other", "N {" WEB ", ingress: [{from: [{podSelector: {}}]}]}", kGuest, kWeb, kTcp, 80, false},
  {"namespaceSelector {} alone: every pod", "N {" WEB ", ingress: [{from: [{namespaceSelector: {}}]}]}", kGuest, kWeb, kTcp, 80, true},
  {"every pod is not every address", "N {" WEB ", ingress: [{from: [{namespaceSelector: {}}]}]}", kOut, kWeb, kTcp, 80, false},
  {"both {}: every pod, no node", "N {" WEB ", ingress: [{from: [{namespaceSelector: {}, podSelector: {}}]}]}", kNode2, kWeb, kTcp, 80, false},
  {"both {}: IPv6 too", "N {" WEB ", ingress: [{from: [{namespaceSelector: {}, podSelector: {}}]}]}", kGuest6, kWeb6, kTcp, 80, true},
  {"both selectors must hold", "N {" WEB ", ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}, podSelector: {matchLabels: {app: db}}}]}]}", kGuest, kWeb, kTcp, 80, false},
  {"two peers are alternatives", "N {" WEB ", ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}, {podSelector: {matchLabels: {app: db}}}]}]}", kDb, kWeb, kTcp, 80, true},
  {"namespaces by label", "N {" WEB ", ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}]}]}", kDb, kWeb, kTcp, 80, false},
  {"namespaces carry their name", "N {" WEB ", ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: lab}}}]}]}", kGuest, kWeb, kTcp, 80, true},
  // Operators.
  {"In: one of the values", "N {" WEB ", ingress: [{from: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [x, db]}]}}]}]}", kDb, kWeb, kTcp, 80, true},
  {"In: not without the key", "N {" WEB ", ingress: [{from: [{podSelector: {matchExpressions: [{key: tier, operator: In, values: [front]}]}}]}]}", kDb, kWeb, kTcp, 80, false},
  {"NotIn: also without the key", "N {" WEB ", ingress: [{from: [{podSelector: {matchExpressions: [{key: tier, operator: NotIn, values: [front]}]}}]}]}", kDb, kWeb, kTcp, 80, true},
  {"NotIn: not with such a value", "N {" WEB ", ingress: [{from: [{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [db]}]}}]}]}", kDb, kWeb, kTcp, 80, false},
  {"Exists", "N {" WEB ", ingress: [{from: [{podSelector: {matchExpressions: [{key: tier, operator: Exists}]}}]}]}", kDb, kWeb, kTcp, 80, false},
  {"DoesNotExist", "N {" WEB ", ingress: [{from: [{podSelector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}}]}]}", kDb, kWeb, kTcp, 80, true},
  {"labels and expressions must all hold", "N {" WEB ", ingress: [{from: [{podSelector: {matchLabels: {app: db}, matchExpressions: [{key: tier, operator: Exists}]}}]}]}", kDb, kWeb, kTcp, 80, false},
  {"an expression in the subject", "N {podSelector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}}", kOut, kWeb, kTcp, 80, true},
  // ipBlock.
  {"a block matches what is outside", "N {" WEB ", ingress: [{from: [{ipBlock: {cidr: 8.0.0.0/8}}]}]}", kOut, kWeb, kTcp, 80, true},
  {"and pods' addresses", "N {" WEB ", ingress: [{from: [{ipBlock: {cidr: 10.2.0.0/16}}]}]}", kDb, kWeb, kTcp, 80, true},
  {"and nodes'", "N {" WEB ", ingress: [{from: [{ipBlock: {cidr: 192.168.0.0/24}}]}]}", kNode2, kWeb, kTcp, 80, true},
  {"except takes out", "N {" WEB ", ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.2.0.2/32]}}]}]}", kDb, kWeb, kTcp, 80, false},
  {"and nothing else", "N {" WEB ", ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.2.0.2/32]}}]}]}", kGuest, kWeb, kTcp, 80, true},
  {"any of several excepts", "N {" WEB ", ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [8.0.0.0/8, 10.0.0.0/8]}}]}]}", kOut, kWeb, kTcp, 80, false},
  {"except is no deny: another rule may allow", "N {" WEB ", ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.2.0.2/32]}}, {podSelector: {matchLabels: {app: db}}}]}]}", kDb, kWeb, kTcp, 80, true},
  {"IPv6 blocks", "N {" WEB ", ingress: [{from: [{ipBlock: {cidr: 'fd02::/64', except: ['fd02::3/128']}}]}]}", kDb6, kWeb6, kTcp, 80, true},
  {"IPv6 except", "N {" WEB ", ingress: [{from: [{ipBlock: {cidr: 'fd02::/64', except: ['fd02::3/128']}}]}]}", kGuest6, kWeb6, kTcp, 80, false},
  {"the other family never matches", "N {" WEB ", ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}", kOut6, kWeb6, kTcp, 80, false},
  {"egress blocks", "N {" WEB ", policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 8.8.8.8/32}}]}]}", kWeb, kOut, kTcp, 80, true},
  // Ports.
  {"the protocol defaults to TCP", "N {" WEB ", ingress: [{ports: [{port: 80}]}]}", kDb, kWeb, kUdp, 80, false},
  {"a protocol without port is all of its ports", "N {" WEB ", ingress: [{ports: [{protocol: UDP}]}]}", kDb, kWeb, kUdp, 12345, true},
  {"and of no other protocol", "N {" WEB ", ingress: [{ports: [{protocol: UDP}]}]}", kDb, kWeb, kTcp, 12345, false},
  {"endPort is inclusive", "N {" WEB ", ingress: [{ports: [{port: 80, endPort: 90}]}]}", kDb, kWeb, kTcp, 90, true},
  {"and the end", "N {" WEB ", ingress: [{ports: [{port: 80, endPort: 90}]}]}", kDb, kWeb, kTcp, 91, false},
  {"SCTP is a protocol of its own", "N {" WEB ", ingress: [{ports: [{protocol: SCTP, port: 80}]}]}", kDb, kWeb, kSctp, 80, true},
  {"SCTP rules isolate TCP", "N {" WEB ", ingress: [{ports: [{protocol: SCTP, port: 80}]}]}", kDb, kWeb, kTcp, 80, false},
  {"peers and ports must both match", "N {" WEB ", ingress: [{from: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: 80}]}]}", kDb, kWeb, kTcp, 81, false},
  {"ICMP follows the peers of rules without ports", "N {" WEB ", ingress: [{from: [{podSelector: {}}]}]}", kDb, kWeb, kIcmp, 0, true},
  {"ICMP is not in rules with ports", "N {" WEB ", ingress: [{ports: [{protocol: TCP}]}]}", kDb6, kWeb6, kIcmp6, 0, false},
  // Named ports.
  {"a name is this pod's port", "N {podSelector: {}, ingress: [{ports: [{port: http}]}]}", kDb, kWeb, kTcp, 8080, true},
  {"and another number for another pod", "N {podSelector: {}, ingress: [{ports: [{port: http}]}]}", kDb, kSolo, kTcp, 9999, true},
  {"not that of the first", "N {podSelector: {}, ingress: [{ports: [{port: http}]}]}", kDb, kSolo, kTcp, 8080, false},
  {"of the same protocol only", "N {" WEB ", ingress: [{ports: [{port: dns}]}]}", kDb, kWeb, kTcp, 53, false},
  {"with its protocol", "N {" WEB ", ingress: [{ports: [{protocol: UDP, port: dns}]}]}", kDb, kWeb, kUdp, 53, true},
  {"a name that the pod does not have matches nothing", "N {" WEB ", ingress: [{ports: [{port: nix}]}]}", kDb, kWeb, kTcp, 8080, false},
  {"restartable init containers count", "N {" WEB ", ingress: [{ports: [{port: side}]}]}", kDb, kWeb, kTcp, 7002, true},
  {"others do not", "N {" WEB ", ingress: [{ports: [{port: early}]}]}", kDb, kWeb, kTcp, 7001, false},
  {"egress: the name is the peer's port", "N {" WEB ", policyTypes: [Egress], egress: [{ports: [{port: http}]}]}", kWeb, kDb, kTcp, 9090, true},
  {"egress: not the pod's own", "N {" WEB ", policyTypes: [Egress], egress: [{ports: [{port: http}]}]}", kWeb, kDb, kTcp, 8080, false},
  {"egress: an address of no pod has no names", "N {" WEB ", policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: http}]}]}", kWeb, kOut, kTcp, 9090, false},
  {"egress: a pod within a block has them", "N {" WEB ", policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: http}]}]}", kWeb, kDb, kTcp, 9090, true},
  // Whom selectors do not find.
  {"a pod on its host's network is no pod", "N {" WEB ", ingress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]}", kNode2, kWeb, kTcp, 80, false},
  {"a finished pod matches no selector", "N {" WEB ", ingress: [{from: [{podSelector: {matchLabels: {app: db}}}]}]}", kDone, kWeb, kTcp, 80, false},
  {"its address is one like others", "N {" WEB ", ingress: [{from: [{ipBlock: {cidr: 10.2.0.4/32}}]}]}", kDone, kWeb, kTcp, 80, true},
  // The node, and the pod itself.
  {"the pod's own node always comes in", "N {" WEB "}", "192.168.0.1", kWeb, kTcp, 80, true, true},
  {"another node does not", "N {" WEB "}", kNode2, kWeb, kTcp, 80, false},
  {"the way out to the own node is no exception", "N {" WEB ", policyTypes: [Egress]}", kWeb, "192.168.0.1", kTcp, 80, false},
  {"a pod always reaches itself", "N {" WEB ", policyTypes: [Ingress, Egress]}", kWeb, kWeb, kTcp, 80, true},
  {"by IPv6 too", "N {" WEB ", policyTypes: [Ingress, Egress]}", kWeb6, kWeb6, kTcp, 80, true},
};
// clang-format on

}  // namespace

const std::vector<Case>& network_policy_cases() {
  return kNetworkPolicyCases;
}

}  // namespace podwire::tests
