// No cache line of the flow table is written by two workers in turn for an established packet:
// both directions of every flow on different workers, through the whole pipeline, in a build that
// counts such writes (dataplane/flow/line_writes.h).
#include "dataplane/flow/line_writes.h"

#include <gtest/gtest.h>

#include <barrier>
#include <optional>
#include <thread>

#include "dataplane/flow/flows.h"
#include "tests/lib/world.h"

namespace podwire::test {
namespace {

constexpr unsigned kFlows = 200, kRounds = 40;
constexpr std::uint8_t kTcp = 6;

Frame there(unsigned flow, std::string_view flags) {
  return tcp("10.244.1.2", static_cast<std::uint16_t>(1000 + flow), "10.96.0.1", 80, flags);
}
Frame back(unsigned flow, std::string_view flags) {
  return tcp("10.244.1.3", 8080, "10.244.1.2", static_cast<std::uint16_t>(1000 + flow), flags);
}

// Two workers: 0 carries what pod "a" sends, 1 what pod "b" does. Each sends to a port of its own.
class LineWrites : public testing::Test {
 protected:
  LineWrites() : world_(2) {
    flow::forget_writers();
    world_.add_cluster_ip(kTcp, "10.96.0.1:80", {"10.244.1.3:8080"});
    world_.isolate("a", false, {{.peers = {"10.244.1.3"}, .protocol = kTcp}});
    world_.publish();
  }

  // A packet of every flow, from worker 0's side or worker 1's.
  void carry(unsigned worker, std::string_view flags) {
    const char* from = worker == 0 ? "a" : "b";
    auto& sent = world_.port(worker == 0 ? "b" : "a").sent;
    for (unsigned flow = 0; flow < kFlows;) {
      Burst burst;
      for (; flow < kFlows && !burst.full(); ++flow) {
        const Frame frame = worker == 0 ? there(flow, flags) : back(flow, flags);
        burst.append(world_.make_buffer({from, frame}), world_.port_id(from));
      }
      const unsigned count = burst.size();
      world_.worker(worker).process(burst);
      world_.shared().quiescence.report(worker);
      if (sent.size() != count) ++lost_;
      for (rte_mbuf* mbuf : sent) rte_pktmbuf_free(mbuf);
      sent.clear();
    }
  }
  // The same by the worker's own thread.
  void in_thread(unsigned worker, std::string_view flags) {
    std::thread([&] { carry(worker, flags); }).join();
  }

  // Both directions at once for a while, over a change of the second: what a thread writes it has
  // written before. A first round each makes it the last writer.
  std::uint64_t crossed_while_established() {
    std::optional<std::uint64_t> before;
    std::barrier barrier(2, [&]() noexcept {
      if (!before) before = flow::crossed_writes();
    });
    const auto body = [&](unsigned worker) {
      carry(worker, "A");
      barrier.arrive_and_wait();
      for (unsigned round = 0; round < kRounds; ++round) {
        carry(worker, "PA");
        barrier.arrive_and_wait();
        if (worker == 0 && round % 8 == 0) world_.shared().start_cycles -= second();
        barrier.arrive_and_wait();
      }
    };
    std::thread other([&] { body(1); });
    body(0);
    other.join();
    return flow::crossed_writes() - *before;
  }

  World world_;
  std::atomic<unsigned> lost_{0};

 private:
  [[nodiscard]] std::uint64_t second() { return world_.shared().cycles_per_second; }
};

TEST_F(LineWrites, EstablishedPacketsShareNoLine) {
  in_thread(0, "S");
  in_thread(1, "SA");
  in_thread(0, "A");
  ASSERT_EQ(lost_, 0U);
  EXPECT_EQ(world_.shared().flows->v4.size(), kFlows);
  EXPECT_EQ(crossed_while_established(), 0U);
  EXPECT_EQ(lost_, 0U);
}

// So that the count above means something: a change of state writes to both directions' entries.
TEST_F(LineWrites, ChangesOfStateAreCounted) {
  const std::uint64_t before = flow::crossed_writes();
  in_thread(0, "S");
  EXPECT_EQ(flow::crossed_writes(), before);  // one worker alone
  in_thread(1, "SA");
  EXPECT_GE(flow::crossed_writes() - before, kFlows);
  in_thread(0, "A");
  const std::uint64_t open = flow::crossed_writes();
  in_thread(1, "FA");
  EXPECT_GE(flow::crossed_writes() - open, kFlows);
  EXPECT_EQ(lost_, 0U);
}

}  // namespace
}  // namespace podwire::test
