#include "control/ipam/block_ipam.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/unit/control/ipam/fake_objects.h"
#include "tests/unit/control/ipam/literals.h"

namespace podwire::control {
namespace {

struct Node {
  Node(FakeObjects& objects, std::string node_name)
      : server(objects), name(std::move(node_name)), client(objects) {
    restart();
  }
  void restart() {
    watch();
    ipam = std::make_unique<BlockIpam>(
        store, name, [this] { return &client; }, [](const net::Address&) { return false; });
  }
  void watch() { server.fill(store); }
  void settle() {
    while (client.waits()) client.carry_out();
  }
  BlockIpam::Ask ask(const std::string& handle, const BlockIpam::Pool& pool) const {
    return {handle, {{"node", name}, {"pod", handle}}, {pool}, std::nullopt};
  }
  // The address, or the sentence of the refusal.
  std::string take(BlockIpam::Ask what) {
    std::string answer = "none";
    ipam->assign(std::move(what), [&](const auto& given) {
      answer = given ? given->to_string() : given.error().sentence;
    });
    settle();
    return answer;
  }

  FakeObjects& server;
  std::string name;
  Store store;
  FakeClient client;
  std::unique_ptr<BlockIpam> ipam;
};

BlockIpam::Pool pool(const char* cidr, std::uint8_t block_size, const char* name = "pool") {
  return {name, *net::Prefix::parse(cidr), block_size};
}

// What blocks and handles say of each other at a quiet moment; every taken address by handle.
std::map<std::string, std::set<net::Address>> taken_by_handle(const FakeObjects& server) {
  std::map<std::string, std::set<net::Address>> taken;
  Store store;
  server.fill(store);
  for (const auto& [name, block] : store.ipam_blocks) {
    for (const auto& one : block.allocations) taken[one.handle].insert(one.address);
    EXPECT_EQ(block.free + block.allocations.size(), 1U << (32 - block.cidr.length)) << name;
  }
  return taken;
}

std::size_t handles(const FakeObjects& server) {
  return static_cast<std::size_t>(std::ranges::count_if(
      server.all, [](const auto& entry) { return entry.first.first == "ipamhandles"; }));
}

TEST(BlockIpam, ClaimsABlockAndTakesFromIt) {
  FakeObjects server;
  Node node(server, "a");
  const auto small = pool("10.0.0.0/24", 30);
  const std::string first = node.take(node.ask("h1", small));
  ASSERT_TRUE(net::Address::parse(first)) << first;
  node.watch();
  ASSERT_EQ(node.store.ipam_blocks.size(), 1U);
  const auto& block = node.store.ipam_blocks.begin()->second;
  EXPECT_EQ(block.node, "a");
  EXPECT_EQ(node.store.block_affinities.begin()->second.state,
            kube::BlockAffinity::State::confirmed);
  EXPECT_EQ(server.all.at({"ipamhandles", "h1"})["spec"]["block"][block.cidr.to_string()], 1);
  for (const char* handle : {"h2", "h3", "h4", "h5"}) node.take(node.ask(handle, small));
  node.watch();
  EXPECT_EQ(node.store.ipam_blocks.size(), 2U);
  for (const char* handle : {"h1", "h2", "h3", "h4", "h5"}) {
    node.ipam->release({handle, {}}, [](bool done) { EXPECT_TRUE(done); });
  }
  node.settle();
  EXPECT_TRUE(taken_by_handle(server).empty());
  EXPECT_EQ(handles(server), 0U);
}

// Many at once: one write of the block.
TEST(BlockIpam, ServesThoseWhoWaitByOneWrite) {
  FakeObjects server;
  Node node(server, "a");
  const auto one = pool("10.0.0.0/24", 26);
  node.take(node.ask("first", one));
  const unsigned before = server.writes;
  std::set<net::Address> given;
  for (int i = 0; i < 40; ++i) {
    node.ipam->assign(node.ask("h" + std::to_string(i), one), [&](const auto& address) {
      ASSERT_TRUE(address);
      EXPECT_TRUE(given.insert(*address).second);
    });
  }
  node.settle();
  EXPECT_EQ(given.size(), 40U);
  EXPECT_LE(server.writes - before, 42U);  // 40 handles; the first does not wait for the others
}

TEST(BlockIpam, BorrowsWhenNoBlockIsLeft) {
  FakeObjects server;
  Node a(server, "a"), b(server, "b");
  const auto only = pool("10.0.0.0/30", 30);
  EXPECT_EQ(a.take(a.ask("h1", only)), "10.0.0.0");
  b.watch();
  EXPECT_EQ(b.take(b.ask("h2", only)), "10.0.0.1");
  b.watch();
  EXPECT_EQ(b.store.ipam_blocks.begin()->second.node, "a");
  EXPECT_EQ(b.store.ipam_blocks.begin()->second.allocations[1].node, "b");
  b.store.ipam_configs["default"].strict_affinity = true;
  EXPECT_EQ(b.take(b.ask("h3", only)), "no free address is left for node b in IPPool pool");
  EXPECT_EQ(a.take(a.ask("h4", only)), "10.0.0.2");
  EXPECT_EQ(a.take(a.ask("h5", only)), "10.0.0.3");
  EXPECT_EQ(a.take(a.ask("h6", only)), "no free address is left for node a in IPPool pool");
  // Nothing of the refused ones stays.
  EXPECT_EQ(handles(server), 4U);
}

TEST(BlockIpam, HoldsTheLimitsOfIpamConfig) {
  FakeObjects server;
  Node node(server, "a");
  auto& config = node.store.ipam_configs["default"];
  config.strict_affinity = true;
  config.blocks_per_host = 1;
  const auto wide = pool("10.0.0.0/24", 31);
  for (const char* handle : {"h1", "h2"}) {
    EXPECT_TRUE(net::Address::parse(node.take(node.ask(handle, wide))));
  }
  EXPECT_EQ(node.take(node.ask("h3", wide)), "no free address is left for node a in IPPool pool");
  config.blocks_per_host = 2;
  EXPECT_TRUE(net::Address::parse(node.take(node.ask("h3", wide))));
  config.allocate_blocks = false;
  config.blocks_per_host = 9;
  node.take(node.ask("h4", wide));
  EXPECT_EQ(node.take(node.ask("h5", wide)), "no free address is left for node a in IPPool pool");
}

TEST(BlockIpam, GivesNothingThatIsReserved) {
  FakeObjects server;
  Node node(server, "a");
  node.store.ip_reservations["r"].cidrs = {*net::Prefix::parse("10.0.0.0/31"),
                                           *net::Prefix::parse("10.0.0.4/30")};
  const auto eight = pool("10.0.0.0/29", 30);
  EXPECT_EQ(node.take(node.ask("h1", eight)), "10.0.0.2");
  EXPECT_EQ(node.take(node.ask("h2", eight)), "10.0.0.3");
  EXPECT_EQ(node.take(node.ask("h3", eight)), "no free address is left for node a in IPPool pool");
  auto fixed = node.ask("h4", eight);
  fixed.fixed = address("10.0.0.1");
  EXPECT_EQ(node.take(fixed), "is reserved");
}

TEST(BlockIpam, TakesFromAPoolOfIPv6) {
  FakeObjects server;
  Node node(server, "a");
  const auto wide = pool("fd00:10::/64", 122);
  const auto given = net::Address::parse(node.take(node.ask("h1", wide)));
  ASSERT_TRUE(given);
  EXPECT_TRUE(wide.cidr.contains(*given));
  node.watch();
  ASSERT_EQ(node.store.ipam_blocks.size(), 1U);
  EXPECT_EQ(node.store.ipam_blocks.begin()->second.cidr, net::Prefix::around(*given, 122));
  node.store.ip_reservations["r"].cidrs = {wide.cidr};
  EXPECT_EQ(node.take(node.ask("h2", wide)), "no free address is left for node a in IPPool pool");
}

TEST(BlockIpam, GivesAFixedAddressOnce) {
  FakeObjects server;
  Node a(server, "a"), b(server, "b");
  const auto one = pool("10.0.0.0/24", 26);
  auto fixed = a.ask("h1", one);
  fixed.fixed = address("10.0.0.77");
  EXPECT_EQ(a.take(fixed), "10.0.0.77");
  fixed.handle = "h2";
  EXPECT_EQ(b.take(fixed), "is taken by h1");
  fixed.fixed = address("10.0.0.78");
  EXPECT_EQ(b.take(fixed), "10.0.0.78");  // out of a's block
  b.store.ipam_configs["default"].strict_affinity = true;
  fixed.fixed = address("10.0.0.79");
  EXPECT_EQ(b.take(fixed),
            "is in a block of node a, and IPAMConfig default: strictAffinity is true");
}

// A hundred times two nodes begin at one moment, in a pool of which each block is wanted by both.
TEST(BlockIpam, TwoNodesAtOnceNeverShare) {
  for (unsigned seed = 1; seed <= 100; ++seed) {
    std::mt19937 random(seed);
    FakeObjects server;
    Node a(server, "a"), b(server, "b");
    const auto tight = pool("10.0.0.0/28", 30);
    std::map<net::Address, std::string> given;
    for (Node* node : {&a, &b}) {
      for (int i = 0; i < 6; ++i) {
        const std::string handle = node->name + std::to_string(i);
        node->ipam->assign(node->ask(handle, tight), [&given, handle](const auto& address) {
          ASSERT_TRUE(address) << address.error().sentence;
          ASSERT_TRUE(given.emplace(*address, handle).second) << address->to_string();
        });
      }
    }
    while (a.client.waits() || b.client.waits()) {
      Node& node = random() % 2 == 0 ? a : b;
      if (node.client.waits()) node.client.carry_out();
      if (random() % 8 == 0) node.watch();
    }
    EXPECT_EQ(given.size(), 12U);
    for (const auto& [handle, addresses] : taken_by_handle(server)) {
      EXPECT_EQ(addresses.size(), 1U) << handle;
      EXPECT_EQ(given[*addresses.begin()], handle);
    }
    // Who has an affinity that is confirmed has the block.
    for (const auto& [key, object] : server.all) {
      if (key.first != "blockaffinities" || object["spec"]["state"] != "confirmed") continue;
      const auto cidr = *net::Prefix::parse(object["spec"]["cidr"].get<std::string>());
      EXPECT_EQ(server.all.at({"ipamblocks", block_name(cidr)})["spec"]["affinity"],
                "host:" + object["spec"]["node"].get<std::string>());
    }
  }
}

// Nodes that come, ask, give back, are cut off before or after any write, or hear no answer. What a
// node knows it holds, it alone holds; what it gives back after a restart leaves nothing behind.
TEST(BlockIpam, NothingIsLostOrGivenTwiceOverCrashes) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    std::mt19937 random(seed);
    FakeObjects server;
    std::vector<std::unique_ptr<Node>> nodes;
    for (const char* name : {"a", "b", "c"}) nodes.push_back(std::make_unique<Node>(server, name));
    const auto tight = pool("10.0.0.0/27", 30);
    struct Held {
      std::map<std::string, net::Address> known;  // answered
      std::set<std::string> noted;                // asked for or being given back
    };
    std::vector<Held> held(nodes.size());
    unsigned next_handle = 0;
    const auto give_back = [&](std::size_t n, std::string handle) {
      held[n].noted.insert(handle);
      held[n].known.erase(handle);
      nodes[n]->ipam->release({handle, {}}, [&held, n, handle](bool done) {
        if (done) held[n].noted.erase(handle);
      });
    };
    const auto restart = [&](std::size_t n, bool last_is_done) {
      nodes[n]->client.crash(last_is_done);
      nodes[n]->restart();
      for (const auto& handle : std::set<std::string>(held[n].noted)) give_back(n, handle);
    };
    for (int step = 0; step < 400; ++step) {
      const std::size_t n = random() % nodes.size();
      Node& node = *nodes[n];
      switch (random() % 16) {
        case 0:
        case 1: {
          const std::string handle = node.name + std::to_string(next_handle++);
          held[n].noted.insert(handle);
          node.ipam->assign(node.ask(handle, tight), [&, n, handle](const auto& address) {
            if (!address) return give_back(n, handle);
            for (const Held& other : held) {
              for (const auto& [theirs, at] : other.known) ASSERT_NE(at, *address) << theirs;
            }
            held[n].known.emplace(handle, *address);
            held[n].noted.erase(handle);
          });
          break;
        }
        case 2:
          if (!held[n].known.empty()) give_back(n, held[n].known.begin()->first);
          break;
        case 3:
          node.watch();
          break;
        case 4:
          if (random() % 4 == 0) restart(n, random() % 2 == 0);
          break;
        case 5:
          if (node.client.waits()) node.client.carry_out(random() % 8 != 0);
          break;
        default:
          if (node.client.waits()) node.client.carry_out();
      }
      if (testing::Test::HasFatalFailure()) FAIL() << "seed " << seed << " step " << step;
    }
    // Quiet: what is noted still is given back, over a restart.
    for (std::size_t n = 0; n < nodes.size(); ++n) {
      nodes[n]->settle();
      restart(n, false);
      nodes[n]->settle();
      EXPECT_TRUE(held[n].noted.empty()) << "seed " << seed;
    }
    std::map<std::string, std::set<net::Address>> expected;
    for (const Held& one : held) {
      for (const auto& [handle, address] : one.known) expected[handle].insert(address);
    }
    EXPECT_EQ(taken_by_handle(server), expected) << "seed " << seed;
    EXPECT_EQ(handles(server), expected.size()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace podwire::control
