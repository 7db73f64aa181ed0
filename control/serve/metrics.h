// The text of /metrics, read from the state and the workers' counters at the moment of the scrape.
// Labels are of few values: reasons, roles, workers, tables; never pods or packets. Control thread
// only.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <string>
#include <vector>

#include "control/serve/proxy_health.h"
#include "control/serve/totals.h"
#include "control/state.h"

namespace podwire::control {

class Metrics : public prometheus::Collectable {
 public:
  // All outlive it.
  Metrics(State& state, const Sampler& sampler, const ProxyHealth& proxy_health)
      : state_(state), sampler_(sampler), proxy_health_(proxy_health) {}
  [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const override;
  [[nodiscard]] std::string text() const;  // exposition format 0.0.4

 private:
  State& state_;
  const Sampler& sampler_;
  const ProxyHealth& proxy_health_;
};

}  // namespace podwire::control
