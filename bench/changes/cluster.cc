#include "bench/changes/cluster.h"

#include <array>
#include <string>

namespace podwire::bench {
namespace {

constexpr std::uint32_t kFirstService = 0x0a610000, kFirstEndpoint = 0x0af50000;
constexpr std::uint32_t kFirstPod = 0x0af60000;
constexpr std::uint8_t kUdp = net::protocol::udp;

net::Address address(std::uint32_t v4) {
  return net::Address::from_v4(net::be32(v4));
}

std::shared_ptr<const tables::Service> make_service(std::uint32_t n) {
  auto service = std::make_shared<tables::Service>();
  service->id = 1'000'000 + n;
  service->name = "changing/service-" + std::to_string(n) + ":port";
  service->protocol = kUdp;
  service->has_any_endpoint = true;
  for (std::uint32_t e = 0; e < Cluster::kEndpoints; ++e) {
    service->cluster.push_back(
        {.address = address(kFirstEndpoint + n * Cluster::kEndpoints + e), .port = net::be16(80)});
  }
  return service;
}

// One direction's rules of a pod: each of its policies allows a port and a few peers.
std::shared_ptr<const tables::PolicyRow> make_row(std::uint32_t pod) {
  tables::PolicyRowBuilder builder(0);
  builder.add_tier(tables::PolicyAction::deny);
  for (std::uint32_t policy = 0; policy < Cluster::kPoliciesOfPod; ++policy) {
    const auto port = static_cast<std::uint16_t>(1000 + policy);
    const std::array range{tables::PortRange{kUdp, port, port}};
    const unsigned rule = builder.add_rule(tables::PolicyAction::allow, range, false);
    for (std::uint32_t peer = 0; peer < 5; ++peer) {
      const std::array rules{rule};
      builder.set_peer(1000 + (pod * 7 + policy * 5 + peer) % Cluster::kPods, rules);
    }
  }
  return builder.finish();
}

}  // namespace

std::shared_ptr<const tables::ServiceTable> Cluster::make_services() {
  const tables::ServiceTable& own = client_.world().services;
  auto table = std::make_shared<tables::ServiceTable>();
  table->service_ranges = own.service_ranges;
  std::uint32_t count = 0;
  own.frontends.for_each([&](const tables::FrontendKey& key, const tables::Frontend& frontend) {
    tables::Frontend copy = frontend;
    copy.service = std::make_shared<tables::Service>(*frontend.service);
    table->frontends.set(key, std::move(copy));
    table->cluster_ips.set(key.address, true);
    ++count;
  });
  for (; count < kServices; ++count) {
    const tables::FrontendKey key{address(kFirstService + count), net::be16(80), kUdp};
    table->frontends.set(key, {.service = make_service(count)});
    table->cluster_ips.set(key.address, true);
  }
  return table;
}

std::shared_ptr<const tables::PolicyTable> Cluster::make_policies() {
  client_.renew_policies();
  auto table = std::make_shared<tables::PolicyTable>(client_.world().policies);
  for (std::uint32_t pod = 0; pod < kPods; ++pod) {
    table->set_pod(address(kFirstPod + pod),
                   {.identity = 1000 + pod, .ingress = make_row(pod), .egress = make_row(pod)});
  }
  return table;
}

std::unique_ptr<const tables::Snapshot> Cluster::next_version() {
  auto next = std::make_unique<tables::Snapshot>(client_.world().next);
  next->services = make_services();
  next->policies = make_policies();
  next->generation = ++generation_;
  next->policy_generation = static_cast<std::uint32_t>(generation_);
  return next;
}

}  // namespace podwire::bench
