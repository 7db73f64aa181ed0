// What a load balancer or kubelet is told of this node as a proxy of Services: kube-proxy's
// /healthz and /livez (pkg/proxy/healthcheck/proxy_health.go, KEP-3836). Control thread only.
#pragma once

#include <cstdint>
#include <map>

#include "control/serve/http.h"
#include "control/serve/totals.h"
#include "control/state.h"

namespace podwire::control {

class ProxyHealth {
 public:
  // Both outlive it.
  ProxyHealth(const State& state, const Sampler& sampler) : state_(state), sampler_(sampler) {}

  // Objects were in force once, none has waited a minute to be, and every worker goes round.
  [[nodiscard]] bool healthy() const;
  // New connections from outside may come here: the Node is there, stays, and is not about to go.
  [[nodiscard]] bool eligible() const;

  Page healthz();  // 200 when healthy and eligible
  Page livez();    // 200 when healthy

  // Answers given so far, by status.
  using Answers = std::map<unsigned, std::uint64_t>;
  [[nodiscard]] const Answers& healthz_answers() const { return healthz_answers_; }
  [[nodiscard]] const Answers& livez_answers() const { return livez_answers_; }

 private:
  [[nodiscard]] Page page(bool good, bool with_eligible) const;

  const State& state_;
  const Sampler& sampler_;
  Answers healthz_answers_{{200, 0}, {503, 0}}, livez_answers_{{200, 0}, {503, 0}};
};

}  // namespace podwire::control
