// Several paths to one prefix: how flows are spread over them, and what moves when one goes.
#include "tests/packet/families.h"

namespace podwire::test {
namespace {

using tables::NextHopKind;
using tables::PathGroup;

constexpr unsigned kFlows = 600;

// A world in which `outside` is reached by routers 1, 2 and 3.
struct Fabric {
  const Names& n;
  World world;
  std::array<tables::NextHopId, 4> routers{};
  net::Mac came_by;

  explicit Fabric(const Names& names) : n(names) {
    for (unsigned router = 1; router <= 3; ++router) {
      routers[router] =
          add({.kind = NextHopKind::link,
               .port = 0,
               .destination_mac = mac_of(router),
               .source_mac = *net::Mac::parse("02:00:00:00:00:01"),
               .gateway = *net::Address::parse("192.0.2.20" + std::to_string(router))});
    }
    // No masquerading: every packet leaves as it came.
    world.routes.pools.set(prefix(), false);
  }
  [[nodiscard]] net::Prefix prefix() const {
    return net::Prefix::around(*net::Address::parse(n.outside), n.v4 ? 24 : 48);
  }
  static net::Mac mac_of(unsigned router) {
    return net::Mac{{2, 0, 0, 0, 1, static_cast<std::uint8_t>(router)}};
  }
  tables::NextHopId add(const tables::NextHop& hop) {
    world.routes.next_hops.push_back(hop);
    return static_cast<tables::NextHopId>(world.routes.next_hops.size() - 1);
  }
  void use(const std::vector<std::pair<unsigned, std::uint32_t>>& routers_and_weights) {
    std::vector<PathGroup::Path> paths;
    for (const auto& item : routers_and_weights) {
      paths.push_back({routers[item.first], item.second, item.first * 77U});
    }
    world.routes.groups.push_back(std::make_shared<PathGroup>(paths));
    world.routes.prefixes.set(
        prefix(), add({.kind = NextHopKind::several,
                       .group = static_cast<std::uint32_t>(world.routes.groups.size() - 1)}));
    ++world.next.route_generation;
    world.publish();
  }
  // The router that a packet of flow number `flow` is sent to.
  [[nodiscard]] unsigned router_of(unsigned flow, bool is_new) {
    const auto port = static_cast<std::uint16_t>(1000 + flow);
    const Out out{.port = "uplink", .frame = {}, .judge = [this](const Bytes& bytes) {
                    std::copy_n(bytes.begin(), 6, came_by.bytes.begin());
                    return std::string();
                  }};
    const auto wrong = world.run({.in = {{"a", udp(n.a, port, n.outside, 53)}},
                                  .out = {out},
                                  .counters = {{"flows_created", is_new ? 1 : 0}}});
    EXPECT_EQ(wrong, "");
    return came_by.bytes[5];
  }
  std::vector<unsigned> all(bool are_new = false) {
    std::vector<unsigned> routers_of_flows;
    for (unsigned flow = 0; flow < kFlows; ++flow) {
      routers_of_flows.push_back(router_of(flow, are_new));
    }
    return routers_of_flows;
  }
};

long share(const std::vector<unsigned>& all, unsigned router) {
  return std::count(all.begin(), all.end(), router);
}

FAMILY_CASE(PathsSpreadFlowsByWeightAndKeepEachToItsOwn) {
  Fabric fabric(n);
  fabric.use({{1, 1}, {2, 3}});
  const auto first = fabric.all(true);
  EXPECT_NEAR(share(first, 1), kFlows / 4, kFlows / 12);
  EXPECT_EQ(share(first, 1) + share(first, 2), kFlows);
  EXPECT_EQ(fabric.all(), first);  // by the fast path
  ++fabric.world.next.route_generation;
  fabric.world.publish();
  EXPECT_EQ(fabric.all(), first);  // routed anew
  ++fabric.world.next.policy_generation;
  fabric.world.publish();
  for (unsigned flow = 0; flow < 20; ++flow) {
    RUN(fabric.world,
        {.in = {{"a", udp(n.a, static_cast<std::uint16_t>(1000 + flow), n.outside, 53)}},
         .out = {{.port = "uplink",
                  .frame = {},
                  .judge =
                      [&](const Bytes& bytes) {
                        return bytes[5] == first[flow] ? "" : "takes another path";
                      }}},
         .counters = {{"policy_rejudged", 1}}});
  }
}

FAMILY_CASE(PathsAreLostByTheirOwnFlowsAlone) {
  Fabric fabric(n);
  fabric.use({{1, 1}, {2, 1}, {3, 1}});
  const auto first = fabric.all(true);
  fabric.use({{3, 1}, {1, 1}});
  const auto without = fabric.all();
  for (unsigned flow = 0; flow < kFlows; ++flow) {
    if (first[flow] == 2) continue;
    EXPECT_EQ(without[flow], first[flow]) << flow;
  }
  EXPECT_EQ(share(without, 2), 0);
  // Both of the others got something of it.
  EXPECT_GT(share(without, 1), share(first, 1) + kFlows / 12);
  EXPECT_GT(share(without, 3), share(first, 3) + kFlows / 12);
  fabric.use({{2, 1}, {1, 1}, {3, 1}});
  EXPECT_EQ(fabric.all(), first);
}

// What waits for its path's neighbour goes by that path, though others are known.
FAMILY_CASE(PathsHoldForTheirOwnNeighbour) {
  Fabric fabric(n);
  fabric.use({{1, 1}, {2, 1}});
  tables::NextHop& second = fabric.world.routes.next_hops[fabric.routers[2]];
  const tables::NextHop known = second;
  second.kind = NextHopKind::unresolved;
  fabric.world.publish();
  const auto packet = [&](unsigned flow) {
    return udp(n.a, static_cast<std::uint16_t>(1000 + flow), n.outside, 53);
  };
  unsigned flow = 0;
  // Flows of the known path pass; the first of the other is held.
  for (;; ++flow) {
    ASSERT_LT(flow, 64U);
    const auto wrong = fabric.world.run(
        {.in = {{"a", packet(flow)}}, .counters = {{"flows_created", 1}, {"holding", 1}}});
    if (wrong.empty()) break;
  }
  second = known;
  fabric.world.publish();
  RUN(fabric.world,
      {.out = {{.port = "uplink",
                .frame = {},
                .judge =
                    [](const Bytes& bytes) { return bytes[5] == 2 ? "" : "takes another path"; }}},
       .counters = {{"holding", -1}}});
}

}  // namespace
}  // namespace podwire::test
