// The documentation of NetworkPolicy and ClusterNetworkPolicy as a table: a rule in few words, the
// policies that show it, and a question. Over one small cluster; see kCluster.
#pragma once

#include <cstdint>
#include <vector>

namespace podwire::tests {

// Pods of this node: shop/web (10.1.0.2, fd01::2), shop/solo (10.1.0.4, fd01::4). Of another:
// shop/db (10.2.0.2, fd02::2), lab/guest (10.2.0.3, fd02::3), shop/done, finished (10.2.0.4),
// shop/new, without a status, and shop/agent on its host's network (192.168.0.2, fd99::2).
extern const char* const kCluster;
inline constexpr const char *kWeb = "10.1.0.2", *kWeb6 = "fd01::2", *kSolo = "10.1.0.4",
                            *kDb = "10.2.0.2", *kDb6 = "fd02::2", *kGuest = "10.2.0.3",
                            *kGuest6 = "fd02::3", *kDone = "10.2.0.4", *kNode2 = "192.168.0.2";
inline constexpr const char *kOut = "8.8.8.8", *kOut6 = "2001:db8::8";  // of no node or pod

struct Case {
  const char* rule;
  const char* policies;  // "": none. Else documents; N and C stand for the kinds' first lines
  const char* from;
  const char* to;
  std::uint8_t protocol;
  std::uint16_t port;
  bool allowed;
  bool from_own_node = false;
};

const std::vector<Case>& network_policy_cases();
const std::vector<Case>& cluster_policy_cases();

}  // namespace podwire::tests
