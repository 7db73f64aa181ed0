// A cluster in which 500 pods of this node have 1,000 sets of policies, whatever the number of
// policies is, and every pod is an identity of its own: what verdicts are measured on.
//
// Policy b of the first ten selects the local pods whose number has bit b (the tenth: every one),
// so that no two pods have the same set. Every other policy selects one local pod. Each allows 20
// local pods, a namespace of 20 pods of elsewhere and a block, in both directions, on one of four
// ports.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "control/kube/objects.h"
#include "dataplane/tables/policy_table.h"

namespace podwire::bench {

struct ClusterSize {
  unsigned pods = 20'000, local = 500, policies = 10'000;
};
inline constexpr unsigned kLeastPolicies = 10, kMostLocal = 511, kGroupSize = 20;

// What one rule of a policy allows one local pod, as a list of rules for addresses has it.
struct Allowed {
  bool ingress;  // from `peers` into the pod; else from the pod to `peers`
  unsigned pod;
  net::Prefix peers;
  std::uint16_t port;  // TCP
  auto operator<=>(const Allowed&) const = default;
};

class Cluster {
 public:
  explicit Cluster(const ClusterSize& size);

  [[nodiscard]] static net::Address address(unsigned pod);
  // Of policies' rules, and one that none names.
  static constexpr std::uint16_t kPorts = 4, kFirstPort = 8080, kOtherPort = 8443;

  // As podwired's control thread makes it of the objects.
  [[nodiscard]] std::shared_ptr<const tables::PolicyTable> table() const;
  // The same worked out rule by rule and pod by pod, without podwired's code; each once.
  [[nodiscard]] std::vector<Allowed> allowed() const;

 private:
  struct Grants {  // of a policy
    unsigned group, ns;
    net::Prefix block;
    std::uint16_t port;
  };
  [[nodiscard]] unsigned groups() const { return size_.local / kGroupSize; }
  [[nodiscard]] unsigned namespaces() const { return (size_.pods - size_.local) / kGroupSize; }
  [[nodiscard]] bool selects(unsigned policy, unsigned pod) const;
  [[nodiscard]] Grants grants(unsigned policy) const;
  [[nodiscard]] control::kube::Pod pod(unsigned n) const;
  [[nodiscard]] control::kube::NetworkPolicy policy(unsigned n) const;
  const ClusterSize size_;
};

}  // namespace podwire::bench
