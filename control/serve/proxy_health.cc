#include "control/serve/proxy_health.h"

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "control/time_text.h"

namespace podwire::control {

using nlohmann::ordered_json;
using std::chrono::system_clock;

namespace {

// kube-proxy: twice its sync period.
constexpr std::chrono::seconds kLongestWait{60};

ordered_json time_or_null(const std::optional<system_clock::time_point>& time) {
  return time ? ordered_json(format_time(*time)) : ordered_json(nullptr);
}

}  // namespace

bool ProxyHealth::healthy() const {
  if (state_.snapshot == nullptr || !state_.snapshot->synced || !state_.sync.last_in_force()) {
    return false;
  }
  const auto since = state_.sync.waiting_since();
  return sampler_.stuck_worker() < 0 &&
         (!since || std::chrono::steady_clock::now() - *since < kLongestWait);
}

bool ProxyHealth::eligible() const {
  const auto& nodes = state_.store.nodes;
  const auto node = nodes.find(state_.config.node_name);
  return node != nodes.end() && !node->second.leaving && !node->second.meta.deleting;
}

Page ProxyHealth::healthz() {
  Page answer = page(healthy() && eligible(), true);
  ++healthz_answers_[answer.status];
  return answer;
}

Page ProxyHealth::livez() {
  Page answer = page(healthy(), false);
  ++livez_answers_[answer.status];
  return answer;
}

// kube-proxy says "lastUpdated" now for as long as it is healthy, though nothing had to be updated.
Page ProxyHealth::page(bool good, bool with_eligible) const {
  const auto now = system_clock::now();
  const bool healthy_now = healthy();
  const auto updated = time_or_null(healthy_now ? now : state_.sync.last_in_force());
  ordered_json body = {{"lastUpdated", updated}, {"currentTime", format_time(now)}};
  if (with_eligible) body["nodeEligible"] = eligible();
  body["healthy"] = healthy_now;
  // Both families come into force together.
  const ordered_json family = {{"lastUpdated", updated}, {"healthy", healthy_now}};
  body["status"] = {{"IPv4", family}, {"IPv6", family}};
  return {.status = good ? 200U : 503U, .type = "application/json", .body = body.dump()};
}

}  // namespace podwire::control
