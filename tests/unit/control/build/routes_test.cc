#include <gtest/gtest.h>

#include <map>

#include "control/build/blocks.h"
#include "control/build/this_node.h"
#include "tests/unit/control/build/cluster.h"

namespace podwire::control::build {
namespace {

using tables::NextHop;
using tables::NextHopKind;

const char* kNodes = R"(
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDRs: [10.1.0.0/24, 'fd01::/64']}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}, {type: InternalIP, address: 'fd99::1'}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
spec: {podCIDRs: [10.1.2.0/24, 'fd01:2::/64']}
status: {addresses: [{type: InternalIP, address: 192.168.0.2}, {type: InternalIP, address: 'fd99::2'}]}
---
apiVersion: v1
kind: Node
metadata: {name: n3}
spec: {podCIDRs: [10.1.3.0/24]}
status: {addresses: [{type: InternalIP, address: 172.16.0.3}]}
)";

class Routes : public testing::Test {
 protected:
  Routes() { cluster.apply(kNodes); }
  void pool(const char* mode, bool nat = true) {
    cluster.apply(std::string("apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: "
                              "p}\nspec: {cidr: 10.1.0.0/16, natOutgoing: ") +
                  (nat ? "true" : "false") + ", ipipMode: " + mode + "}\n");
  }
  void neighbour(const char* address, const char* mac) {
    cluster.linux_state.neighbours.push_back({ip(address), *net::Mac::parse(mac)});
    cluster.linux_changed = true;
  }
  const NextHop& to(const std::string& address) {
    table = cluster.build().routes;
    return table->at(table->find(ip(address)));
  }
  // For packets of pods.
  const NextHop& twin_to(const std::string& address) {
    const tables::NextHopId twin = to(address).pod_source_twin;
    return table->at(twin);
  }
  tables::NextHopId id_to(const std::string& address) {
    return cluster.build().routes->find(ip(address));
  }
  Cluster cluster;
  std::shared_ptr<const tables::RouteTable> table;
};

TEST_F(Routes, OwnAddressesPodsAndTheRestOfTheOwnRange) {
  cluster.attach("shop/web", {"10.1.0.2", "fd01::2"}).mtu = 1450;
  EXPECT_EQ(to("192.168.0.1").kind, NextHopKind::host);
  EXPECT_EQ(to("fd99::1").kind, NextHopKind::host);
  const NextHop pod = to("10.1.0.2");
  EXPECT_EQ(pod.kind, NextHopKind::pod);
  EXPECT_EQ(pod.mtu, 1450);
  EXPECT_EQ(pod.destination_mac.to_string(), "02:00:00:00:00:09");
  EXPECT_EQ(pod.source_mac, net::kGatewayMac);
  EXPECT_EQ(cluster.built.snapshot->ports->find(pod.port)->name, "shop/web/eth0");
  EXPECT_EQ(to("fd01::2").kind, NextHopKind::pod);
  EXPECT_EQ(to("10.1.0.3").kind, NextHopKind::blackhole);
  cluster.detach("shop/web");
  EXPECT_EQ(to("10.1.0.2").kind, NextHopKind::blackhole);
}

TEST_F(Routes, AlwaysTunnelsOverTheGatewayLinuxWouldTake) {
  pool("Always");
  EXPECT_EQ(to("10.1.2.9").kind, NextHopKind::unresolved);
  EXPECT_EQ(to("10.1.2.9").gateway, ip("192.168.0.2"));
  EXPECT_EQ(cluster.built.wanted_neighbours,
            (std::vector{ip("192.168.0.2"), ip("192.168.0.254"), ip("fd99::2")}));
  neighbour("192.168.0.2", "02:00:00:00:00:22");
  neighbour("192.168.0.254", "02:00:00:00:00:fe");
  const NextHop near = to("10.1.2.9");
  EXPECT_EQ(near.kind, NextHopKind::tunnel);
  EXPECT_EQ(near.mtu, 1480);
  EXPECT_EQ(near.tunnel_source, ip("192.168.0.1").v4());
  EXPECT_EQ(near.tunnel_destination, ip("192.168.0.2").v4());
  EXPECT_EQ(near.destination_mac.to_string(), "02:00:00:00:00:22");
  const NextHop far = to("10.1.3.9");
  EXPECT_EQ(far.kind, NextHopKind::tunnel);
  EXPECT_EQ(far.tunnel_destination, ip("172.16.0.3").v4());
  EXPECT_EQ(far.destination_mac.to_string(), "02:00:00:00:00:fe");
  // IPv6 is routed plain.
  EXPECT_EQ(to("fd01:2::9").kind, NextHopKind::unresolved);
  EXPECT_EQ(to("fd01:2::9").mtu, 1500);
  EXPECT_EQ(to("fd01:2::9").gateway, ip("fd99::2"));
}

TEST_F(Routes, CrossSubnetTunnelsOnlyOutOfTheOwnSubnet) {
  pool("CrossSubnet");
  neighbour("192.168.0.2", "02:00:00:00:00:22");
  neighbour("192.168.0.254", "02:00:00:00:00:fe");
  EXPECT_EQ(to("10.1.2.9").kind, NextHopKind::link);
  EXPECT_EQ(to("10.1.2.9").mtu, 1500);
  EXPECT_EQ(to("10.1.3.9").kind, NextHopKind::tunnel);
  // The annotation's mask goes before the host tap's.
  kube::Node self = cluster.store.nodes.at("n1");
  self.ipv4_subnet = prefix("192.168.0.0/31");
  cluster.writer.put(self);
  EXPECT_EQ(to("10.1.2.9").kind, NextHopKind::tunnel);
}

TEST_F(Routes, NeverAndNoPoolAreRoutedPlain) {
  neighbour("192.168.0.2", "02:00:00:00:00:22");
  EXPECT_EQ(to("10.1.2.9").kind, NextHopKind::link);
  pool("Never");
  EXPECT_EQ(to("10.1.2.9").kind, NextHopKind::link);
  EXPECT_EQ(to("10.1.3.9").gateway, ip("192.168.0.254"));
}

const char* kBlocks = R"(
apiVersion: crd.projectcalico.org/v1
kind: BlockAffinity
metadata: {name: n1-10-1-9-0-30}
spec: {state: confirmed, node: n1, cidr: 10.1.9.0/30, deleted: "false"}
---
apiVersion: crd.projectcalico.org/v1
kind: BlockAffinity
metadata: {name: n2-10-1-9-4-30}
spec: {state: confirmed, node: n2, cidr: 10.1.9.4/30, deleted: "false"}
---
apiVersion: crd.projectcalico.org/v1
kind: IPAMBlock
metadata: {name: 10-1-9-4-30}
spec:
  cidr: 10.1.9.4/30
  affinity: host:n2
  allocations: [0, 1, null, null]
  unallocated: [2, 3]
  attributes:
  - {handle_id: h3, secondary: {node: n3, namespace: shop, pod: web}}
  - {handle_id: h1, secondary: {node: n1, namespace: shop, pod: cart}}
)";

TEST_F(Routes, BlocksAndBorrowedAddressesLeadToTheirNodes) {
  pool("CrossSubnet");
  neighbour("192.168.0.2", "02:00:00:00:00:22");
  neighbour("192.168.0.254", "02:00:00:00:00:fe");
  EXPECT_EQ(to("10.1.9.1").destination_mac.to_string(), "02:00:00:00:00:fe");  // Linux's default
  cluster.apply(kBlocks);
  EXPECT_EQ(to("10.1.9.1").kind, NextHopKind::blackhole);
  EXPECT_EQ(to("10.1.9.6").destination_mac.to_string(), "02:00:00:00:00:22");
  EXPECT_EQ(to("10.1.9.4").kind, NextHopKind::tunnel);
  EXPECT_EQ(to("10.1.9.4").tunnel_destination, ip("172.16.0.3").v4());
  EXPECT_EQ(to("10.1.9.5").kind, NextHopKind::blackhole);  // borrowed, and no pod's yet
  cluster.attach("shop/cart", {"10.1.9.5"});
  cluster.attach("shop/web", {"10.1.9.1"});
  EXPECT_EQ(to("10.1.9.5").kind, NextHopKind::pod);
  EXPECT_EQ(to("10.1.9.1").kind, NextHopKind::pod);
  EXPECT_EQ(to("10.1.9.2").kind, NextHopKind::blackhole);
  cluster.writer.remove(kube::Kind::block_affinity, "n2-10-1-9-4-30");
  EXPECT_EQ(to("10.1.9.6").destination_mac.to_string(), "02:00:00:00:00:fe");
}

TEST_F(Routes, PodsInABlockReachNodesAsItsPoolSays) {
  kube::Node self = cluster.store.nodes.at("n1");
  self.pod_cidrs.clear();
  cluster.writer.put(self);
  pool("Always");
  neighbour("192.168.0.2", "02:00:00:00:00:22");
  EXPECT_EQ(to("192.168.0.2").pod_source_twin, tables::kNoNextHop);
  cluster.apply(kBlocks);
  EXPECT_EQ(twin_to("192.168.0.2").kind, NextHopKind::tunnel);
}

TEST_F(Routes, NodesAreReachedPlainButByTunnelFromPods) {
  neighbour("192.168.0.2", "02:00:00:00:00:22");
  EXPECT_EQ(to("192.168.0.2").kind, NextHopKind::link);
  EXPECT_EQ(to("192.168.0.2").pod_source_twin, tables::kNoNextHop);
  pool("Always");
  EXPECT_EQ(to("192.168.0.2").kind, NextHopKind::link);
  EXPECT_EQ(twin_to("192.168.0.2").kind, NextHopKind::tunnel);
  EXPECT_TRUE(table->is_tunnel_peer(ip("192.168.0.2").v4()));
  EXPECT_TRUE(table->is_tunnel_peer(ip("172.16.0.3").v4()));
  EXPECT_FALSE(table->is_tunnel_peer(ip("192.168.0.1").v4()));
  EXPECT_FALSE(table->is_tunnel_peer(ip("192.168.0.9").v4()));
}

TEST_F(Routes, LinuxsRoutesAndNeighboursCarryTheRest) {
  neighbour("192.168.0.254", "02:00:00:00:00:fe");
  neighbour("192.168.0.50", "02:00:00:00:00:50");
  EXPECT_EQ(to("8.8.8.8").destination_mac.to_string(), "02:00:00:00:00:fe");
  EXPECT_EQ(to("192.168.0.50").destination_mac.to_string(), "02:00:00:00:00:50");
  EXPECT_EQ(to("192.168.0.51").kind, NextHopKind::unresolved);
  EXPECT_TRUE(to("192.168.0.51").gateway.is_unspecified());
  EXPECT_EQ(to("2001:db8::1").kind, NextHopKind::none);  // no IPv6 default route
  cluster.route("10.77.0.0/16", {{"192.168.0.50"}}, 10);
  cluster.route("10.77.0.0/16", {{"192.168.0.254"}}, 5);
  cluster.route("10.78.0.0/16", {});
  cluster.route("10.79.0.0/16", {{"", 1, 2}});
  EXPECT_EQ(to("10.77.1.1").gateway, ip("192.168.0.254"));  // the lower metric
  EXPECT_EQ(to("10.78.1.1").kind, NextHopKind::blackhole);
  EXPECT_EQ(to("10.79.1.1").kind, NextHopKind::host);  // behind another device of the node
}

TEST_F(Routes, NumbersStayWhileTheMeaningStays) {
  pool("Always");
  const auto before = id_to("10.1.2.9");
  const auto generation = cluster.built.snapshot->route_generation;
  neighbour("192.168.0.2", "02:00:00:00:00:22");
  EXPECT_EQ(id_to("10.1.2.9"), before);
  // The neighbour's own route came along: that prefix now leads elsewhere.
  const auto with_neighbour = cluster.built.snapshot->route_generation;
  cluster.linux_state.neighbours.back().mac = *net::Mac::parse("02:00:00:00:00:23");
  cluster.linux_changed = true;
  EXPECT_EQ(to("10.1.2.9").destination_mac.to_string(), "02:00:00:00:00:23");
  EXPECT_EQ(id_to("10.1.2.9"), before);
  EXPECT_EQ(cluster.built.snapshot->route_generation, with_neighbour);
  EXPECT_EQ(with_neighbour, generation);  // a node's address is a route of its own
  cluster.writer.remove(kube::Kind::node, "n2");
  EXPECT_NE(id_to("10.1.2.9"), before);
  EXPECT_GT(cluster.built.snapshot->route_generation, generation);
}

// What changed is worked on, and the rest of the table is the last one's.
TEST_F(Routes, AChangeOfLinuxsRoutesTouchesNothingElse) {
  neighbour("192.168.0.254", "02:00:00:00:00:fe");
  cluster.route("10.77.0.0/16", {{"192.168.0.254"}});
  cluster.route("10.80.0.0/16", {{"192.168.0.254"}});
  const auto before = id_to("10.77.1.1");
  const auto* shared = cluster.built.snapshot->routes->prefixes.exact(prefix("10.80.0.0/16"));
  const auto generation = cluster.built.snapshot->route_generation;
  cluster.replace("8.8.0.0/16", {{"192.168.0.50"}});
  EXPECT_EQ(to("8.8.8.8").gateway, ip("192.168.0.50"));
  EXPECT_EQ(to("8.8.8.8").kind, NextHopKind::unresolved);
  EXPECT_EQ(cluster.built.wanted_neighbours.at(1), ip("192.168.0.50"));
  EXPECT_EQ(table->prefixes.exact(prefix("10.80.0.0/16")), shared);
  EXPECT_EQ(cluster.built.snapshot->route_generation, generation + 1);
  cluster.replace("8.8.0.0/16", {{"192.168.0.254"}});
  EXPECT_EQ(id_to("8.8.8.8"), before);
  cluster.unroute("8.8.0.0/16", {{"192.168.0.254"}});
  EXPECT_EQ(id_to("8.8.8.8"), before);  // the default route's
  EXPECT_EQ(cluster.built.snapshot->routes->prefixes.exact(prefix("8.8.0.0/16")), nullptr);
  // The way to a node moves: its range follows, though Linux has no route of it.
  cluster.route("192.168.0.2/32", {{"192.168.0.50"}});
  EXPECT_EQ(to("10.1.2.9").gateway, ip("192.168.0.50"));
}

TEST_F(Routes, SeveralNextHopsAreAGroupWithTheirWeights) {
  neighbour("192.168.0.50", "02:00:00:00:00:50");
  neighbour("192.168.0.51", "02:00:00:00:00:51");
  cluster.route("10.77.0.0/16", {{"192.168.0.50"}, {"192.168.0.51", 3}});
  const NextHop several = to("10.77.1.1");
  ASSERT_EQ(several.kind, NextHopKind::several);
  const auto& group = *table->groups.at(several.group);
  std::map<std::string, unsigned> places;
  for (const auto& path : group.paths()) {
    EXPECT_EQ(table->at(path.id).kind, NextHopKind::link);
    places[table->at(path.id).gateway.to_string()] = group.places_of(path.id);
  }
  EXPECT_EQ(places["192.168.0.50"] + places["192.168.0.51"], tables::PathGroup::kPlaces);
  EXPECT_NEAR(places["192.168.0.50"], tables::PathGroup::kPlaces / 4, 45);
  const auto id = id_to("10.77.1.1");
  cluster.route("10.78.0.0/16", {{"192.168.0.51", 3}, {"192.168.0.50"}});
  EXPECT_EQ(id_to("10.78.1.1"), id);
  // One that is dead leaves all to the other, as a route of its own.
  cluster.replace("10.77.0.0/16", {{"192.168.0.50"}, {"192.168.0.51", 3, 1, false}});
  EXPECT_EQ(to("10.77.1.1").gateway, ip("192.168.0.50"));
  // Those that are no longer used are forgotten at the next complete draft, members and all.
  cluster.replace("10.78.0.0/16", {{"192.168.0.50"}});
  cluster.build();
  cluster.linux_changed = true;
  cluster.build();
  EXPECT_TRUE(cluster.built.snapshot->routes->groups.empty());
}

// A block that bird has learned: the pool says how its node is reached.
TEST_F(Routes, LearnedBlocksGoAsTheirPoolSays) {
  constexpr std::uint8_t kBird = 12;
  constexpr auto kReplace = LinuxRoutes::Add::replace;
  neighbour("192.168.0.2", "02:00:00:00:00:22");
  neighbour("192.168.0.254", "02:00:00:00:00:fe");
  cluster.route("10.1.7.0/26", {{"192.168.0.2"}}, 32, kReplace, kBird);
  cluster.route("10.1.3.64/26", {{"192.168.0.254"}}, 32, kReplace, kBird);  // n3's, by a router
  cluster.route("10.1.9.0/26", {{"192.168.0.254"}}, 32, kReplace, kBird);   // a stranger's
  cluster.route("10.2.9.0/26", {{"192.168.0.2"}}, 32, kReplace, kBird);     // of no pool
  EXPECT_EQ(to("10.1.7.1").kind, NextHopKind::link);
  pool("Always");
  EXPECT_EQ(to("10.1.7.1").kind, NextHopKind::tunnel);
  EXPECT_EQ(to("10.1.7.1").tunnel_destination, ip("192.168.0.2").v4());
  EXPECT_EQ(to("10.1.3.65").kind, NextHopKind::tunnel);
  EXPECT_EQ(to("10.1.3.65").tunnel_destination, ip("172.16.0.3").v4());
  EXPECT_EQ(to("10.1.9.1").kind, NextHopKind::link);
  EXPECT_EQ(to("10.2.9.1").kind, NextHopKind::link);
  pool("CrossSubnet");
  EXPECT_EQ(to("10.1.7.1").kind, NextHopKind::link);
  EXPECT_EQ(to("10.1.3.65").kind, NextHopKind::tunnel);
  pool("Never");
  EXPECT_EQ(to("10.1.3.65").kind, NextHopKind::link);
  // Its node is not known any more: nobody there would unpack.
  pool("Always");
  cluster.writer.remove(kube::Kind::node, "n2");
  EXPECT_EQ(to("10.1.7.1").kind, NextHopKind::link);
  // Linux says that the block is gone: the node's range is what is left.
  cluster.unroute("10.1.3.64/26", {{"192.168.0.254"}}, 32, kBird);
  EXPECT_EQ(to("10.1.3.65").kind, NextHopKind::tunnel);
  EXPECT_EQ(table->prefixes.exact(prefix("10.1.3.64/26")), nullptr);
}

// With BGP, a dead node's range goes with its route; one of which no peer ever told is the Node's.
TEST_F(Routes, ARangeThatBgpToldOfIsBgpsFromThenOn) {
  constexpr std::uint8_t kBird = 12;
  constexpr auto kReplace = LinuxRoutes::Add::replace;
  cluster.config.bgp = true;
  pool("Always");
  neighbour("192.168.0.2", "02:00:00:00:00:22");
  neighbour("192.168.0.254", "02:00:00:00:00:fe");
  EXPECT_EQ(to("10.1.2.9").kind, NextHopKind::tunnel);
  cluster.route("10.1.2.0/24", {{"192.168.0.254"}}, 32, kReplace, kBird);  // by a router
  EXPECT_EQ(to("10.1.2.9").kind, NextHopKind::tunnel);
  EXPECT_EQ(to("10.1.2.9").tunnel_destination, ip("192.168.0.2").v4());
  cluster.unroute("10.1.2.0/24", {{"192.168.0.254"}}, 32, kBird);
  cluster.build();
  EXPECT_EQ(cluster.built.snapshot->routes->prefixes.exact(prefix("10.1.2.0/24")), nullptr);
  EXPECT_EQ(to("10.1.3.9").kind, NextHopKind::tunnel);  // nobody told of it
  pool("Never");
  cluster.build();
  EXPECT_EQ(cluster.built.snapshot->routes->prefixes.exact(prefix("10.1.2.0/24")), nullptr);
  cluster.route("10.1.2.0/24", {{"192.168.0.2"}}, 32, kReplace, kBird);
  EXPECT_EQ(to("10.1.2.9").destination_mac.to_string(), "02:00:00:00:00:22");
  // Another claims what the first has, which BGP alone now speaks of.
  cluster.apply(R"(
apiVersion: v1
kind: Node
metadata: {name: n4}
spec: {podCIDRs: [10.1.2.0/24]}
status: {addresses: [{type: InternalIP, address: 192.168.0.4}]}
)");
  cluster.build();
  EXPECT_EQ(cluster.problems(),
            "Node n4: has pod range 10.1.2.0/24, which another node has too and "
            "keeps\n");
  // A Node that is gone and comes again is as new.
  cluster.writer.remove(kube::Kind::node, "n4");
  cluster.writer.remove(kube::Kind::node, "n2");
  cluster.unroute("10.1.2.0/24", {{"192.168.0.2"}}, 32, kBird);
  cluster.build();
  cluster.apply(kNodes);
  EXPECT_EQ(to("10.1.2.9").gateway, ip("192.168.0.2"));
}

TEST_F(Routes, TunnelAddressesLeadToTheirNodesAndOwnOnesHere) {
  pool("Always");
  neighbour("192.168.0.2", "02:00:00:00:00:22");
  const auto annotated = [&](const char* name, const char* tunnel, const char* ip) {
    cluster.apply(std::string("apiVersion: v1\nkind: Node\nmetadata: {name: ") + name +
                  ", annotations: {projectcalico.org/IPv4IPIPTunnelAddr: " + tunnel +
                  "}}\nstatus: {addresses: [{type: InternalIP, address: " + ip + "}]}\n");
  };
  annotated("n1", "10.1.77.1", "192.168.0.1");
  annotated("n2", "10.1.77.2", "192.168.0.2");
  EXPECT_EQ(to("10.1.77.1").kind, NextHopKind::host);
  EXPECT_EQ(to("10.1.77.2").kind, NextHopKind::tunnel);
  EXPECT_EQ(to("10.1.77.2").tunnel_destination, ip("192.168.0.2").v4());
  EXPECT_EQ(own_prefixes("n1", cluster.store, {}), std::vector{prefix("10.1.77.1/32")});
  pool("Never");  // then it is nobody's
  cluster.build();
  EXPECT_EQ(cluster.built.snapshot->routes->prefixes.exact(prefix("10.1.77.2/32")), nullptr);
  EXPECT_EQ(own_prefixes("n1", cluster.store, {}), std::vector<net::Prefix>{});
}

TEST_F(Routes, ServicePrefixesAreNeverLearnedBack) {
  cluster.config.service_ranges = {prefix("10.96.0.0/16")};
  cluster.route("10.96.5.0/24", {{"192.168.0.254"}}, 32, LinuxRoutes::Add::replace, 12);
  cluster.route("10.96.6.0/24", {{"192.168.0.254"}});  // by hand
  cluster.build();
  EXPECT_EQ(cluster.built.snapshot->routes->prefixes.exact(prefix("10.96.5.0/24")), nullptr);
  EXPECT_NE(cluster.built.snapshot->routes->prefixes.exact(prefix("10.96.6.0/24")), nullptr);
}

TEST_F(Routes, SaysWhatIsPastTheLimit) {
  cluster.linux_state.routes = std::make_shared<LinuxRoutes>(2);
  for (const char* to : {"10.5.0.0/16", "10.6.0.0/16", "10.7.0.0/16"}) {
    cluster.route(to, {{"192.168.0.254"}});
  }
  cluster.build();
  EXPECT_EQ(cluster.problems(),
            "Linux: has 1 prefixes more than routes-max, 2, lets in: packets to them take the way "
            "of shorter prefixes\n");
  EXPECT_EQ(to("10.7.0.1").kind, NextHopKind::none);
}

TEST_F(Routes, PodMtuIsTheNetworksLessWhatAPoolTakes) {
  const auto mtu = [&] { return pod_mtu(cluster.config, cluster.store, cluster.linux_state); };
  EXPECT_EQ(mtu(), 1500);
  pool("CrossSubnet");
  EXPECT_EQ(mtu(), 1480);
  cluster.linux_state.host_tap_mtu = 9000;
  EXPECT_EQ(mtu(), 8980);
  pool("Never");
  EXPECT_EQ(mtu(), 9000);
  cluster.config.dataplane.pod_mtu = 1400;
  EXPECT_EQ(mtu(), 1400);
}

TEST_F(Routes, MasqueradesFromPoolsToWhatIsInNone) {
  pool("Always");
  to("10.1.2.9");
  EXPECT_TRUE(table->masquerades(ip("10.1.0.2"), ip("8.8.8.8")));
  EXPECT_FALSE(table->masquerades(ip("10.1.0.2"), ip("10.1.9.9")));
  EXPECT_FALSE(table->masquerades(ip("8.8.8.8"), ip("9.9.9.9")));
  EXPECT_EQ(table->masquerade_v4, ip("192.168.0.1"));
  EXPECT_EQ(table->masquerade_v6, ip("fd99::1"));
  pool("Always", false);
  to("10.1.2.9");
  EXPECT_FALSE(table->masquerades(ip("10.1.0.2"), ip("8.8.8.8")));
}

TEST_F(Routes, SaysWhatCannotBeRouted) {
  cluster.apply(
      "apiVersion: v1\nkind: Node\nmetadata: {name: n4}\nspec: {podCIDRs: [10.1.3.0/24, "
      "'fd01:4::/64']}\nstatus: {addresses: [{type: InternalIP, address: 172.16.0.4}]}\n");
  cluster.build();
  EXPECT_EQ(cluster.problems(),
            "Node n4: has pod range 10.1.3.0/24, which another node has too and keeps\n"
            "Node n4: has pod range fd01:4::/64 but no InternalIP of that family\n");
  EXPECT_EQ(to("10.1.3.9").gateway, ip("192.168.0.254"));
}

TEST(Ports, NumbersAreNotGivenAgainWhileASnapshotKnowsTheirOwner) {
  Cluster cluster;
  const auto id_of = [&](const char* name) {
    const auto& ports = cluster.built.snapshot->ports->ports;
    for (std::size_t n = 0; n < ports.size(); ++n) {
      if (ports[n].role == tables::PortRole::pod && ports[n].name == name)
        return static_cast<int>(n);
    }
    return -1;
  };
  cluster.attach("a/one", {"10.1.0.1"});
  cluster.build();
  const int first = id_of("a/one/eth0");
  ASSERT_GE(first, 2);
  // A worker may still read this one.
  auto held = std::move(cluster.built.snapshot);
  const auto generation = held->ports->generation;
  cluster.detach("a/one");
  cluster.attach("a/two", {"10.1.0.2"});
  cluster.build();
  EXPECT_NE(id_of("a/two/eth0"), first);
  EXPECT_GT(cluster.built.snapshot->ports->generation, generation);
  held.reset();
  cluster.attach("a/three", {"10.1.0.3"});
  cluster.build();
  EXPECT_EQ(id_of("a/three/eth0"), first);
  // The same attachment opened anew is another port.
  cluster.attachments.front().port = std::make_shared<IdlePort>();
  cluster.attachments_changed = true;
  const int two = id_of("a/two/eth0");
  cluster.build();
  EXPECT_NE(id_of("a/two/eth0"), two);
}

}  // namespace
}  // namespace podwire::control::build
