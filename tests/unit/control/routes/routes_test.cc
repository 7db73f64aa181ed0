// Against the kernel's own tables, in a network namespace of the test's own: needs root.
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <map>
#include <random>
#include <thread>

#include "control/routes/host_network.h"

namespace podwire::control::routes {
namespace {

using namespace std::chrono_literals;

// What `command` prints; it runs in the calling thread's namespace.
std::string run(const std::string& command) {
  std::string output;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  std::array<char, 512> part;
  while (fgets(part.data(), part.size(), pipe) != nullptr) output += part.data();
  EXPECT_EQ(pclose(pipe), 0) << command << "\n" << output;
  return output;
}

// The test's body in a thread with an empty network namespace: eth0 leads to a neighbour's
// namespace, podwire0 stands for the host tap and leads there too.
template <typename Body>
void in_namespace(Body body) {
  if (geteuid() != 0) {
    std::cerr << "SKIPPED: netlink tests need root\n";
    GTEST_SKIP() << "needs root";
  }
  std::thread([&] {
    ASSERT_EQ(unshare(CLONE_NEWNET), 0);
    run("ip link set lo up");
    run("ip link add podwire0 address 02:00:00:00:00:01 type veth peer name wire0");
    run("ip link add eth0 address 02:00:00:00:00:01 type veth peer name wire1");
    run("ip link set eth0 up; ip link set wire0 up; ip link set wire1 up");
    body();
  }).join();
}

struct Running {
  boost::asio::io_context io;
  Config config;
  unsigned changes = 0;
  std::optional<HostNetwork> network;

  explicit Running(const char* uplink = "eth0") {
    config.node_name = "n1";
    network.emplace(io, config, UplinkFacts{uplink, 2034}, [this] { ++changes; });
  }
  // Runs the event loop until the condition holds; false when it does not within five seconds.
  template <typename Condition>
  bool until(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + 5s;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      io.restart();
      io.run_one_for(20ms);
    }
    return true;
  }
};

bool has_route(const LinuxState& state, const char* destination, const char* gateway) {
  for (const LinuxRoute& r : state.routes->all_of(*net::Prefix::parse(destination))) {
    for (const LinuxPath& path : r.says->paths) {
      if (path.through_host_tap && path.has_gateway == (gateway != nullptr) &&
          (gateway == nullptr || path.gateway == *net::Address::parse(gateway))) {
        return true;
      }
    }
  }
  return false;
}

// All that the mirror holds, a line each, in Linux's order.
std::string text_of(const LinuxRoutes& routes) {
  std::map<net::Prefix, std::string> lines;
  routes.for_each([&](const net::Prefix& prefix, const LinuxRoute&) {
    std::string& line = lines[prefix];
    line = prefix.to_string();
    for (const LinuxRoute& route : routes.all_of(prefix)) {
      line += " [" + std::to_string(route.metric) + " proto " + std::to_string(route.protocol) +
              (route.says->blackhole ? " blackhole" : "");
      for (const LinuxPath& path : route.says->paths) {
        line += " via " + (path.has_gateway ? path.gateway.to_string() : "-") + " dev " +
                std::to_string(path.device) + " weight " + std::to_string(path.weight) +
                (path.usable ? "" : " dead");
      }
      line += "]";
    }
  });
  std::string all;
  for (const auto& [prefix, line] : lines) all += line + "\n";
  return all;
}

TEST(HostNetwork, MovesAddressesAndRoutesAndGivesThemBack) {
  in_namespace([] {
    run("ip address add 192.0.2.1/24 brd + dev eth0");
    run("ip address add 2001:db8::1/64 dev eth0 nodad");
    run("ip route add default via 192.0.2.254 dev eth0 metric 77");
    run("ip route add 198.51.100.0/24 via 192.0.2.253 src 192.0.2.1 dev eth0");
    run("ip route add default via 2001:db8::fe dev eth0");
    Running node;
    const auto started = node.network->start();
    ASSERT_TRUE(started) << started.error().message;
    const LinuxState& state = node.network->state();
    // Linux gives the link-local one when the carrier is up, which may be later.
    EXPECT_TRUE(node.until([&] { return state.host_tap_addresses.size() == 2U + 1U; }));
    EXPECT_TRUE(has_route(state, "192.0.2.0/24", nullptr));
    EXPECT_TRUE(has_route(state, "0.0.0.0/0", "192.0.2.254"));
    EXPECT_TRUE(has_route(state, "198.51.100.0/24", "192.0.2.253"));
    EXPECT_TRUE(has_route(state, "::/0", "2001:db8::fe"));
    EXPECT_EQ(run("ip -o address show dev eth0 scope global"), "");
    EXPECT_NE(run("ip route").find("default via 192.0.2.254 dev podwire0 metric 77"),
              std::string::npos);
    EXPECT_NE(run("ip neigh show dev podwire0").find("169.254.1.1 lladdr ee:ee:ee:ee:ee:ee PERM"),
              std::string::npos);
    EXPECT_TRUE(state.neighbours.empty());  // the gateway is no neighbour on the wire
    // What changed meanwhile goes back too.
    run("ip route add 203.0.113.0/24 via 192.0.2.252 dev podwire0");
    node.network->stop();
    EXPECT_EQ(run("ip -o address show dev podwire0 scope global"), "");
    EXPECT_NE(run("ip -o address show dev eth0").find("192.0.2.1/24 brd 192.0.2.255"),
              std::string::npos);
    EXPECT_NE(run("ip -o -6 address show dev eth0").find("2001:db8::1/64"), std::string::npos);
    EXPECT_NE(run("ip route").find("default via 192.0.2.254 dev eth0 metric 77"),
              std::string::npos);
    EXPECT_NE(run("ip route").find("203.0.113.0/24 via 192.0.2.252 dev eth0"), std::string::npos);
    EXPECT_NE(run("ip -6 route").find("default via 2001:db8::fe dev eth0"), std::string::npos);
  });
}

TEST(HostNetwork, PicksUpWhereACrashLeftIt) {
  in_namespace([] {
    run("ip address add 192.0.2.1/24 dev eth0");
    run("ip route add default via 192.0.2.254 dev eth0");
    {
      Running crashed;
      ASSERT_TRUE(crashed.network->start());
    }  // no stop(): as if killed
    Running again;
    const auto started = again.network->start();
    ASSERT_TRUE(started) << started.error().message;
    EXPECT_TRUE(has_route(again.network->state(), "0.0.0.0/0", "192.0.2.254"));
    again.network->stop();
    EXPECT_NE(run("ip route").find("default via 192.0.2.254 dev eth0"), std::string::npos);
  });
}

TEST(HostNetwork, PutsConfiguredAddressesOnTheTapWithoutAKernelDevice) {
  in_namespace([] {
    Running node("");
    node.config.node_addresses = {{*net::Address::parse("192.0.2.9"), 24}};
    node.network.emplace(node.io, node.config, UplinkFacts{"", 65535}, [] {});
    const auto started = node.network->start();
    ASSERT_TRUE(started) << started.error().message;
    EXPECT_NE(run("ip -o address show dev podwire0").find("192.0.2.9/24"), std::string::npos);
  });
}

TEST(HostNetwork, SaysWhatDoesNotExist) {
  in_namespace([] {
    Running node("eth9");
    const auto started = node.network->start();
    ASSERT_FALSE(started);
    EXPECT_EQ(started.error().message, "uplink device eth9 does not exist");
    run("ip link del podwire0");
    Running without;
    const auto no_tap = without.network->start();
    ASSERT_FALSE(no_tap);
    EXPECT_EQ(no_tap.error().message, "host tap podwire0 does not exist");
  });
}

TEST(Mirror, FollowsRoutesNeighboursAndAddresses) {
  in_namespace([] {
    run("ip address add 192.0.2.1/24 dev eth0");
    Running node;
    ASSERT_TRUE(node.network->start());
    const LinuxState& state = node.network->state();
    run("ip route add 10.9.0.0/16 via 192.0.2.7 dev podwire0");
    EXPECT_TRUE(node.until([&] { return has_route(state, "10.9.0.0/16", "192.0.2.7"); }));
    EXPECT_GT(node.changes, 0U);
    run("ip route del 10.9.0.0/16");
    EXPECT_TRUE(node.until([&] { return !has_route(state, "10.9.0.0/16", "192.0.2.7"); }));
    run("ip neigh add 192.0.2.7 lladdr 02:00:00:00:00:07 dev podwire0 nud stale");
    EXPECT_TRUE(node.until([&] { return state.neighbours.size() == 1; }));
    EXPECT_EQ(state.neighbours.at(0).mac.to_string(), "02:00:00:00:00:07");
    run("ip neigh replace 192.0.2.7 lladdr 02:00:00:00:00:08 dev podwire0 nud stale");
    EXPECT_TRUE(
        node.until([&] { return state.neighbours.at(0).mac.to_string() == "02:00:00:00:00:08"; }));
    run("ip neigh del 192.0.2.7 dev podwire0");
    EXPECT_TRUE(node.until([&] { return state.neighbours.empty(); }));
    run("ip address add 192.0.2.2/24 dev podwire0");
    EXPECT_TRUE(node.until([&] {
      return state.addresses.size() > 2 && std::find(state.addresses.begin(), state.addresses.end(),
                                                     LinuxAddress{*net::Address::parse("192.0.2.2"),
                                                                  24}) != state.addresses.end();
    }));
    run("ip route add blackhole 10.8.0.0/16");
    EXPECT_TRUE(node.until([&] {
      const auto* route = state.routes->find(*net::Prefix::parse("10.8.0.0/16"));
      return route != nullptr && route->says->blackhole;
    }));
    run("ip link set podwire0 mtu 1400");
    EXPECT_TRUE(node.until([&] { return state.host_tap_mtu == 1400; }));
    run("ip link set podwire0 mtu 9000");  // more than the uplink carries
    EXPECT_TRUE(node.until([&] { return state.host_tap_mtu == 2034; }));
  });
}

TEST(Mirror, ReadsAnewWhenEventsAreLost) {
  in_namespace([] {
    run("ip address add 192.0.2.1/24 dev eth0");
    Running node;
    ASSERT_TRUE(node.network->start());
    // More than the socket's buffer holds while nobody reads.
    run("for a in 1 2 3 4 5; do for b in $(seq 0 255); do for c in $(seq 0 4 255); do "
        "echo route add 10.$a.$b.$c/30 via 192.0.2.7 dev podwire0; done; done; done | "
        "ip -batch -");
    EXPECT_TRUE(node.until([&] {
      return has_route(node.network->state(), "10.5.255.252/30", "192.0.2.7") &&
             node.network->state().routes->prefixes() > 81'920;
    }));
  });
}

// What the events of a history of `ip route` make of the mirror, and what the kernel itself lists
// afterwards, read by a mirror that saw none of it.
class Histories {
 public:
  // `drops`: also what makes Linux drop routes without a message, after which all is read anew;
  // else the events alone must do.
  Histories(unsigned seed, bool drops) : random_(seed), drops_(drops) {}

  std::string commands(unsigned count) {
    std::string all;
    while (count-- > 0) all += one() + "\n";
    return all;
  }

 private:
  unsigned pick(unsigned count) { return static_cast<unsigned>(random_() % count); }
  std::string gateway(bool v4) {
    const std::string last = std::to_string(2 + pick(4));
    return v4 ? "192.0.2." + last : "2001:db8::" + last;
  }
  std::string one() {
    const bool v4 = pick(2) == 0;
    if (drops_ && pick(40) == 0) {
      const char* ups[] = {"up", "down"};
      return std::string("link set eth1 ") + ups[pick(2)];
    }
    if (drops_ && pick(20) == 0) return nexthop(v4);
    std::string to = v4 ? "10." + std::to_string(pick(3)) + ".0.0/" + std::to_string(16 - pick(3))
                        : "fd0" + std::to_string(pick(3)) + "::/" + std::to_string(16 - pick(3));
    const char* verbs[] = {"add", "add", "append", "append", "prepend", "replace", "del"};
    const std::string verb = verbs[pick(7)];
    std::string text = (v4 ? "route " : "-6 route ") + verb;
    const unsigned kind = pick(10);
    if (kind == 0) return text + " blackhole " + to + metric();
    text += " " + to + metric();
    if (verb == "del" && pick(2) == 0) return text;
    if (kind == 1) return text + " dev eth1";
    if (kind == 2) return text + " nhid " + std::to_string((v4 ? 1 : 11) + pick(4));
    if (kind < 6) {
      for (unsigned n = 0; n < 2 + pick(2); ++n) {
        text +=
            " nexthop via " + gateway(v4) + " dev podwire0 weight " + std::to_string(1 + pick(3));
      }
      return text;
    }
    return text + " via " + gateway(v4) + " dev podwire0" + (pick(3) == 0 ? " proto bird" : "");
  }
  std::string metric() { return pick(2) == 0 ? "" : " metric " + std::to_string(pick(3) * 10 + 5); }
  std::string nexthop(bool v4) {
    const unsigned base = v4 ? 1 : 11;
    const std::string id = std::to_string(base + pick(2));
    switch (pick(4)) {
      case 0:
        return "nexthop del id " + std::to_string(base + pick(4));
      case 1:
        return "nexthop replace id " + std::to_string(base + 2 + pick(2)) + " group " +
               std::to_string(base) + ",3/" + std::to_string(base + 1);
      default:
        return "nexthop replace id " + id + " via " + gateway(v4) + " dev podwire0";
    }
  }
  std::mt19937 random_;
  const bool drops_;
};

TEST(Mirror, EqualsTheKernelsListAfterRandomHistories) {
  in_namespace([] {
    run("ip address add 192.0.2.1/24 dev eth0; ip address add 2001:db8::1/64 dev eth0 nodad");
    run("ip link add eth1 type veth peer name wire2; ip link set wire2 up; ip link set eth1 up");
    Running node;
    ASSERT_TRUE(node.network->start());
    Running fresh;  // never started: only its mirror reads
    for (unsigned round = 0; round < 60; ++round) {
      std::ofstream("/tmp/podwire-routes-test.batch")
          << Histories(round, round % 4 == 3).commands(60);
      run("ip -force -batch /tmp/podwire-routes-test.batch >/dev/null 2>&1 || true");
      Mirror second(fresh.io, {"podwire0"}, 1000, [] {});
      ASSERT_TRUE(second.start());
      const std::string expected = text_of(*second.state().routes);
      EXPECT_TRUE(node.until([&] { return text_of(*node.network->state().routes) == expected; }))
          << "round " << round << "\nthe kernel has\n"
          << expected << "the mirror\n"
          << text_of(*node.network->state().routes);
      if (testing::Test::HasFailure()) break;
    }
    unlink("/tmp/podwire-routes-test.batch");
  });
}

TEST(Mirror, LetsInWhatThereIsRoomFor) {
  in_namespace([] {
    run("ip address add 192.0.2.1/24 dev eth0");
    Running node;
    node.config.routes_max = 10;
    node.network.emplace(node.io, node.config, UplinkFacts{"eth0", 65535}, [] {});
    ASSERT_TRUE(node.network->start());
    const LinuxRoutes& routes = *node.network->state().routes;
    run("for n in $(seq 1 20); do echo route add 10.$n.0.0/16 via 192.0.2.7 dev podwire0; done | "
        "ip -batch -");
    EXPECT_TRUE(node.until([&] { return routes.prefixes() + routes.refused() >= 20; }));
    EXPECT_EQ(routes.prefixes(), 10U);
    run("for n in $(seq 1 15); do echo route del 10.$n.0.0/16; done | ip -batch -");
    EXPECT_TRUE(node.until([&] {
      return routes.refused() == 0 && has_route(node.network->state(), "10.20.0.0/16", "192.0.2.7");
    }));
  });
}

TEST(HostNetwork, MovesRoutesOfSeveralNextHops) {
  in_namespace([] {
    run("ip address add 192.0.2.1/24 dev eth0; ip address add 2001:db8::1/64 dev eth0 nodad");
    run("ip route add 10.9.0.0/16 nexthop via 192.0.2.7 weight 2 nexthop via 192.0.2.8");
    run("ip route add fd09::/16 nexthop via 2001:db8::7 nexthop via 2001:db8::8");
    Running node;
    ASSERT_TRUE(node.network->start());
    const auto* route = node.network->state().routes->find(*net::Prefix::parse("10.9.0.0/16"));
    ASSERT_NE(route, nullptr);
    ASSERT_EQ(route->says->paths.size(), 2U);
    EXPECT_EQ(route->says->paths[0].weight, 2U);
    EXPECT_TRUE(route->says->paths[1].through_host_tap);
    EXPECT_TRUE(has_route(node.network->state(), "fd09::/16", "2001:db8::8"));
    node.network->stop();
    const std::string back = run("ip route show 10.9.0.0/16");
    EXPECT_NE(back.find("via 192.0.2.7 dev eth0 weight 2"), std::string::npos) << back;
    EXPECT_NE(back.find("via 192.0.2.8 dev eth0 weight 1"), std::string::npos) << back;
    EXPECT_NE(run("ip -6 route show fd09::/16").find("via 2001:db8::8 dev eth0"),
              std::string::npos);
  });
}

TEST(Mirror, MakesLinuxFindWantedNeighbours) {
  in_namespace([] {
    run("ip address add 192.0.2.1/24 dev eth0");
    // The other end of the host tap is a machine of its own.
    run("ip netns add build-mirror-peer && ip link set wire0 netns build-mirror-peer && "
        "ip -n build-mirror-peer address add 192.0.2.7/24 dev wire0 && "
        "ip -n build-mirror-peer address add 192.0.2.8/24 dev wire0 && "
        "ip -n build-mirror-peer link set wire0 up");
    Running node;
    ASSERT_TRUE(node.network->start());
    const Store store;
    node.network->follow({.store = store,
                          .changes = {},
                          .services = {},
                          .wanted_neighbours = {*net::Address::parse("192.0.2.7")}});
    const LinuxState& state = node.network->state();
    EXPECT_TRUE(node.until([&] { return state.neighbours.size() == 1; }));
    node.network->resolve(*net::Address::parse("192.0.2.8"));
    EXPECT_TRUE(node.until([&] { return state.neighbours.size() == 2; }));
    run("ip netns del build-mirror-peer");
  });
}

TEST(HostRoutes, FollowObjectsAndLeaveForeignRoutesAlone) {
  in_namespace([] {
    run("ip address add 192.0.2.1/24 dev eth0");
    run("ip address add 2001:db8::1/64 dev eth0 nodad");
    Running node;
    node.config.service_ranges = {*net::Prefix::parse("10.96.0.0/16")};
    ASSERT_TRUE(node.network->start());
    run("ip route add 10.200.0.0/16 via 192.0.2.7 dev podwire0 proto static");
    Store store;
    const tables::ServiceTable services;
    Changes changes;
    changes.nodes = changes.ip_pools = true;
    store.ip_pools["p"].cidr = *net::Prefix::parse("10.244.0.0/16");
    kube::Node peer;
    peer.meta.name = "n2";
    peer.pod_cidrs = {*net::Prefix::parse("10.244.2.0/24"), *net::Prefix::parse("fd00:2::/64")};
    store.nodes["n2"] = peer;
    kube::Service service;
    service.cluster_ips = {*net::Address::parse("10.96.0.10"), *net::Address::parse("10.97.0.10")};
    store.services["default/web"] = service;
    changes.services = {"default/web"};
    node.network->follow({store, changes, services});
    EXPECT_EQ(run("ip route show proto 112"), "");  // not before everything is known
    store.synced = true;
    node.network->follow({store, {}, services});
    const std::string routes = run("ip route show proto 112");
    const char* rest = " via 169.254.1.1 dev podwire0 src 192.0.2.1 onlink";
    EXPECT_NE(routes.find(std::string("10.244.0.0/16") + rest), std::string::npos) << routes;
    EXPECT_NE(routes.find(std::string("10.96.0.0/16") + rest), std::string::npos);
    EXPECT_NE(routes.find(std::string("10.97.0.10") + rest), std::string::npos);
    EXPECT_EQ(routes.find("10.96.0.10"), std::string::npos);  // inside the range
    EXPECT_EQ(routes.find("10.244.2.0"), std::string::npos);  // inside the pool
    EXPECT_NE(run("ip -6 route show proto 112").find("fd00:2::/64"), std::string::npos);
    // Somebody removes one: it comes back.
    ASSERT_TRUE(node.until([&] { return node.changes > 0; }));
    run("ip route del 10.244.0.0/16");
    EXPECT_TRUE(node.until([&] { return run("ip route show 10.244.0.0/16") != ""; }));
    store.services.clear();
    Changes gone;
    gone.services = {"default/web"};
    node.network->follow({store, gone, services});
    EXPECT_TRUE(node.until([&] { return run("ip route show 10.97.0.10") == ""; }));
    node.network->stop();
    EXPECT_EQ(run("ip route show proto 112"), "");
    EXPECT_NE(run("ip route").find("10.200.0.0/16"), std::string::npos);
  });
}

// The node's own traffic to pods elsewhere has the tunnel address; pods here see the node's own.
TEST(HostRoutes, HaveTheTunnelAddressForTheirSourceIntoPoolsThatEncapsulate) {
  in_namespace([] {
    run("ip address add 192.0.2.1/24 dev eth0");
    Running node;
    node.config.node_name = "n1";
    ASSERT_TRUE(node.network->start());
    Store store;
    store.synced = true;
    const tables::ServiceTable services;
    Changes changes;
    changes.nodes = changes.ip_pools = true;
    auto& pool = store.ip_pools["p"];
    pool.cidr = *net::Prefix::parse("10.244.0.0/16");
    pool.ipip = kube::TunnelMode::always;
    store.ip_pools["plain"].cidr = *net::Prefix::parse("10.50.0.0/16");
    auto& self = store.nodes["n1"];
    self.internal_ips = {*net::Address::parse("192.0.2.1")};
    self.tunnel_v4 = net::Address::parse("10.244.1.200");
    const std::vector own{*net::Prefix::parse("10.244.1.0/24")};
    const auto follow = [&] {
      node.network->follow(
          {.store = store, .changes = changes, .services = services, .own_prefixes = own});
    };
    const auto source_to = [](const std::string& address) {
      const std::string way = run("ip route get " + address + " 2>&1 || true");
      const auto at = way.find("src ");
      return at == std::string::npos ? way : way.substr(at + 4, way.find(' ', at + 4) - at - 4);
    };
    follow();
    EXPECT_TRUE(node.until([&] { return source_to("10.244.7.7") == "10.244.1.200"; }));
    EXPECT_NE(run("ip address show podwire0").find("inet 10.244.1.200/32 scope link"),
              std::string::npos);
    EXPECT_EQ(source_to("10.244.1.7"), "192.0.2.1");
    EXPECT_EQ(source_to("10.50.0.7"), "192.0.2.1");
    self.tunnel_v4 = net::Address::parse("10.244.1.201");
    follow();
    EXPECT_TRUE(node.until([&] { return source_to("10.244.7.7") == "10.244.1.201"; }));
    EXPECT_EQ(run("ip address show podwire0").find("10.244.1.200"), std::string::npos);
    // Moved with nothing: what goes back to the uplink is what was its own.
    node.network->stop();
    EXPECT_EQ(run("ip address show eth0").find("10.244.1.201"), std::string::npos);
    ASSERT_TRUE(node.network->start());
    pool.ipip = kube::TunnelMode::never;
    follow();
    EXPECT_TRUE(node.until([&] { return source_to("10.244.7.7") == "192.0.2.1"; }));
    EXPECT_EQ(run("ip address show podwire0").find("10.244.1.201"), std::string::npos);
    node.network->stop();
  });
}

// As in clouds, where a node's address is of /32 and pods share its range.
TEST(HostRoutes, LeaveANodesOwnSingleAddressInAPoolAlone) {
  in_namespace([] {
    run("ip address add 10.244.0.9/32 dev eth0");
    Running node;
    ASSERT_TRUE(node.network->start());
    Store store;
    store.synced = true;
    const tables::ServiceTable services;
    Changes changes;
    changes.nodes = changes.ip_pools = true;
    store.ip_pools["p"].cidr = *net::Prefix::parse("10.244.0.0/16");
    store.ip_pools["p"].ipip = kube::TunnelMode::cross_subnet;
    store.nodes["n1"].internal_ips = {*net::Address::parse("10.244.0.9")};
    store.nodes["n1"].tunnel_v4 = net::Address::parse("10.244.1.200");
    node.network->follow({store, changes, services});
    const auto shown = [] { return run("ip address show podwire0"); };
    EXPECT_TRUE(node.until([&] { return shown().find("10.244.1.200") != std::string::npos; }));
    store.nodes["n1"].tunnel_v4.reset();
    node.network->follow({store, changes, services});
    EXPECT_TRUE(node.until([&] { return shown().find("10.244.1.200") == std::string::npos; }));
    EXPECT_NE(shown().find("inet 10.244.0.9/32 scope global"), std::string::npos) << shown();
    node.network->stop();
    EXPECT_NE(run("ip address show eth0").find("10.244.0.9"), std::string::npos);
  });
}

TEST(NodePorts, ATableOfNftablesFollowsTheServices) {
  in_namespace([] {
    run("ip address add 192.0.2.1/24 dev eth0");
    Running node;
    ASSERT_TRUE(node.network->start());
    Store store;
    tables::ServiceTable services;
    services.node_port_addresses = {*net::Address::parse("192.0.2.1"),
                                    node_port_address(net::Family::v4)};
    const auto serve = [&](const char* address, std::uint16_t port, std::uint8_t protocol) {
      tables::Frontend frontend;
      frontend.kind = tables::FrontendKind::node_port;
      services.frontends.set({*net::Address::parse(address), net::be16(port), protocol}, frontend);
    };
    const auto listed = [](const std::string& what) {
      return run("nft list " + what + " 2>/dev/null || true");
    };
    const std::string v4 = "set inet podwire-podwire0 ports4";
    serve("0.0.0.0", 30080, 6);
    node.network->follow({store, {}, services});
    EXPECT_EQ(listed(v4), "");  // not before everything is known
    store.synced = true;
    node.network->follow({store, {}, services});
    EXPECT_NE(listed(v4).find("elements = { tcp . 30080 }"), std::string::npos) << listed(v4);
    const std::string addresses = listed("set inet podwire-podwire0 addresses4");
    EXPECT_NE(addresses.find("elements = { 192.0.2.1 }"), std::string::npos) << addresses;
    serve("0.0.0.0", 30007, 17);
    serve("::", 30081, 132);
    Changes changes;
    changes.services = {"default/web"};
    node.network->follow({store, changes, services});
    EXPECT_NE(listed(v4).find("udp . 30007"), std::string::npos) << listed(v4);
    EXPECT_NE(listed("set inet podwire-podwire0 ports6").find("{ sctp . 30081 }"),
              std::string::npos);
    // A pod's port at one address leads to the pod: before what holds for all addresses.
    Attachment pod;
    pod.ips = {*net::Address::parse("10.0.0.5"), *net::Address::parse("fd00::5")};
    pod.host_ports = {{net::Address::parse("127.0.0.1"), 6, 8080, 80}, {std::nullopt, 17, 53, 53}};
    node.network->follow({store, {}, services, {pod}});
    const std::string output = listed("chain inet podwire-podwire0 output");
    const auto single = output.find("ip daddr 127.0.0.1 tcp dport 8080 dnat ip to 10.0.0.5:80");
    EXPECT_LT(single, output.find("@addresses4")) << output;
    node.network->follow({store, {}, services});
    EXPECT_EQ(listed("chain inet podwire-podwire0 output").find("10.0.0.5"), std::string::npos);
    node.network->stop();
    EXPECT_EQ(run("nft list tables"), "");
  });
}

}  // namespace
}  // namespace podwire::control::routes
