// The compiled NetworkPolicies of this node's pods. Immutable once published.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/tables/lpm.h"
#include "dataplane/tables/policies.h"
#include "dataplane/tables/sharded_map.h"

namespace podwire::tables {

class PolicyTable {
 public:
  // Both sides that are pods of this node are judged. Worker threads; no allocation.
  [[nodiscard]] PolicyAnswer judge(const PolicyQuestion& question) const noexcept;

  // "namespace/name" by PolicyAnswer::policy. Control thread and tools.
  [[nodiscard]] const std::string& policy_name(std::uint32_t policy) const;
};

}  // namespace podwire::tables
