// The families of kube-proxy that still mean something here, under its names, so that dashboards
// and alerts go on working (kubernetes/pkg/proxy/metrics/metrics.go). Control thread only.
#pragma once

#include <prometheus/metric_family.h>

#include <vector>

#include "control/serve/proxy_health.h"
#include "control/state.h"

namespace podwire::control {

std::vector<prometheus::MetricFamily> proxy_metrics(const State& state, const ProxyHealth& health);

}  // namespace podwire::control
