// What the measuring programs rest on: that a wrong packet ends them, and that what they feed is
// what they say.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "bench/lib/draw.h"
#include "bench/lib/spread.h"
#include "bench/model/load.h"
#include "bench/model/queue.h"
#include "bench/path/node.h"
#include "bench/path/workers.h"

namespace podwire::bench {
namespace {

using test::FlowCase;

void measure(const FlowCase& c, std::uint32_t flows) {
  test::start_eal();
  make_packet_pool();
  Node node(c, flows);
  Lane lane(node, c);
  const std::vector<std::uint32_t> sequence(1024, 0);
  const Subject subject = lane.subject(sequence);
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

TEST(TwoWorkers, CarryBothDirectionsAtOnce) {
  if (!has_two_cores()) GTEST_SKIP() << "one core";
  test::start_eal();
  make_packet_pool();
  const auto& cases = test::flow_cases();
  const std::vector<std::uint32_t> sequence(4096, 7);
  const auto two = measure_two_workers(cases[0], cases[1], 100, sequence,
                                       {.wanted = 3, .warm_up = 2, .seconds_max = 0.05});
  for (const auto& measured : {two.one, two.there, two.back, two.there_alone, two.back_alone}) {
    EXPECT_GT(measured.cycles.median, 0);
    EXPECT_GT(measured.noise.accepted, 0U);
  }
  EXPECT_GT(two.speedup(), 0);
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

TEST(Load, SharesAreOfTheStandardToeplitzHash) {
  // Many even flows: an even table. One elephant: one entry has its share and that of some others.
  const auto even = table_shares({.flows = 200'000});
  ASSERT_EQ(even.size(), 128U);
  for (const double share : even) EXPECT_NEAR(share, 1.0 / 128, 0.1 / 128);
  auto elephant =
      table_shares({.flows = 200'000, .distribution = "elephant", .elephant_share = 0.5});
  std::sort(elephant.rbegin(), elephant.rend());
  EXPECT_NEAR(elephant[0], 0.5 + 0.5 / 128, 0.01);
  EXPECT_NEAR(elephant[1], 0.5 / 128, 0.001);
}

TEST(Load, MovedEntriesLeaveNoWorkerFullerThanItsShareOfOneEntry) {
  const auto shares = table_shares({.flows = 10'000, .distribution = "zipf"});
  const double largest = *std::max_element(shares.begin(), shares.end());
  for (const unsigned workers : {2U, 4U, 16U}) {
    const auto plain = worker_shares(shares, assign_plainly(shares.size(), workers), workers);
    const auto moved = worker_shares(shares, assign_by_load(shares, workers), workers);
    const double most = *std::max_element(moved.begin(), moved.end());
    EXPECT_LE(most, std::max(largest, 1.0 / workers) * 1.1);
    EXPECT_LE(most, *std::max_element(plain.begin(), plain.end()));
    double sum = 0;
    for (const double share : moved) sum += share;
    EXPECT_NEAR(sum, 1, 1e-9);
  }
}

TEST(Queue, LosesNothingBelowItsRateAndTheRestAbove) {
  const Queue queue{.service_ns = {.median = 100, .p10 = 90, .p90 = 110}};
  EXPECT_EQ(lost(queue, 9e6), 0U);
  EXPECT_NEAR(lost(queue, 20e6), queue.packets / 2.0, queue.packets / 50.0);
  const double rate = largest_rate(queue);
  EXPECT_GT(rate, 9.5e6);
  EXPECT_LE(rate, 10e6);
  Queue small = queue;
  small.ring = 8;
  EXPECT_LT(largest_rate(small), rate * 0.9);
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
