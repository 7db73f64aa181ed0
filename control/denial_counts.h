// Packets that policy refused, by the name of the policy that the refusal is put down to: what
// workers count by number, gathered before a number can mean another policy. Bounded: at most
// kMost names, the rest together. Control thread only.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "control/dataplane_link.h"
#include "dataplane/tables/policy_table.h"

namespace podwire::control {

class DenialCounts {
 public:
  static constexpr std::size_t kMost = observe::kCountedPolicies;
  static constexpr const char* kOther = "other";

  // Now and then, before a reading and when new tables are in force. What was counted since the
  // last time is put down to the names of that time, a number that was free then to today's.
  void gather(DataplaneLink& dataplane, const tables::PolicyTable& policies);
  // Since start, by "namespace/name"; only those that refused something.
  [[nodiscard]] const std::map<std::string, std::uint64_t>& by_policy() const { return counts_; }

 private:
  void add(const std::string& policy, std::uint64_t packets);

  std::array<std::uint64_t, kMost + 1> seen_{};
  std::array<std::string, kMost> names_;
  std::map<std::string, std::uint64_t> counts_;
};

}  // namespace podwire::control
