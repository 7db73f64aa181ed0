// The rules of a policy read as they are written: to name one of several that were compiled as one,
// and the one that comes nearest to allowing what was refused. The verdict itself is never from
// here. Control thread only.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/explain/ends.h"

namespace podwire::control::explain {

// A flow seen from the pod that a policy selects.
struct Seen {
  const End& pod;   // that is selected
  const End& peer;  // the other end
  net::Address peer_address;
  std::uint8_t protocol = 6;
  std::uint16_t port = 0;
  bool inward = true;
};

// What of a rule does not match; none: it allows the flow.
struct Difference {
  bool peer = false, protocol = false, port = false;
  [[nodiscard]] int count() const { return int{peer} + int{protocol} + int{port}; }
};

const std::vector<kube::PolicyRule>& rules_of(const kube::NetworkPolicy& policy, bool inward);
Difference compare(const Store& store, const kube::NetworkPolicy& policy,
                   const kube::PolicyRule& rule, const Seen& seen);

struct Nearest {
  const kube::NetworkPolicy* policy = nullptr;
  std::size_t rule = 0;
  Difference differs;
};
// Fewest differences; of several the first by policy and rule. None: no policy has a rule that is
// understood.
std::optional<Nearest> nearest(const Store& store, const Seen& seen);
// "policy default/web-in ingress[1] allows TCP 8080, asked was TCP 80".
std::string sentence(const Nearest& nearest, const Seen& seen);

// Whether an ipBlock that does not hold every address stands in the policies' rules: what is said
// of a pod without an address may be another answer once it has one.
bool speaks_of_addresses(const std::vector<const kube::NetworkPolicy*>& policies, bool inward);

}  // namespace podwire::control::explain
