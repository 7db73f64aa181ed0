#include "control/ipam/leaks.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/unit/control/fake_dataplane.h"
#include "tests/unit/control/ipam/fake_objects.h"
#include "tests/unit/control/ipam/literals.h"

namespace podwire::control {
namespace {

using namespace std::chrono_literals;

// Nodes a and gone have taken addresses of blocks of four; the Node of the second is no more.
class LeaksTest : public testing::Test {
 protected:
  struct Node {
    explicit Node(FakeObjects& server, const std::string& name)
        : client(server),
          blocks(
              bench.state.store, name, [this] { return &client; },
              [](const net::Address&) { return false; }) {
      bench.config.node_name = name;
      bench.state.store.nodes.clear();
    }
    void settle(FakeObjects& server) {
      while (client.waits()) {
        client.carry_out();
        server.fill(bench.state.store);
      }
    }
    Bench bench;
    FakeClient client;
    BlockIpam blocks;
    Leaks leaks{bench.state, blocks};
  };
  LeaksTest() {
    for (Node* node : {&a, &z, &gone}) node->bench.state.store.nodes["a"], know(*node, "z");
  }
  static void know(Node& node, const std::string& name) { node.bench.state.store.nodes[name]; }

  std::string take(Node& node, const std::string& handle, const std::string& pod = "") {
    server.fill(node.bench.state.store);
    BlockIpam::Ask ask{handle, {{"node", node.bench.config.node_name}}, {pool_}, std::nullopt};
    if (!pod.empty()) {
      ask.attributes["namespace"] = "default";
      ask.attributes["pod"] = pod;
    }
    std::string answer;
    node.blocks.assign(ask, [&](const auto& given) {
      answer = given ? given->to_string() : given.error().sentence;
    });
    node.settle(server);
    return answer;
  }
  void collect(Node& node) {
    server.fill(node.bench.state.store);
    node.leaks.collect({}, 0s);
    node.settle(server);
  }
  std::set<std::string> kept() const {
    std::set<std::string> names;
    for (const auto& [key, object] : server.all) names.insert(key.first + " " + key.second);
    return names;
  }
  BlockIpam::Pool pool_{"pool", *net::Prefix::parse("10.9.0.0/29"), 30};  // two blocks
  FakeObjects server;
  Node a{server, "a"}, z{server, "z"}, gone{server, "gone"};
};

TEST_F(LeaksTest, WhatAGoneNodeHasLeftIsGivenBackItsBlockLast) {
  know(gone, "gone");
  take(gone, "net.one", "one");
  take(gone, "ipip-tunnel-addr-gone");
  ASSERT_EQ(kept().size(), 4U) << "affinity, block, two handles";
  collect(a);  // addresses
  collect(a);  // and then the block
  EXPECT_EQ(kept(), std::set<std::string>{});
}

TEST_F(LeaksTest, ANodeThatIsKnownKeepsWhatItHas) {
  for (Node* node : {&a, &gone}) know(*node, "gone");
  take(gone, "net.one", "one");
  const auto before = kept();
  collect(a);
  collect(a);
  EXPECT_EQ(kept(), before);
}

TEST_F(LeaksTest, AnAddressThatAPodStillHasStays) {
  const auto address = net::Address::parse(take(gone, "net.one", "one"));
  ASSERT_TRUE(address);
  a.bench.state.store.pods["default/one"].ips = {*address};
  const auto before = kept();
  collect(a);
  collect(a);
  EXPECT_EQ(kept(), before);
}

TEST_F(LeaksTest, AnAddressThatAnotherHasBorrowedStaysInABlockOfNobody) {
  pool_.cidr = *net::Prefix::parse("10.9.0.0/30");  // one block
  take(gone, "net.one", "one");
  const std::string lent = take(a, "net.two", "two");
  a.bench.state.store.pods["default/two"].ips = {*net::Address::parse(lent)};
  collect(a);
  collect(a);
  EXPECT_EQ(kept(), (std::set<std::string>{"ipamblocks 10-9-0-0-30", "ipamhandles net.two"}));
  EXPECT_FALSE(server.all.at({"ipamblocks", "10-9-0-0-30"})["spec"].contains("affinity"));
  // The last address ends it.
  a.bench.state.store.pods.clear();
  a.blocks.release({"net.two", {*net::Address::parse(lent)}}, nullptr);
  a.settle(server);
  EXPECT_EQ(kept(), std::set<std::string>{});
}

TEST_F(LeaksTest, TheFirstNodeSeesToItAndOthersOnlyMuchLater) {
  take(gone, "net.one", "one");
  const Leaks::Time start{};
  const auto collect_at = [&](Node& node, Leaks::Duration since_start) {
    server.fill(node.bench.state.store);
    node.leaks.collect({}, 5min, start + since_start);
    node.settle(server);
    return kept().size();
  };
  for (Node* node : {&a, &z}) EXPECT_EQ(collect_at(*node, 0s), 3U);
  EXPECT_EQ(collect_at(a, 14min), 3U);
  EXPECT_EQ(collect_at(z, 29min), 3U);
  EXPECT_EQ(collect_at(a, 15min), 2U);  // the address; the block is suspected from now on
  EXPECT_EQ(collect_at(z, 31min), 2U);
  EXPECT_EQ(collect_at(z, 62min), 0U);
}

TEST_F(LeaksTest, NodesThatCollectAtOnceInAnyOrderLeaveNothing) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    for (int i = 0; i < 3; ++i) {
      take(gone, "net." + std::to_string(i), "pod" + std::to_string(i));
    }
    for (int step = 0; step < 40; ++step) {
      Node& node = random() % 2 == 0 ? a : z;
      if (random() % 3 == 0) {
        server.fill(node.bench.state.store);
        node.leaks.collect({}, 0s);
      }
      if (node.client.waits()) node.client.carry_out(random() % 5 != 0);
    }
    for (Node* node : {&a, &z}) node->settle(server);
    for (int i = 0; i < 3; ++i) collect(a);
    ASSERT_EQ(kept(), std::set<std::string>{});
  }
}

}  // namespace
}  // namespace podwire::control
