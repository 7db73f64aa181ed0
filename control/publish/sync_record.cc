#include "control/publish/sync_record.h"

#include <algorithm>
#include <utility>

#include "control/time_text.h"

namespace podwire::control {

using Buckets = prometheus::Histogram::BucketBoundaries;
using std::chrono::system_clock;

namespace {

// The endpoints controller's note of what made it write the slice (KEP-1865, the SLI "network
// programming latency").
constexpr const char* kTrigger = "endpoints.kubernetes.io/last-change-trigger-time";

double seconds(std::chrono::duration<double> duration) {
  return duration.count();
}

// ExponentialBuckets(0.001, 2, 15), as kube-proxy has them.
Buckets short_times() {
  Buckets buckets;
  for (double bound = 0.001; buckets.size() < 15; bound *= 2) buckets.push_back(bound);
  return buckets;
}

// kube-proxy's, with finer ones in front: it waits a second between two syncs, podwire does not.
Buckets programming_times() {
  Buckets buckets{0.01, 0.025, 0.05, 0.1, 0.25, 0.5};
  for (int bound = 1; bound < 60; ++bound) buckets.push_back(bound);
  for (int bound = 60; bound < 120; bound += 5) buckets.push_back(bound);
  for (int bound = 120; bound <= 300; bound += 30) buckets.push_back(bound);
  return buckets;
}

}  // namespace

SyncRecord::SyncRecord()
    : build_seconds_(short_times()),
      in_force_seconds_(Buckets{0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01,
                                0.02, 0.05, 0.1, 0.2, 0.5, 1, 5}),
      programming_(programming_times()),
      flow_seconds_(short_times()) {}

void SyncRecord::queued() {
  last_queued_ = system_clock::now();
  if (!queued_since_) queued_since_ = std::chrono::steady_clock::now();
}

void SyncRecord::published(const Changes& changes, const StoreWriter& store,
                           std::chrono::steady_clock::duration took) {
  if (!published_since_) published_since_ = queued_since_;
  queued_since_.reset();
  build_seconds_.Observe(seconds(took));
  service_changes_ += changes.services.size();
  endpoint_changes_ += changes.service_endpoints.size();
  for (const std::string& service : changes.service_endpoints) note_triggers(service, store);
}

// Every slice of the Service may have been written for a cause of its own; those at or before the
// last one noted are in force already.
void SyncRecord::note_triggers(const std::string& service, const StoreWriter& store) {
  const auto* slices = store.slices_of(service);
  if (slices == nullptr) {
    last_trigger_.erase(service);
    return;
  }
  System& last = last_trigger_.try_emplace(service, started_).first->second;
  System latest = last;
  for (const std::string& name : *slices) {
    const auto slice = store.store().endpoint_slices.find(name);
    if (slice == store.store().endpoint_slices.end()) continue;
    const auto& annotations = slice->second.meta.annotations;
    const auto annotation = annotations.find(kTrigger);
    if (annotation == annotations.end()) continue;
    const auto trigger = parse_time(annotation->second);
    if (!trigger || *trigger <= last) continue;
    triggers_.push_back(*trigger);
    latest = std::max(latest, *trigger);
  }
  last = latest;
}

void SyncRecord::in_force() {
  if (published_since_) {
    in_force_seconds_.Observe(seconds(std::chrono::steady_clock::now() - *published_since_));
  }
  published_since_.reset();
  last_in_force_ = system_clock::now();
  // A server whose clock is ahead makes none negative.
  for (const System trigger : std::exchange(triggers_, {})) {
    programming_.Observe(std::max(0.0, seconds(*last_in_force_ - trigger)));
  }
}

void SyncRecord::ended_flows(std::size_t flows, std::chrono::steady_clock::duration took) {
  flows_ended_ += flows;
  flow_seconds_.Observe(seconds(took));
}

std::optional<SyncRecord::Steady> SyncRecord::waiting_since() const {
  return published_since_ ? published_since_ : queued_since_;
}

}  // namespace podwire::control
