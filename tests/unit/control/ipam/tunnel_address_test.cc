#include "control/ipam/tunnel_address.h"

#include <gtest/gtest.h>

#include <optional>
#include <random>

#include "tests/unit/control/fake_dataplane.h"
#include "tests/unit/control/ipam/fake_objects.h"
#include "tests/unit/control/ipam/literals.h"

namespace podwire::control {
namespace {

constexpr const char* kPlace = kube::kTunnelAddress;

// One node and its Node at a server in memory, whose watches tell it of everything at once.
class TunnelAddressTest : public testing::Test {
 protected:
  TunnelAddressTest() : client(server) {
    kube::IpPool& pool = bench.state.store.ip_pools["pool"];
    pool.meta.name = "pool";
    pool.cidr = *net::Prefix::parse("10.9.0.0/24");
    pool.ipip = kube::TunnelMode::always;
    (void)server.create({"v1", "nodes", "Node"},
                        {{"apiVersion", "v1"},
                         {"kind", "Node"},
                         {"metadata", {{"name", "n1"}, {"annotations", {{"mine", "stays"}}}}}});
    start();
  }
  void start() {
    keeper.reset();
    client.crash(false);
    blocks.emplace(
        bench.state.store, "n1", [this] { return &client; },
        [](const net::Address&) { return false; });
    auto hooks = bench.hooks();
    hooks.later = [this](std::chrono::milliseconds, std::function<void()> call) {
      later.push_back(std::move(call));
    };
    later.clear();
    keeper.emplace(bench.state, hooks, *blocks, [this] { return &client; });
  }
  // What the watches tell, then what the keeper makes of it, until nothing changes any more.
  void settle() {
    for (int round = 0; round < 20; ++round) {
      tell();
      keeper->follow();
      while (client.waits()) client.carry_out();
    }
  }
  void tell() {
    server.fill(bench.state.store);
    bench.state.store.nodes["n1"].tunnel_v4 = annotated();
  }
  std::optional<net::Address> annotated() const {
    const auto& annotations = server.all.at({"nodes", "n1"})["metadata"]["annotations"];
    return annotations.contains(kPlace)
               ? net::Address::parse(annotations[kPlace].get<std::string>())
               : std::nullopt;
  }
  // By all blocks, whoever has them.
  std::map<net::Address, std::string> taken() const {
    Store store;
    server.fill(store);
    std::map<net::Address, std::string> all;
    for (const auto& [name, block] : store.ipam_blocks) {
      for (const auto& one : block.allocations) all[one.address] = one.handle + " " + one.type;
    }
    return all;
  }
  void expect_one() {
    ASSERT_TRUE(annotated());
    EXPECT_EQ(taken(), (std::map<net::Address, std::string>{
                           {*annotated(), "ipip-tunnel-addr-n1 ipipTunnelAddress"}}));
    EXPECT_EQ(server.all.at({"nodes", "n1"})["metadata"]["annotations"]["mine"], "stays");
  }

  Bench bench;
  FakeObjects server;
  FakeClient client;
  std::optional<BlockIpam> blocks;
  std::vector<std::function<void()>> later;
  std::optional<TunnelAddress> keeper;
};

TEST_F(TunnelAddressTest, StandsInABlockAndOnTheNode) {
  settle();
  expect_one();
  const unsigned writes = server.writes;
  settle();
  start();
  settle();
  EXPECT_EQ(server.writes, writes);  // it is there: nothing to do, after a restart neither
}

TEST_F(TunnelAddressTest, APoolThatDoesNotEncapsulateOrIsNotForTunnelsGivesNone) {
  kube::IpPool& pool = bench.state.store.ip_pools["pool"];
  pool.ipip = kube::TunnelMode::never;
  settle();
  EXPECT_FALSE(annotated());
  pool.ipip = kube::TunnelMode::cross_subnet;
  pool.for_tunnels = false;
  settle();
  EXPECT_FALSE(annotated());
  pool.for_tunnels = true;
  settle();
  expect_one();
}

TEST_F(TunnelAddressTest, ComesFromNoPoolWhoseAddressesAreAnothers) {
  kube::IpPool plain = bench.state.store.ip_pools["pool"];
  plain.meta.name = "a-plain-one";
  plain.ipip = kube::TunnelMode::never;
  bench.state.store.ip_pools[plain.meta.name] = plain;  // overlaps, and is first by name
  settle();
  EXPECT_FALSE(annotated());
  EXPECT_TRUE(taken().empty());
}

TEST_F(TunnelAddressTest, ItsTroubleIsSaidUntilItIsOver) {
  kube::IpamConfig& config = bench.state.store.ipam_configs["default"];
  config.allocate_blocks = false;
  settle();
  EXPECT_EQ(bench.state.tunnel_trouble,
            "Node n1: tunnel address: no free address is left for node n1 in IPPool pool");
  config.allocate_blocks = true;
  for (const auto& call : std::exchange(later, {})) call();
  settle();
  EXPECT_EQ(bench.state.tunnel_trouble, "");
  expect_one();
}

TEST_F(TunnelAddressTest, IsGivenBackWhenItsPoolEncapsulatesNoLonger) {
  settle();
  bench.state.store.ip_pools["pool"].ipip = kube::TunnelMode::never;
  settle();
  EXPECT_FALSE(annotated());
  EXPECT_TRUE(taken().empty());
  EXPECT_EQ(server.all.at({"nodes", "n1"})["metadata"]["annotations"]["mine"], "stays");
}

TEST_F(TunnelAddressTest, MovesIntoAnotherPool) {
  settle();
  kube::IpPool other = bench.state.store.ip_pools["pool"];
  other.meta.name = "other";
  other.cidr = *net::Prefix::parse("10.10.0.0/24");
  bench.state.store.ip_pools = {{"other", other}};
  settle();
  expect_one();
  EXPECT_TRUE(other.cidr.contains(*annotated()));
}

TEST_F(TunnelAddressTest, AnAnnotationThatNobodyKeptABlockForIsReplaced) {
  server.all[{"nodes", "n1"}]["metadata"]["annotations"][kPlace] = "10.9.0.77";
  settle();
  expect_one();
}

TEST_F(TunnelAddressTest, OnlyOneIsKeptWhateverMomentItEndsAt) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    kube::IpPool& pool = bench.state.store.ip_pools["pool"];
    for (unsigned step = random() % 30; step > 0; --step) {
      if (random() % 8 == 0) tell();
      if (random() % 16 == 0) {
        pool.ipip = random() % 2 == 0 ? kube::TunnelMode::never : kube::TunnelMode::always;
      }
      keeper->follow();
      if (client.waits()) client.carry_out(random() % 6 != 0);
      if (random() % 4 == 0) {
        for (const auto& call : std::exchange(later, {})) call();
      }
    }
    keeper.reset();
    client.crash(random() % 2 == 0);
    pool.ipip = kube::TunnelMode::always;
    start();
    settle();
    expect_one();
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace podwire::control
