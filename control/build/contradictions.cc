#include "control/build/contradictions.h"

#include <algorithm>

namespace podwire::control::build {
namespace {

const char* name_of(net::Family family) {
  return family == net::Family::v4 ? "IPv4" : "IPv6";
}

template <typename Things>
bool any_of_family(const Things& things, net::Family family) {
  return std::ranges::any_of(things, [&](const auto& thing) { return thing.family() == family; });
}

}  // namespace

std::vector<std::string> contradictions(const kube::Service& service) {
  std::vector<std::string> all;
  if (service.cluster_ips.empty()) return all;
  const auto look_at = [&](const net::Address& ip, const char* what, bool limited) {
    const auto family = ip.family();
    if (!any_of_family(service.cluster_ips, family)) {
      all.push_back("is not served on its " + std::string(what) + " " + ip.to_string() +
                    ": it has no " + name_of(family) + " ClusterIP");
    } else if (limited && !any_of_family(service.source_ranges, family)) {
      all.push_back("lets everybody reach its " + std::string(what) + " " + ip.to_string() +
                    ": none of its loadBalancerSourceRanges is " + name_of(family));
    }
  };
  const bool limited = !service.source_ranges.empty();
  for (const auto& ip : service.load_balancer_ips) look_at(ip, "load balancer address", limited);
  for (const auto& ip : service.external_ips) look_at(ip, "external address", false);
  return all;
}

}  // namespace podwire::control::build
