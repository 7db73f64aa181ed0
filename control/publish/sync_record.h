// How changes come into force: since when one waits, how long builds take, and how long after its
// cause an endpoint's change is in force (kube-proxy pkg/proxy/metrics and
// endpointschangetracker.go). Control thread only.
#pragma once

#include <prometheus/histogram.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/store.h"
#include "control/store_writer.h"

namespace podwire::control {

class SyncRecord {
 public:
  using Steady = std::chrono::steady_clock::time_point;
  using System = std::chrono::system_clock::time_point;

  SyncRecord();

  // A change has come that no build holds yet.
  void queued();
  // A build of `changes` took so long and was published.
  void published(const Changes& changes, const StoreWriter& store,
                 std::chrono::steady_clock::duration took);
  // What was published is what every worker uses.
  void in_force();
  // UDP flows ended since their endpoint is gone.
  void ended_flows(std::size_t flows, std::chrono::steady_clock::duration took);

  // The oldest change that is not in force; none: all are.
  [[nodiscard]] std::optional<Steady> waiting_since() const;
  [[nodiscard]] std::optional<System> last_queued() const { return last_queued_; }
  [[nodiscard]] std::optional<System> last_in_force() const { return last_in_force_; }
  // Changes of endpoints and of Services: all that were published.
  [[nodiscard]] std::uint64_t endpoint_changes() const { return endpoint_changes_; }
  [[nodiscard]] std::uint64_t service_changes() const { return service_changes_; }
  [[nodiscard]] std::uint64_t flows_ended() const { return flows_ended_; }
  [[nodiscard]] const prometheus::Histogram& build_seconds() const { return build_seconds_; }
  // From the arrival of the oldest change in a build to its use by every worker.
  [[nodiscard]] const prometheus::Histogram& in_force_seconds() const { return in_force_seconds_; }
  [[nodiscard]] const prometheus::Histogram& programming_seconds() const { return programming_; }
  [[nodiscard]] const prometheus::Histogram& flow_seconds() const { return flow_seconds_; }

 private:
  void note_triggers(const std::string& service, const StoreWriter& store);

  const System started_ = std::chrono::system_clock::now();
  std::optional<Steady> queued_since_, published_since_;
  std::optional<System> last_queued_, last_in_force_;
  std::uint64_t endpoint_changes_ = 0, service_changes_ = 0, flows_ended_ = 0;
  std::map<std::string, System> last_trigger_;  // that was noted, by Service
  std::vector<System> triggers_;                // of what is published and not in force
  prometheus::Histogram build_seconds_, in_force_seconds_, programming_, flow_seconds_;
};

}  // namespace podwire::control
