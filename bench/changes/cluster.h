// What bench/changes replaces while packets flow: 10,000 Services, and the policies of 500 pods.
#pragma once

#include <cstdint>
#include <memory>

#include "bench/new_flows/traffic.h"

namespace podwire::bench {

class Cluster {
 public:
  static constexpr std::uint32_t kServices = 10'000, kEndpoints = 10;
  static constexpr std::uint32_t kPods = 500, kPoliciesOfPod = 20;  // 10,000 policies

  // The Services and policies of the client's own connections are among them.
  explicit Cluster(Client& client) : client_(client) {}

  // All of them made anew. Nothing is shared with an earlier version.
  [[nodiscard]] std::unique_ptr<const tables::Snapshot> next_version();

 private:
  [[nodiscard]] std::shared_ptr<const tables::ServiceTable> make_services();
  [[nodiscard]] std::shared_ptr<const tables::PolicyTable> make_policies();
  Client& client_;
  std::uint64_t generation_ = 1000;
};

}  // namespace podwire::bench
