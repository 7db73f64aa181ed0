#include "bench/ports/flow_window.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace podwire::ports {
namespace {

TEST(FlowWindow, CountsOrderAndRepetition) {
  FlowWindow window;
  EXPECT_EQ(window.see(0), Order::in_order);
  EXPECT_EQ(window.see(1), Order::in_order);
  EXPECT_EQ(window.see(4), Order::in_order);  // a gap: 2 and 3 are lost or late
  EXPECT_EQ(window.see(3), Order::reordered);
  EXPECT_EQ(window.see(3), Order::duplicated);
  EXPECT_EQ(window.see(4), Order::duplicated);
  EXPECT_EQ(window.see(2), Order::reordered);
  EXPECT_EQ(window.see(5), Order::in_order);
}

TEST(FlowWindow, FirstPacketsMayBeLost) {
  FlowWindow window;
  EXPECT_EQ(window.see(10), Order::in_order);
  EXPECT_EQ(window.see(0), Order::reordered);
  EXPECT_EQ(window.see(0), Order::duplicated);
}

TEST(FlowWindow, RemembersSixtyFour) {
  FlowWindow window;
  EXPECT_EQ(window.see(63), Order::in_order);
  EXPECT_EQ(window.see(0), Order::reordered);
  EXPECT_EQ(window.see(64), Order::in_order);
  EXPECT_EQ(window.see(0), Order::stale);
  EXPECT_EQ(window.see(1), Order::reordered);
  EXPECT_EQ(window.see(1000), Order::in_order);
  EXPECT_EQ(window.see(937), Order::reordered);
  EXPECT_EQ(window.see(936), Order::stale);
}

// Against a plain set, over random histories with loss, repetition and jumps.
TEST(FlowWindow, AgreesWithAPlainSet) {
  std::mt19937 random(7);
  for (int history = 0; history < 200; ++history) {
    FlowWindow window;
    std::set<std::uint32_t> seen;
    std::uint32_t base = 0;
    for (int i = 0; i < 1000; ++i) {
      base += random() % 3 == 0 ? random() % 90 : 1;
      const std::uint32_t back = random() % 4 == 0 ? random() % 80 : 0;
      const std::uint32_t sequence = base > back ? base - back : 0;
      const std::uint32_t next = seen.empty() ? 0 : *seen.rbegin() + 1;
      Order expected = Order::in_order;
      if (sequence < next) {
        expected = next - 1 - sequence >= FlowWindow::kBits ? Order::stale
                   : seen.contains(sequence)                ? Order::duplicated
                                                            : Order::reordered;
      }
      ASSERT_EQ(window.see(sequence), expected) << history << ": " << sequence << " of " << next;
      seen.insert(sequence);
    }
  }
}

}  // namespace
}  // namespace podwire::ports
