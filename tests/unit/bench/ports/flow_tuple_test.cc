#include "bench/ports/flow_tuple.h"

#include <gtest/gtest.h>

#include <set>
#include <tuple>

namespace podwire::ports {
namespace {

TEST(FlowSpace, GivesEveryFlowItsOwnTuple) {
  for (const auto& [source, destination] :
       {std::pair{"198.18.0.1", "198.19.0.1"}, std::pair{"fd00:198:18::1", "fd00:198:19::1"}}) {
    FlowSpace space;
    space.first_source = *net::Address::parse(source);
    space.first_destination = *net::Address::parse(destination);
    space.destinations = 3;
    space.destination_port = 80;
    std::set<std::tuple<net::Address, std::uint16_t, net::Address>> seen;
    constexpr std::uint32_t kFlows = 300'000;
    for (std::uint32_t flow = 0; flow < kFlows; ++flow) {
      const FlowTuple tuple = space.tuple(flow);
      EXPECT_EQ(tuple.destination_port.host(), 80);
      EXPECT_GE(tuple.source_port.host(), 1024);
      seen.emplace(tuple.source, tuple.source_port.host(), tuple.destination);
    }
    EXPECT_EQ(seen.size(), kFlows);
  }
}

TEST(FlowSpace, CountsInTheAddress) {
  FlowSpace space;
  space.first_source = *net::Address::parse("198.18.0.255");
  space.first_destination = *net::Address::parse("198.19.255.255");
  space.destinations = 2;
  EXPECT_EQ(space.tuple(FlowSpace::kPorts).source.to_string(), "198.18.1.0");
  EXPECT_EQ(space.tuple(1).destination.to_string(), "198.20.0.0");
}

}  // namespace
}  // namespace podwire::ports
