// The flow table under many threads: more than there are cores, so that threads are stopped in the
// middle of an insert or erase while others go on. Run it under ThreadSanitizer; the checks here
// are those that hold whatever the interleaving.

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "dataplane/flow/affinity.h"
#include "dataplane/flow/flow_map.h"
#include "tests/unit/dataplane/flow/flow_test.h"

namespace podwire::flow {
namespace {

constexpr unsigned kThreads = 16;
constexpr std::uint8_t kUdp = net::protocol::udp, kTcp = net::protocol::tcp;

#if defined(__SANITIZE_THREAD__)
constexpr unsigned kScale = 2;
#else
constexpr unsigned kScale = 4;
#endif

void in_threads(const std::function<void(unsigned)>& body) {
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) threads.emplace_back(body, i);
  for (auto& thread : threads) thread.join();
}

// The service id and policy generation that a flow of this key carries: two fields that a half-made
// entry would not show.
template <typename Key>
std::uint32_t mark_of(const Key& key) {
  return key.source_port.host() * 65536U + key.destination_port.host() + 1;
}

template <typename F>
NewFlow<F> marked(const typename F::Key& key, const typename F::Key& leaves_as) {
  auto flow = translated<F>(key, leaves_as);
  flow.service_id = mark_of(key);
  flow.policy_generation = mark_of(key);
  return flow;
}

// All that a reader may rely on about an entry that it found for `key`, until it reports.
template <typename F>
bool is_whole(FlowMap<F>& map, const Flow<F>& flow, const typename F::Key& key) {
  const Flow<F>& peer = map.at(flow.peer);
  const Flow<F>& forward = flow.is_reply ? peer : flow;
  const Flow<F>& reply = flow.is_reply ? flow : peer;
  auto back = reversed(forward.key);
  return flow.key == key && &map.at(peer.peer) == &flow && peer.is_reply != flow.is_reply &&
         reply.rewrite.source == back.source && reply.rewrite.destination == back.destination &&
         reply.rewrite.source_port == back.source_port &&
         reply.rewrite.destination_port == back.destination_port &&
         forward.rewrite.source == reply.key.destination &&
         forward.rewrite.destination == reply.key.source &&
         forward.policy_generation.load() == mark_of(forward.key) &&
         map.service_id(forward) == mark_of(forward.key);
}

// Nothing lost: after a few rounds of rest every slot is free again, and the table takes its full
// number of connections.
template <typename F>
void expect_all_slots_free(FlowMap<F>& map, tables::Quiescence& quiescence) {
  quiescence.online(0);
  for (int round = 0; round < 4; ++round) {
    map.sweep(0, 1, map.groups(), 0);
    quiescence.report(0);
  }
  const auto usage = map.usage();
  EXPECT_EQ(map.size(), 0U);
  EXPECT_EQ(usage.committed, 0U);
  EXPECT_EQ(usage.resting, 0U);
  EXPECT_EQ(usage.moving, 0U);
  EXPECT_EQ(usage.overflow, 0U);
  for (std::uint32_t n = 0; n < map.limit(); ++n) {
    const auto key = test_key<F>(kUdp, n, 7, 1 << 20, 80);
    const auto inserted = map.insert(untranslated<F>(key), 0);
    ASSERT_EQ(inserted.outcome, Outcome::inserted) << n << " of " << map.limit();
  }
  quiescence.offline(0);
}

// Reports with sweeps between them, all threads together, so that the next round reuses the slots
// of this one.
template <typename F>
auto resting(FlowMap<F>& map, tables::Quiescence& quiescence, std::barrier<>& barrier) {
  return [&](unsigned self) {
    for (int i = 0; i < 3; ++i) {
      quiescence.report(self);
      barrier.arrive_and_wait();
      map.sweep(self, kThreads, map.groups(), 0);
    }
  };
}

template <typename F>
class FlowStress : public testing::Test {};
using Families = testing::Types<V4, V6>;
TYPED_TEST_SUITE(FlowStress, Families);

// Every thread inserts the same keys, each with a backend of its own: one wins each key, the others
// get the winner. Then all erase them: each erasure has one author.
TYPED_TEST(FlowStress, RacingInsertsOfOneKeyHaveOneWinner) {
  using F = TypeParam;
  constexpr unsigned kRounds = 60 * kScale, kKeys = 48;
  tables::Quiescence quiescence(kThreads);
  FlowMap<F> map(kKeys + kThreads, FlowTimeouts{}, quiescence);
  std::array<std::atomic<unsigned>, kKeys> winners{}, erasers{};
  std::array<std::atomic<Flow<F>*>, kKeys> winner{};
  std::atomic<unsigned> wrong{0};
  std::barrier barrier(kThreads);
  const auto rest = resting(map, quiescence, barrier);
  const auto key_of = [](unsigned k) {
    return test_key<F>(kUdp, 1, static_cast<std::uint16_t>(k + 1), 2, 80);
  };
  in_threads([&](unsigned self) {
    quiescence.online(self);
    for (unsigned round = 0; round < kRounds; ++round) {
      for (unsigned n = 0; n < kKeys; ++n) {
        const unsigned k = self % 2 == 0 ? n : kKeys - 1 - n;
        const auto key = key_of(k);
        const auto leaves = test_key<F>(kUdp, 1, static_cast<std::uint16_t>(k + 1), 100 + self, 80);
        const auto inserted = map.insert(marked<F>(key, leaves), 0);
        if (inserted.outcome == Outcome::inserted) {
          ++winners[k];
          winner[k] = inserted.flow;
        } else if (inserted.outcome != Outcome::exists) {
          ++wrong;
        }
        if (inserted.flow == nullptr || !is_whole(map, *inserted.flow, key)) ++wrong;
      }
      barrier.arrive_and_wait();
      for (unsigned k = 0; k < kKeys; ++k) {
        if (winners[k] != 1 || map.find(key_of(k)) != winner[k]) ++wrong;
      }
      barrier.arrive_and_wait();
      for (unsigned n = 0; n < kKeys; ++n) {
        Flow<F>* flow = winner[self % 2 == 0 ? n : kKeys - 1 - n];
        if (map.erase(*flow)) ++erasers[self % 2 == 0 ? n : kKeys - 1 - n];
      }
      barrier.arrive_and_wait();
      for (unsigned k = self; k < kKeys; k += kThreads) {
        if (erasers[k] != 1) ++wrong;
        winners[k] = 0;
        erasers[k] = 0;
      }
      rest(self);
    }
    quiescence.offline(self);
  });
  EXPECT_EQ(wrong, 0U);
  expect_all_slots_free(map, quiescence);
}

// Different connections that want one reply key (a masquerade port): one gets it.
TYPED_TEST(FlowStress, RacingInsertsOfOneReplyKeyHaveOneWinner) {
  using F = TypeParam;
  constexpr unsigned kRounds = 60 * kScale, kKeys = 32;
  tables::Quiescence quiescence(kThreads);
  FlowMap<F> map(kKeys + kThreads, FlowTimeouts{}, quiescence);
  std::array<std::atomic<unsigned>, kKeys> winners{};
  std::atomic<unsigned> wrong{0};
  std::barrier barrier(kThreads);
  const auto rest = resting(map, quiescence, barrier);
  in_threads([&](unsigned self) {
    quiescence.online(self);
    for (unsigned round = 0; round < kRounds; ++round) {
      std::vector<Flow<F>*> mine;
      for (unsigned n = 0; n < kKeys; ++n) {
        const unsigned k = self % 2 == 0 ? n : kKeys - 1 - n;
        const auto port = static_cast<std::uint16_t>(k + 1);
        const auto key = test_key<F>(kUdp, 100 + self, port, 2, 80);
        const auto inserted = map.insert(marked<F>(key, test_key<F>(kUdp, 1, port, 2, 80)), 0);
        if (inserted.outcome == Outcome::inserted) {
          ++winners[k];
          mine.push_back(inserted.flow);
        } else if (inserted.outcome != Outcome::reply_taken || map.find(key) != nullptr) {
          ++wrong;
        }
      }
      barrier.arrive_and_wait();
      for (unsigned k = 0; k < kKeys; ++k) {
        const auto reply = test_key<F>(kUdp, 2, 80, 1, static_cast<std::uint16_t>(k + 1));
        const Flow<F>* flow = map.find(reply);
        if (winners[k] != 1 || flow == nullptr || !is_whole(map, *flow, reply)) ++wrong;
      }
      barrier.arrive_and_wait();
      if (self == 0) {
        for (auto& count : winners) count = 0;
      }
      for (Flow<F>* flow : mine) {
        if (!map.erase(*flow)) ++wrong;
      }
      rest(self);
    }
    quiescence.offline(self);
  });
  EXPECT_EQ(wrong, 0U);
  expect_all_slots_free(map, quiescence);
}

// Everything at once on few keys and few slots: inserts, look-ups whose results are held until the
// next report, packets, erasures, ageing, the control thread's walk.
TYPED_TEST(FlowStress, ReadersHoldWholeEntriesWhateverOthersDo) {
  using F = TypeParam;
  constexpr unsigned kSteps = 6000 * kScale, kKeys = 96;
  constexpr std::uint32_t kLimit = 80;
  tables::Quiescence quiescence(kThreads);
  FlowTimeouts timeouts;
  timeouts.udp = 3;
  timeouts.udp_stream = 6;
  FlowMap<F> map(kLimit, timeouts, quiescence);
  std::atomic<unsigned> wrong{0}, inserts{0}, found{0}, running{kThreads};
  std::atomic<std::uint32_t> now{100};
  const auto key_of = [](unsigned k) {
    return test_key<F>(kUdp, 1 + k / 8, static_cast<std::uint16_t>(k % 8 + 1), 200, 80);
  };
  std::thread control([&] {
    while (running != 0) {
      const tables::Quiescence::ControlReader reading(quiescence);
      map.for_each([&](SlotId slot, Flow<F>& flow) {
        if (&map.at(slot) != &flow || !is_whole(map, flow, flow.key)) ++wrong;
      });
      std::this_thread::yield();
    }
  });
  in_threads([&](unsigned self) {
    std::mt19937 random(self);
    struct Held {
      Flow<F>* flow;
      typename F::Key key;
    };
    std::vector<Held> held;
    quiescence.online(self);
    for (unsigned step = 0; step < kSteps; ++step) {
      const unsigned k = random() % kKeys;
      const auto key = key_of(k);
      const auto reply =
          test_key<F>(kUdp, 210 + k % 3, 80, 1 + k / 8, static_cast<std::uint16_t>(k % 8 + 1));
      const unsigned action = random() % 16;
      if (action < 6) {
        auto leaves = test_key<F>(kUdp, 1 + k / 8, static_cast<std::uint16_t>(k % 8 + 1),
                                  210 + random() % 3, 80);
        const auto inserted = map.insert(marked<F>(key, leaves), now);
        if (inserted.outcome == Outcome::inserted) ++inserts;
        if (inserted.flow != nullptr) held.push_back({inserted.flow, key});
      } else if (action < 13) {
        const auto& asked = action < 11 ? key : reply;
        const std::uint32_t hash = map.hash(asked);
        const SlotId hint = map.hint(hash);
        if (Flow<F>* flow = map.find(asked, hash, hint)) {
          ++found;
          held.push_back({flow, asked});
          map.passed(*flow, 100, kUdp, 0, now);
        }
      } else if (action < 14) {
        if (!held.empty()) map.erase(*held[random() % held.size()].flow);
      } else {
        map.sweep(self, kThreads, 8, now);
      }
      if (self == 0 && step % 64 == 0) ++now;
      if (random() % 8 != 0) continue;
      for (const Held& one : held) {
        if (!is_whole(map, *one.flow, one.key)) ++wrong;
      }
      held.clear();
      if (random() % 16 == 0) {
        quiescence.offline(self);
        quiescence.online(self);
      } else {
        quiescence.report(self);
      }
      // A reader stopped by the scheduler holds up all reuse; sooner others' turn, more reuse.
      std::this_thread::yield();
    }
    quiescence.offline(self);
    --running;
  });
  control.join();
  EXPECT_EQ(wrong, 0U);
  EXPECT_GT(inserts, 1000U);
  EXPECT_GT(found, 1000U);
  EXPECT_LE(map.size(), kLimit);
  quiescence.online(0);
  map.for_each([&](SlotId, Flow<F>& flow) { map.erase(flow); });
  quiescence.offline(0);
  expect_all_slots_free(map, quiescence);
}

// Far fewer places than wanted: early drop against insert against erase; the limit is never
// exceeded and no slot is lost.
TYPED_TEST(FlowStress, LimitHoldsUnderPressure) {
  using F = TypeParam;
  constexpr unsigned kSteps = 1000 * kScale;
  constexpr std::uint32_t kLimit = 24;
  tables::Quiescence quiescence(kThreads);
  FlowMap<F> map(kLimit, FlowTimeouts{}, quiescence);
  std::atomic<unsigned> inserts{0}, over{0};
  in_threads([&](unsigned self) {
    std::mt19937 random(self);
    quiescence.online(self);
    for (unsigned step = 0; step < kSteps; ++step) {
      const auto key = test_key<F>(kTcp, self, static_cast<std::uint16_t>(random()), 200, 80);
      const auto inserted = map.insert(marked<F>(key, key), step);
      if (inserted.outcome == Outcome::inserted) {
        ++inserts;
        if (!is_whole(map, *inserted.flow, key)) ++over;
        if (random() % 2 == 0) map.erase(*inserted.flow);
      }
      if (map.size() > kLimit) ++over;
      map.sweep(self, kThreads, 1, step);
      quiescence.report(self);
      std::this_thread::yield();
    }
    quiescence.offline(self);
  });
  EXPECT_EQ(over, 0U);
  EXPECT_GT(inserts, 1000U);
  quiescence.online(0);
  map.for_each([&](SlotId, Flow<F>& flow) { map.erase(flow); });
  quiescence.offline(0);
  expect_all_slots_free(map, quiescence);
}

// Both directions' packets at once, on many threads: the reply's copy of the state ends up equal to
// the forward's.
TYPED_TEST(FlowStress, BothDirectionsAgreeOnTheState) {
  using F = TypeParam;
  constexpr unsigned kRounds = 40 * kScale, kFlows = 64;
  constexpr std::uint8_t kSyn = net::Tcp::syn, kAck = net::Tcp::ack, kFin = net::Tcp::fin;
  tables::Quiescence quiescence(kThreads);
  FlowMap<F> map(kFlows, FlowTimeouts{}, quiescence);
  std::array<Flow<F>*, kFlows> flows{};
  std::atomic<unsigned> wrong{0};
  std::barrier barrier(kThreads);
  const auto rest = resting(map, quiescence, barrier);
  in_threads([&](unsigned self) {
    quiescence.online(self);
    for (unsigned round = 0; round < kRounds; ++round) {
      if (self == 0) {
        for (unsigned n = 0; n < kFlows; ++n) {
          const auto key = test_key<F>(kTcp, round, static_cast<std::uint16_t>(n + 1), 2, 80);
          flows[n] = map.insert(marked<F>(key, key), 0).flow;
        }
      }
      barrier.arrive_and_wait();
      for (Flow<F>* flow : flows) {
        Flow<F>& mine = self % 2 == 0 ? *flow : map.at(flow->peer);
        for (const std::uint8_t flags : {kSyn, static_cast<std::uint8_t>(kSyn | kAck), kAck, kFin,
                                         kAck, static_cast<std::uint8_t>(kFin | kAck), kAck}) {
          map.passed(mine, 60, kTcp, flags, 0);
        }
      }
      barrier.arrive_and_wait();
      for (const Flow<F>* flow : flows) {
        if (flow->state.load() != map.at(flow->peer).state.load()) ++wrong;
        if (flow->state.load() == State::syn_sent) ++wrong;
      }
      barrier.arrive_and_wait();
      if (self == 0) {
        for (Flow<F>* flow : flows) map.erase(*flow);
      }
      rest(self);
    }
    quiescence.offline(self);
  });
  EXPECT_EQ(wrong, 0U);
}

// A backend belongs to its client: the two halves of an answer come from one writer.
TEST(AffinityStress, AnswersAreNeverTorn) {
  constexpr unsigned kSteps = 20000 * kScale, kClients = 64;
  AffinityTable table(8);  // one or two sets: places change hands all the time
  std::atomic<unsigned> wrong{0}, found{0};
  in_threads([&](unsigned self) {
    std::mt19937 random(self);
    for (unsigned step = 0; step < kSteps; ++step) {
      const std::uint32_t client = random() % kClients;
      const auto address = net::Address::from_v4(net::be32(client));
      if (random() % 4 == 0) {
        const auto serial = static_cast<std::uint16_t>(random());
        net::Address backend = net::Address::from_v4(net::be32(client << 16 | serial));
        backend.bytes[0] = static_cast<std::uint8_t>(serial);
        table.set(1 + client, address, {backend, net::be16(serial)}, step);
      } else if (const auto answer = table.find(1 + client, address, step, 1000000)) {
        ++found;
        const std::uint16_t serial = answer->port.host();
        net::Address whole = net::Address::from_v4(net::be32(client << 16 | serial));
        whole.bytes[0] = static_cast<std::uint8_t>(serial);
        if (!(answer->address == whole)) ++wrong;
      }
    }
  });
  EXPECT_EQ(wrong, 0U);
  EXPECT_GT(found, 1000U);
}

}  // namespace
}  // namespace podwire::flow
