#include "dataplane/handoff.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <thread>

namespace podwire {
namespace {

// A frame that says its number by its port; it has no buffer.
Burst::Frame frame(unsigned number) {
  return {nullptr, static_cast<PortId>(number), false};
}

TEST(Handoff, EveryHashHasItsWorker) {
  const Handoff handoff(3);
  EXPECT_EQ(handoff.worker_of(0), 0U);
  EXPECT_EQ(handoff.worker_of(0x55555556), 1U);
  EXPECT_EQ(handoff.worker_of(0xffffffff), 2U);
}

TEST(Handoff, FramesArriveInOrderAndAreMarked) {
  Handoff handoff(3);
  for (unsigned i = 0; i < 100; ++i) ASSERT_TRUE(handoff.give(0, 2, frame(i)));
  ASSERT_TRUE(handoff.give(1, 2, frame(500)));
  Burst burst;
  EXPECT_EQ(handoff.take(1, burst), 0U);
  EXPECT_EQ(handoff.take(2, burst), kBatchSize) << "no more than a burst holds";
  for (unsigned i = 0; i < kBatchSize; ++i) {
    EXPECT_EQ(burst[i].in_port, i);
    EXPECT_TRUE(burst[i].handed);
  }
  burst.clear();
  EXPECT_EQ(handoff.take(2, burst), 101 - kBatchSize);
  EXPECT_EQ(burst[burst.size() - 1].in_port, 500);
}

TEST(Handoff, AFullRingRefuses) {
  Handoff handoff(2);
  unsigned given = 0;
  while (handoff.give(0, 1, frame(given))) ++given;
  EXPECT_EQ(given, 256U);
  Burst burst;
  EXPECT_GT(handoff.take(1, burst), 0U);
  EXPECT_TRUE(handoff.give(0, 1, frame(given)));
  while (handoff.take(1, burst) > 0) burst.clear();
}

bool is_readable(int descriptor) {
  pollfd poll_for{.fd = descriptor, .events = POLLIN, .revents = 0};
  return poll(&poll_for, 1, 0) == 1;
}

TEST(Handoff, ASleeperIsWokenAndNobodyElse) {
  Handoff handoff(2);
  const int descriptor = eventfd(0, EFD_NONBLOCK);
  ASSERT_GE(descriptor, 0);
  ASSERT_TRUE(handoff.give(0, 1, frame(1)));
  EXPECT_FALSE(handoff.may_sleep(1, descriptor)) << "a frame waits";
  handoff.wake(0);
  EXPECT_FALSE(is_readable(descriptor)) << "it does not sleep";
  Burst burst;
  handoff.take(1, burst);
  EXPECT_TRUE(handoff.may_sleep(1, descriptor));
  handoff.wake(0);
  EXPECT_FALSE(is_readable(descriptor)) << "nothing was given since";
  ASSERT_TRUE(handoff.give(0, 1, frame(2)));
  handoff.wake(0);
  EXPECT_TRUE(is_readable(descriptor));
  handoff.awake(1);
  handoff.take(1, burst);
  close(descriptor);
}

// A sleeper that is not woken would never end this test.
TEST(Handoff, NoFrameIsSleptOver) {
  constexpr unsigned kFrames = 20000;
  Handoff handoff(2);
  const int descriptor = eventfd(0, EFD_NONBLOCK);
  ASSERT_GE(descriptor, 0);
  std::thread taker([&] {
    Burst burst;
    for (unsigned next = 0; next < kFrames;) {
      burst.clear();
      if (handoff.take(1, burst) == 0 && handoff.may_sleep(1, descriptor)) {
        pollfd poll_for{.fd = descriptor, .events = POLLIN, .revents = 0};
        poll(&poll_for, 1, -1);
        std::uint64_t times = 0;
        static_cast<void>(!read(descriptor, &times, sizeof times));
        handoff.awake(1);
      }
      for (unsigned i = 0; i < burst.size(); ++i, ++next) {
        EXPECT_EQ(burst[i].in_port, static_cast<PortId>(next));
      }
    }
  });
  for (unsigned i = 0; i < kFrames;) {
    if (handoff.give(0, 1, frame(i))) ++i;
    handoff.wake(0);
  }
  taker.join();
  close(descriptor);
}

}  // namespace
}  // namespace podwire
