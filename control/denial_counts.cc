#include "control/denial_counts.h"

#include <algorithm>

namespace podwire::control {

void DenialCounts::gather(DataplaneLink& dataplane, const tables::PolicyTable& policies) {
  for (std::size_t number = 0; number <= kMost; ++number) {
    std::uint64_t sum = 0;
    for (unsigned worker = 0; worker < dataplane.workers(); ++worker) {
      sum += dataplane.counters(worker).policy_drops[number].read();
    }
    const std::uint64_t more = sum - seen_[number];
    seen_[number] = sum;
    const bool is_one = number < kMost;
    const std::string& now = policies.policy_name(static_cast<std::uint32_t>(is_one ? number : 0));
    // A number that the table does not have gets the name of 0.
    const bool is_free = number != 0 && &now == &policies.policy_name(0);
    if (more != 0) add(!is_one ? kOther : names_[number].empty() ? now : names_[number], more);
    if (!is_one) continue;
    if (is_free) {
      names_[number].clear();
    } else if (names_[number] != now) {
      names_[number] = now;
    }
  }
}

void DenialCounts::add(const std::string& policy, std::uint64_t packets) {
  const auto place = counts_.find(policy);
  if (place != counts_.end()) {
    place->second += packets;
    return;
  }
  // Those that have gone make room for those that are there.
  if (counts_.size() >= kMost) {
    std::uint64_t gone = 0;
    for (auto count = counts_.begin(); count != counts_.end();) {
      if (count->first != kOther && std::ranges::find(names_, count->first) == names_.end()) {
        gone += count->second;
        count = counts_.erase(count);
      } else {
        ++count;
      }
    }
    if (gone != 0) counts_[kOther] += gone;
  }
  counts_[counts_.size() < kMost ? policy : kOther] += packets;
}

}  // namespace podwire::control
