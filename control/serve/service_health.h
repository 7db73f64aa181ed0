// The ports on which a load balancer asks whether this node has endpoints of a Service: those of
// type LoadBalancer with externalTrafficPolicy Local have one each, spec.healthCheckNodePort, on
// the addresses of node ports (kube-proxy pkg/proxy/healthcheck/service_health.go). Control thread
// only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "control/change_log.h"
#include "control/serve/http.h"
#include "control/state.h"
#include "control/store_writer.h"

namespace podwire::control {

class ServiceHealth {
 public:
  // `state` and `io` outlive it. `proxy_healthy` is asked at each answer.
  ServiceHealth(boost::asio::io_context& io, const State& state,
                std::function<bool()> proxy_healthy)
      : io_(io), state_(state), proxy_healthy_(std::move(proxy_healthy)) {}

  // Ports and numbers follow what has changed. Ports that are in use by others are problems, and
  // are asked for again each time.
  void follow(const Changes& changes, const StoreWriter& store);
  void stop() { checks_.clear(); }

  [[nodiscard]] std::size_t listening() const { return checks_.size(); }
  [[nodiscard]] const std::vector<std::string>& problems() const { return problems_.now(); }

 private:
  struct Check {
    std::string ns, name;
    std::uint16_t port = 0;
    std::map<net::Family, std::size_t> local_endpoints;  // of the families that it is served in
    std::map<net::Address, std::unique_ptr<HttpServer>> servers;
  };

  void update(const std::string& service, const StoreWriter& store);
  void listen(Check& check);
  [[nodiscard]] Page page(const Check& check, net::Family family) const;

  boost::asio::io_context& io_;
  const State& state_;
  const std::function<bool()> proxy_healthy_;
  std::map<std::string, std::unique_ptr<Check>> checks_;  // by Service, "namespace/name"
  std::map<std::string, std::string> refused_;            // by Service
  std::vector<net::Address> addresses_;
  ChangeLog problems_;
};

}  // namespace podwire::control
