#include "control/bgp/service_routes.h"

#include <gtest/gtest.h>

#include <random>

#include "control/store_writer.h"

namespace podwire::control::bgp {
namespace {

net::Address ip(const char* text) {
  return *net::Address::parse(text);
}
net::Prefix cidr(const char* text) {
  return *net::Prefix::parse(text);
}

struct World {
  Store store;
  StoreWriter writer{store};
  ServiceRoutes routes{"n1"};
  kube::BgpConfiguration configuration;
  kube::Node node;

  World() {
    configuration.meta.name = "default";
    configuration.service_cluster_ips = {cidr("10.96.0.0/16")};
    configuration.service_external_ips = {cidr("203.0.113.0/24"), cidr("192.0.2.9/32")};
    configuration.service_load_balancer_ips = {cidr("198.51.100.0/24"), cidr("fd00:99::/64")};
    node.meta.name = "n1";
    writer.put(configuration);
    writer.put(node);
  }
  kube::Service service(const char* name, kube::TrafficPolicy policy) {
    kube::Service made;
    made.meta.ns = "a";
    made.meta.name = name;
    made.type = kube::Service::Type::load_balancer;
    made.cluster_ips = {ip("10.96.0.10")};
    made.external_ips = {ip("203.0.113.7"), ip("192.0.2.9"), ip("192.0.2.10")};
    made.load_balancer_ips = {ip("198.51.100.5"), ip("fd00:99::5")};
    made.external_policy = policy;
    return made;
  }
  void endpoints(const char* service, std::vector<kube::Endpoint> all, const char* slice = "s") {
    kube::EndpointSlice made;
    made.meta.ns = "a";
    made.meta.name = std::string(service) + slice;
    made.service = service;
    made.endpoints = std::move(all);
    writer.put(made);
  }
  static kube::Endpoint endpoint(const char* node, bool ready = true) {
    kube::Endpoint made;
    made.node_name = node;
    made.ready = ready;
    return made;
  }
  // Of routes(), which must say in time when it becomes another.
  std::string now() {
    const auto before = routes.routes();
    const bool moved = routes.follow(store, writer.take_changes());
    std::string text;
    for (const auto& prefix : routes.routes()) text += prefix.to_string() + " ";
    if (!moved) {
      EXPECT_EQ(before, routes.routes()) << "became another without a word";
    }
    return text;
  }
};

constexpr const char* kRanges = "10.96.0.0/16 198.51.100.0/24 203.0.113.0/24 fd00:99::/64 ";
constexpr const char* kAll =
    "10.96.0.0/16 10.96.0.10/32 192.0.2.9/32 198.51.100.0/24 198.51.100.5/32 203.0.113.0/24 "
    "203.0.113.7/32 fd00:99::/64 fd00:99::5/128 ";

TEST(ServiceRoutes, RangesGoWholeAndSingleAddressesWithTheirService) {
  World world;
  EXPECT_EQ(world.now(), kRanges);
  world.writer.put(world.service("web", kube::TrafficPolicy::cluster));
  EXPECT_EQ(world.now(), std::string("10.96.0.0/16 192.0.2.9/32 198.51.100.0/24 203.0.113.0/24 "
                                     "fd00:99::/64 "));
  world.writer.remove(kube::Kind::service, "a/web");
  EXPECT_EQ(world.now(), kRanges);
}

TEST(ServiceRoutes, LocalPolicyNeedsAReadyEndpointHere) {
  World world;
  world.writer.put(world.service("web", kube::TrafficPolicy::local));
  EXPECT_EQ(world.now(), kRanges);
  world.endpoints("web", {World::endpoint("n2"), World::endpoint("n1", false)});
  EXPECT_EQ(world.now(), kRanges);
  world.endpoints("web", {World::endpoint("n1")}, "t");  // in any slice
  EXPECT_EQ(world.now(), kAll);
  world.endpoints("web", {World::endpoint("n1", false)}, "t");
  EXPECT_EQ(world.now(), kRanges);
}

TEST(ServiceRoutes, AddressOfTwoServicesStaysUntilTheLastGoes) {
  World world;
  for (const char* name : {"a", "b"}) {
    world.writer.put(world.service(name, kube::TrafficPolicy::local));
    world.endpoints(name, {World::endpoint("n1")});
  }
  EXPECT_EQ(world.now(), kAll);
  world.writer.remove(kube::Kind::service, "a/a");
  EXPECT_EQ(world.now(), kAll);
  world.endpoints("b", {});
  EXPECT_EQ(world.now(), kRanges);
}

TEST(ServiceRoutes, LoadBalancersGoOneByOneWithoutAggregation) {
  World world;
  world.configuration.aggregate_load_balancer_ips = false;
  world.writer.put(world.configuration);
  world.writer.put(world.service("web", kube::TrafficPolicy::cluster));
  EXPECT_EQ(world.now(), "10.96.0.0/16 192.0.2.9/32 203.0.113.0/24 ");
  world.endpoints("web", {World::endpoint("n2")});
  EXPECT_EQ(world.now(),
            "10.96.0.0/16 192.0.2.9/32 198.51.100.5/32 203.0.113.0/24 fd00:99::5/128 ");
  world.endpoints("web", {World::endpoint("n2", false)});
  EXPECT_EQ(world.now(), "10.96.0.0/16 192.0.2.9/32 203.0.113.0/24 ");
}

TEST(ServiceRoutes, ExcludedNodeAnnouncesNone) {
  World world;
  world.writer.put(world.service("web", kube::TrafficPolicy::local));
  world.endpoints("web", {World::endpoint("n1")});
  EXPECT_EQ(world.now(), kAll);
  world.node.meta.labels["node.kubernetes.io/exclude-from-external-load-balancers"] = "";
  world.writer.put(world.node);
  EXPECT_EQ(world.now(), "");
  world.node.meta.labels.clear();
  world.writer.put(world.node);
  EXPECT_EQ(world.now(), kAll);
}

TEST(ServiceRoutes, ExternalNameHasNone) {
  World world;
  auto service = world.service("web", kube::TrafficPolicy::local);
  service.type = kube::Service::Type::external_name;
  world.writer.put(service);
  world.endpoints("web", {World::endpoint("n1")});
  EXPECT_EQ(world.now(), kRanges);
}

// Step by step and from the start must come out the same.
TEST(ServiceRoutes, HistoryLeavesNoTrace) {
  std::mt19937 random(7);
  const auto any = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
  World world;
  static constexpr const char* kNames[] = {"a", "b", "c"};
  for (int step = 0; step < 2000; ++step) {
    const char* name = kNames[any(3)];
    switch (any(5)) {
      case 0:
        world.writer.remove(kube::Kind::service, std::string("a/") + name);
        break;
      case 1:
        world.configuration.aggregate_load_balancer_ips = any(2) == 0;
        world.writer.put(world.configuration);
        break;
      case 2:
        world.writer.put(world.service(
            name, any(2) == 0 ? kube::TrafficPolicy::local : kube::TrafficPolicy::cluster));
        break;
      default:
        world.endpoints(name, {World::endpoint(any(2) == 0 ? "n1" : "n2", any(2) == 0)});
    }
    const std::string now = world.now();
    ServiceRoutes fresh("n1");
    fresh.follow(world.store, {});
    ASSERT_EQ(fresh.routes(), world.routes.routes()) << "step " << step << ": " << now;
  }
}

}  // namespace
}  // namespace podwire::control::bgp
