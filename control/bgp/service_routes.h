// Which addresses of Services this node announces: the cluster's ranges of them, and single
// addresses where a Service wants it. What Calico's confd/pkg/backends/calico/routes.go does.
// Control thread only.
//
//   range of BGPConfiguration          from every node; a single address only with its Service
//   externalTrafficPolicy Local        its addresses, from nodes with a ready endpoint
//   aggregation of load balancers off  their addresses, from every node while one is ready anywhere
//
// A node that is kept out of load balancing (label node.kubernetes.io/exclude-from-external-load-
// balancers) announces none.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/store.h"

namespace podwire::control::bgp {

class ServiceRoutes {
 public:
  explicit ServiceRoutes(std::string node_name) : node_name_(std::move(node_name)) {}

  // Does work in proportion to what changed; true when routes() became others.
  bool follow(const Store& store, const Changes& changes);
  // By prefix; an address that two Services have stays until the last of them goes.
  [[nodiscard]] std::set<net::Prefix> routes() const;

 private:
  struct Ranges {
    std::vector<net::Prefix> cluster, external, load_balancer;
    bool aggregate = true, excluded = false;
    bool operator==(const Ranges&) const = default;
  };
  [[nodiscard]] Ranges read_ranges(const Store& store) const;
  [[nodiscard]] std::vector<net::Prefix> of_service(const Store& store,
                                                    const std::string& name) const;
  bool set_service(const std::string& name, std::vector<net::Prefix> now);

  const std::string node_name_;
  Ranges ranges_;
  bool begun_ = false;
  std::map<std::string, std::vector<net::Prefix>> by_service_;
  std::map<net::Prefix, std::size_t> users_;
};

}  // namespace podwire::control::bgp
