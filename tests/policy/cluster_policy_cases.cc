#include <cstdint>

#include "tests/lib/protocols.h"
#include "tests/policy/cases.h"

namespace podwire::tests {
namespace {

#define ALL "subject: {namespaces: {}}"
#define ADMIN "C {tier: Admin, priority: 10, " ALL ", "
#define LATER "D {tier: Admin, priority: 20, " ALL ", "
#define BASE "B {tier: Baseline, priority: 10, " ALL ", "
#define PODS "from: [{namespaces: {}}]"
#define NEXT "\n---\n"

// clang-format off
const std::vector<Case> kClusterPolicyCases{
  // Tiers.
  {"Admin denies before NetworkPolicy allows", ADMIN "ingress: [{action: Deny, " PODS "}]}" NEXT "N {ingress: [{}]}", kDb, kWeb, kTcp, 80, false},
  {"Admin accepts before NetworkPolicy isolates", ADMIN "ingress: [{action: Accept, " PODS "}]}" NEXT "N {}", kDb, kWeb, kTcp, 80, true},
  {"Admin's Pass leaves it to NetworkPolicy", ADMIN "ingress: [{action: Pass, " PODS "}, {action: Accept, " PODS "}]}" NEXT "N {}", kDb, kWeb, kTcp, 80, false},
  {"NetworkPolicy decides before Baseline", BASE "ingress: [{action: Deny, " PODS "}]}" NEXT "N {ingress: [{}]}", kDb, kWeb, kTcp, 80, true},
  {"NetworkPolicy always decides for pods that it isolates", BASE "ingress: [{action: Accept, " PODS "}]}" NEXT "N {}", kDb, kWeb, kTcp, 80, false},
  {"Baseline decides for pods that none isolates", BASE "ingress: [{action: Deny, " PODS "}]}", kDb, kWeb, kTcp, 80, false},
  {"Admin's Pass and no NetworkPolicy: Baseline", ADMIN "ingress: [{action: Pass, " PODS "}]}" NEXT BASE "ingress: [{action: Deny, " PODS "}]}", kDb, kWeb, kTcp, 80, false},
  {"Baseline's Pass: the default, which allows", BASE "ingress: [{action: Pass, " PODS "}, {action: Deny, " PODS "}]}", kDb, kWeb, kTcp, 80, true},
  {"no implicit isolation", ADMIN "ingress: [{action: Accept, from: [{pods: {podSelector: {matchLabels: {app: solo}}}}]}]}", kDb, kWeb, kTcp, 80, true},
  {"no rules say nothing", ADMIN "ingress: []}", kDb, kWeb, kTcp, 80, true},
  {"egress rules are about egress", ADMIN "egress: [{action: Deny, to: [{namespaces: {}}]}]}", kDb, kWeb, kTcp, 80, true},
  {"Accept on the way out leaves the way in", ADMIN "egress: [{action: Accept, to: [{namespaces: {}}]}], ingress: [{action: Deny, " PODS "}]}", kSolo, kWeb, kTcp, 80, false},
  // Order.
  {"the lower priority goes first", ADMIN "ingress: [{action: Accept, " PODS "}]}" NEXT LATER "ingress: [{action: Deny, " PODS "}]}", kDb, kWeb, kTcp, 80, true},
  {"and the other way round", ADMIN "ingress: [{action: Deny, " PODS "}]}" NEXT LATER "ingress: [{action: Accept, " PODS "}]}", kDb, kWeb, kTcp, 80, false},
  {"numbers, not texts: 9 goes before 10", ADMIN "ingress: [{action: Deny, " PODS "}]}" NEXT "D {tier: Admin, priority: 9, " ALL ", ingress: [{action: Accept, " PODS "}]}", kDb, kWeb, kTcp, 80, true},
  {"Pass skips the tier's later policies", ADMIN "ingress: [{action: Pass, " PODS "}]}" NEXT LATER "ingress: [{action: Deny, " PODS "}]}", kDb, kWeb, kTcp, 80, true},
  {"rules in their order", ADMIN "ingress: [{action: Deny, from: [{pods: {podSelector: {matchLabels: {app: db}}}}]}, {action: Accept, " PODS "}]}", kDb, kWeb, kTcp, 80, false},
  {"what the first does not match the next may", ADMIN "ingress: [{action: Deny, from: [{pods: {podSelector: {matchLabels: {app: db}}}}]}, {action: Accept, " PODS "}]}" NEXT "N {}", kGuest, kWeb, kTcp, 80, true},
  // Subjects and peers.
  {"subject: namespaces by label", "C {tier: Admin, priority: 1, subject: {namespaces: {matchLabels: {team: b}}}, ingress: [{action: Deny, " PODS "}]}", kDb, kWeb, kTcp, 80, true},
  {"subject: pods by both", "C {tier: Admin, priority: 1, subject: {pods: {namespaceSelector: {matchLabels: {team: a}}, podSelector: {matchLabels: {app: web}}}}, ingress: [{action: Deny, " PODS "}]}", kDb, kWeb, kTcp, 80, false},
  {"subject: other pods there are not it", "C {tier: Admin, priority: 1, subject: {pods: {namespaceSelector: {matchLabels: {team: a}}, podSelector: {matchLabels: {app: web}}}}, ingress: [{action: Deny, " PODS "}]}", kDb, kSolo, kTcp, 80, true},
  {"subject: without a namespaceSelector pods of all", "C {tier: Admin, priority: 1, subject: {pods: {podSelector: {matchLabels: {app: web}}}}, ingress: [{action: Deny, " PODS "}]}", kDb, kWeb, kTcp, 80, false},
  {"peer: namespaces by label", ADMIN "ingress: [{action: Deny, from: [{namespaces: {matchLabels: {team: b}}}]}]}", kGuest, kWeb, kTcp, 80, false},
  {"peer: not those of another", ADMIN "ingress: [{action: Deny, from: [{namespaces: {matchLabels: {team: b}}}]}]}", kDb, kWeb, kTcp, 80, true},
  {"peer: IPv6", ADMIN "ingress: [{action: Deny, from: [{namespaces: {matchLabels: {team: b}}}]}]}", kGuest6, kWeb6, kTcp, 80, false},
  {"peer: every pod is not every address", ADMIN "ingress: [{action: Deny, " PODS "}]}", kOut, kWeb, kTcp, 80, true},
  {"peer: a pod on its host's network is no pod", ADMIN "ingress: [{action: Deny, " PODS "}]}", kNode2, kWeb, kTcp, 80, true},
  {"networks match what is outside", ADMIN "egress: [{action: Deny, to: [{networks: [8.0.0.0/8]}]}]}", kWeb, kOut, kTcp, 80, false},
  {"networks match pods too", ADMIN "egress: [{action: Deny, to: [{networks: [0.0.0.0/0]}]}]}", kWeb, kDb, kTcp, 80, false},
  {"networks match ICMP", ADMIN "egress: [{action: Deny, to: [{networks: [0.0.0.0/0]}]}]}", kWeb, kOut, kIcmp, 0, false},
  {"networks: any of them", ADMIN "egress: [{action: Deny, to: [{networks: ['fd00::/8', 8.8.8.8/32]}]}]}", kWeb, kOut, kTcp, 80, false},
  {"networks: of their own family", ADMIN "egress: [{action: Deny, to: [{networks: [0.0.0.0/0]}]}]}", kWeb6, kGuest6, kTcp, 80, true},
  // Protocols.
  {"no protocols: all", ADMIN "ingress: [{action: Deny, " PODS "}]}", kDb, kWeb, kSctp, 7, false},
  {"tcp by number", ADMIN "ingress: [{action: Deny, " PODS ", protocols: [{tcp: {destinationPort: {number: 80}}}]}]}", kDb, kWeb, kTcp, 80, false},
  {"and no other number", ADMIN "ingress: [{action: Deny, " PODS ", protocols: [{tcp: {destinationPort: {number: 80}}}]}]}", kDb, kWeb, kTcp, 81, true},
  {"and no other protocol", ADMIN "ingress: [{action: Deny, " PODS ", protocols: [{tcp: {destinationPort: {number: 80}}}]}]}", kDb, kWeb, kUdp, 80, true},
  {"a range holds its ends", ADMIN "ingress: [{action: Deny, " PODS ", protocols: [{sctp: {destinationPort: {range: {start: 5, end: 7}}}}]}]}", kDb, kWeb, kSctp, 7, false},
  {"a protocol without port is all of its ports", ADMIN "ingress: [{action: Deny, " PODS ", protocols: [{udp: {}}]}]}", kDb, kWeb, kUdp, 999, false},
  {"ICMP is not in rules with protocols", ADMIN "ingress: [{action: Deny, " PODS ", protocols: [{tcp: {}}, {udp: {}}]}]}", kDb, kWeb, kIcmp, 0, true},
  {"a named port is the subject's on the way in", ADMIN "ingress: [{action: Deny, " PODS ", protocols: [{destinationNamedPort: http}]}]}", kDb, kWeb, kTcp, 8080, false},
  {"of whatever protocol it is", ADMIN "ingress: [{action: Deny, " PODS ", protocols: [{destinationNamedPort: dns}]}]}", kDb, kWeb, kUdp, 53, false},
  {"and of no other", ADMIN "ingress: [{action: Deny, " PODS ", protocols: [{destinationNamedPort: dns}]}]}", kDb, kWeb, kTcp, 53, true},
  {"and the peer's on the way out", ADMIN "egress: [{action: Deny, to: [{namespaces: {}}], protocols: [{destinationNamedPort: http}]}]}", kWeb, kDb, kTcp, 9090, false},
  {"not the subject's", ADMIN "egress: [{action: Deny, to: [{namespaces: {}}], protocols: [{destinationNamedPort: http}]}]}", kWeb, kDb, kTcp, 8080, true},
  // Fail closed.
  {"an unknown peer: Accept matches nothing", ADMIN "egress: [{action: Accept, to: [{nodes: {}}, {namespaces: {}}]}]}" NEXT "N {policyTypes: [Egress]}", kWeb, kDb, kTcp, 80, false},
  {"an unknown peer: Deny denies all", ADMIN "egress: [{action: Deny, to: [{domainNames: [kubernetes.io]}]}]}", kWeb, kOut, kTcp, 80, false},
  {"an unknown peer: Pass denies all", ADMIN "egress: [{action: Pass, to: [{}]}]}", kWeb, kDb, kTcp, 80, false},
  {"after the rules before it", ADMIN "egress: [{action: Accept, to: [{namespaces: {}}]}, {action: Deny, to: [{nodes: {}}]}]}", kWeb, kDb, kTcp, 80, true},
  // What is above all tiers.
  {"a pod always reaches itself", ADMIN "ingress: [{action: Deny, " PODS "}], egress: [{action: Deny, to: [{namespaces: {}}]}]}", kWeb, kWeb, kTcp, 80, true},
  {"the own node always comes in", ADMIN "ingress: [{action: Deny, " PODS "}]}", "192.168.0.1", kWeb, kTcp, 80, true, true},
};
// clang-format on

}  // namespace

const std::vector<Case>& cluster_policy_cases() {
  return kClusterPolicyCases;
}

}  // namespace podwire::tests
