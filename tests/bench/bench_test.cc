// What the measuring programs rest on: that a wrong packet ends them, and that what they feed is
// what they say.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "bench/lib/draw.h"
#include "bench/lib/spread.h"
#include "bench/path/node.h"

namespace podwire::bench {
namespace {

using test::FlowCase;

void measure(const FlowCase& c, std::uint32_t flows) {
  test::start_eal();
  make_packet_pool();
  Node node(c, flows);
  const std::vector<std::uint32_t> sequence(1024, 0);
  const Subject subject = node.subject(sequence);
  for (int i = 0; i < 3; ++i) {
    subject.prepare();
    EXPECT_EQ(subject.run(), 256U);
  }
}

FlowCase dnat_case() {
  return test::flow_cases().front();
}

TEST(Node, MeasuresWhatLeavesRightly) {
  EXPECT_EXIT((measure(dnat_case(), 50'100), std::exit(0)), testing::ExitedWithCode(0), "");
}

TEST(Node, EndsWhenAByteIsWrong) {
  FlowCase c = dnat_case();
  c.leaves = [leaves = c.leaves](std::uint32_t i) {
    test::Out out = leaves(i);
    out.frame.payload.back() ^= 1;
    return out;
  };
  EXPECT_EXIT(measure(c, 100), testing::ExitedWithCode(1), "flow 0 leaves wrongly");
}

TEST(Node, EndsWhenOneFlowOfManyIsWrong) {
  FlowCase c = dnat_case();
  c.leaves = [leaves = c.leaves](std::uint32_t i) {
    test::Out out = leaves(i);
    if (i == 50'000) out.frame.tos = 4;
    return out;
  };
  EXPECT_EXIT(measure(c, 50'001), testing::ExitedWithCode(1), "flow 50000 leaves wrongly");
}

TEST(Node, EndsWhenPacketsAreLost) {
  FlowCase c = dnat_case();
  c.packet = [packet = c.packet](std::uint32_t i) {
    test::In in = packet(i);
    in.frame.ttl = 1;
    return in;
  };
  EXPECT_EXIT(measure(c, 100), testing::ExitedWithCode(1), "packets are lost");
}

TEST(Node, EndsWhenFlowsAreRefused) {
  FlowCase c = dnat_case();
  c.set_up = [set_up = c.set_up](test::World& world) {
    set_up(world);
    world.isolate("a", false, {});
    world.publish();
  };
  EXPECT_EXIT(measure(c, 100), testing::ExitedWithCode(1), "lost at their start");
}

TEST(MendChecksum, IsTheSlowSumOfTheChangedBytes) {
  std::mt19937 random(1);
  for (int round = 0; round < 100'000; ++round) {
    test::Bytes bytes(20);
    for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
    bytes[10] = bytes[11] = 0;
    const auto sum = [&] { return static_cast<std::uint16_t>(~test::slow_sum(bytes.data(), 20)); };
    std::uint8_t field[2] = {static_cast<std::uint8_t>(sum() >> 8U),
                             static_cast<std::uint8_t>(sum())};
    const auto from = static_cast<std::uint16_t>(bytes[4] << 8U | bytes[5]);
    const auto to = static_cast<std::uint16_t>(random());
    bytes[4] = static_cast<std::uint8_t>(to >> 8U);
    bytes[5] = static_cast<std::uint8_t>(to);
    mend_checksum(field, from, to);
    ASSERT_EQ(field[0] << 8U | field[1], sum());
  }
}

TEST(Draw, ZipfGivesTheFirstRankItsShare) {
  constexpr std::uint32_t kFlows = 1000, kCount = 200'000;
  std::map<std::uint32_t, unsigned> times;
  for (const auto flow : draw("zipf", kFlows, kCount)) ++times[flow];
  double total = 0;
  for (std::uint32_t rank = 1; rank <= kFlows; ++rank) total += std::pow(rank, -1.1);
  std::vector<unsigned> ranks;
  for (const auto& [flow, count] : times) {
    ASSERT_LT(flow, kFlows);
    ranks.push_back(count);
  }
  std::sort(ranks.rbegin(), ranks.rend());
  EXPECT_NEAR(ranks[0], kCount / total, kCount / total / 20);
  EXPECT_NEAR(ranks[9], kCount / total * std::pow(10, -1.1), kCount / total / 20);
}

TEST(Draw, UniformReachesEveryFlowAndSequentialGoesRound) {
  std::map<std::uint32_t, unsigned> times;
  for (const auto flow : draw("uniform", 100, 100'000)) ++times[flow];
  EXPECT_EQ(times.size(), 100U);
  for (const auto& [flow, count] : times) EXPECT_NEAR(count, 1000, 200) << flow;
  EXPECT_EQ(draw("sequential", 3, 5), (std::vector<std::uint32_t>{0, 1, 2, 0, 1}));
}

TEST(Spread, IsMedianTenthAndNinetieth) {
  std::vector<double> samples;
  for (int i = 0; i <= 100; ++i) samples.push_back(100 - i);
  const Spread spread = spread_of(samples);
  EXPECT_EQ(spread.median, 50);
  EXPECT_EQ(spread.p10, 10);
  EXPECT_EQ(spread.p90, 90);
}

}  // namespace
}  // namespace podwire::bench
