#include "dataplane/flow/flow_map.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "dataplane/net/checksum.h"
#include "tests/lib/protocols.h"
#include "tests/unit/dataplane/flow/flow_test.h"

namespace podwire::flow {
namespace {

using net::Tcp;
template <typename F>
class FlowMapTest : public testing::Test {};
using Families = testing::Types<V4, V6>;
TYPED_TEST_SUITE(FlowMapTest, Families);

TYPED_TEST(FlowMapTest, FindsBothDirectionsOfATranslatedFlow) {
  using F = TypeParam;
  OneWorker<F> t(1000);
  const auto key = test_key<F>(kTcp, 1, 40000, 2, 80);
  const auto leaves = test_key<F>(kTcp, 9, 50000, 3, 8080);
  auto flow = translated<F>(key, leaves, Tcp::syn);
  flow.service_id = 77;
  flow.policy_generation = 5;
  flow.from_own_node = true;
  const auto inserted = t.map.insert(flow, 10);
  ASSERT_EQ(inserted.outcome, Outcome::inserted);
  Flow<F>* forward = t.map.find(key);
  ASSERT_EQ(forward, inserted.flow);
  Flow<F>* reply = t.map.find(reversed(leaves));
  ASSERT_NE(reply, nullptr);
  EXPECT_EQ(&t.map.at(forward->peer), reply);
  EXPECT_EQ(&t.map.at(reply->peer), forward);
  EXPECT_FALSE(forward->is_reply);
  EXPECT_TRUE(reply->is_reply);
  EXPECT_TRUE(forward->translates && reply->translates);
  EXPECT_TRUE(forward->from_own_node);
  EXPECT_EQ(forward->policy_generation.load(), 5U);
  EXPECT_EQ(forward->state.load(), State::syn_sent);
  EXPECT_EQ(reply->rewrite.source, key.destination);
  EXPECT_EQ(reply->rewrite.destination, key.source);
  EXPECT_EQ(reply->rewrite.source_port, key.destination_port);
  EXPECT_EQ(reply->rewrite.destination_port, key.source_port);
  EXPECT_EQ(t.map.service_id(*forward), 77U);
  EXPECT_EQ(t.map.age_seconds(*forward, 15), 5U);
  EXPECT_EQ(t.map.size(), 1U);
  EXPECT_EQ(t.map.find(leaves), nullptr);
  EXPECT_EQ(t.map.find(reversed(key)), nullptr);
}

TYPED_TEST(FlowMapTest, HintLeadsToTheEntryAndMayBeStale) {
  using F = TypeParam;
  OneWorker<F> t(1000);
  const auto key = test_key<F>(kUdp, 1, 1, 2, 2);
  const std::uint32_t hash = t.map.hash(key);
  EXPECT_EQ(t.map.hint(hash), kNoSlot);
  Flow<F>* flow = t.map.insert(untranslated<F>(key), 0).flow;
  const SlotId hint = t.map.hint(hash);
  EXPECT_EQ(&t.map.at(hint), flow);
  EXPECT_EQ(t.map.find(key, hash, hint), flow);
  EXPECT_EQ(t.map.find(key, hash, kNoSlot), flow);
  EXPECT_EQ(t.map.find(key, hash, t.map.find(reversed(key))->peer ^ 1U), flow);
  t.map.erase(*flow);
  EXPECT_EQ(t.map.find(key, hash, hint), nullptr);
}

TYPED_TEST(FlowMapTest, SecondInsertYieldsTheFirst) {
  using F = TypeParam;
  OneWorker<F> t(10);
  const auto key = test_key<F>(kTcp, 1, 40000, 2, 80);
  Flow<F>* first = t.map.insert(translated<F>(key, test_key<F>(kTcp, 1, 40000, 3, 80)), 0).flow;
  const auto again = t.map.insert(translated<F>(key, test_key<F>(kTcp, 1, 40000, 4, 80)), 0);
  EXPECT_EQ(again.outcome, Outcome::exists);
  EXPECT_EQ(again.flow, first);
  EXPECT_EQ(first->rewrite.destination, test_address<F>(3));
  EXPECT_EQ(t.map.size(), 1U);
}

TYPED_TEST(FlowMapTest, RefusesAReplyKeyThatIsTaken) {
  using F = TypeParam;
  OneWorker<F> t(10);
  const auto leaves = test_key<F>(kTcp, 9, 50000, 3, 80);
  ASSERT_EQ(t.map.insert(translated<F>(test_key<F>(kTcp, 1, 7, 3, 80), leaves), 0).outcome,
            Outcome::inserted);
  const auto other = test_key<F>(kTcp, 2, 7, 3, 80);
  EXPECT_EQ(t.map.insert(translated<F>(other, leaves), 0).outcome, Outcome::reply_taken);
  EXPECT_EQ(t.map.find(other), nullptr);
  EXPECT_EQ(t.map.size(), 1U);
  const auto elsewhere = test_key<F>(kTcp, 9, 50001, 3, 80);
  EXPECT_EQ(t.map.insert(translated<F>(other, elsewhere), 0).outcome, Outcome::inserted);
}

TYPED_TEST(FlowMapTest, RefusesAFlowThatIsItsOwnReply) {
  using F = TypeParam;
  OneWorker<F> t(10);
  EXPECT_EQ(t.map.insert(untranslated<F>(test_key<F>(kUdp, 1, 5, 1, 5)), 0).outcome,
            Outcome::reply_taken);
  EXPECT_EQ(t.map.size(), 0U);
}

TYPED_TEST(FlowMapTest, InsertOfAReplysKeyYieldsThatReply) {
  using F = TypeParam;
  OneWorker<F> t(10);
  const auto key = test_key<F>(kUdp, 1, 5, 2, 6);
  t.map.insert(untranslated<F>(key), 0);
  const auto inserted = t.map.insert(untranslated<F>(reversed(key)), 0);
  EXPECT_EQ(inserted.outcome, Outcome::exists);
  EXPECT_TRUE(inserted.flow->is_reply);
}

TYPED_TEST(FlowMapTest, EraseFreesBothKeysAtOnceFromEitherDirection) {
  using F = TypeParam;
  OneWorker<F> t(10);
  const auto key = test_key<F>(kTcp, 1, 40000, 2, 80);
  const auto leaves = test_key<F>(kTcp, 9, 50000, 3, 80);
  for (int round = 0; round < 2; ++round) {
    ASSERT_EQ(t.map.insert(translated<F>(key, leaves), 0).outcome, Outcome::inserted);
    Flow<F>* one = round == 0 ? t.map.find(key) : t.map.find(reversed(leaves));
    EXPECT_TRUE(t.map.erase(*one));
    EXPECT_FALSE(t.map.erase(*one));
    EXPECT_FALSE(t.map.erase(t.map.at(one->peer)));
    EXPECT_EQ(t.map.find(key), nullptr);
    EXPECT_EQ(t.map.find(reversed(leaves)), nullptr);
    EXPECT_EQ(t.map.size(), 0U);
  }
}

TYPED_TEST(FlowMapTest, ErasedEntryStaysReadableUntilTheWorkerReports) {
  using F = TypeParam;
  OneWorker<F> t(100);
  const auto key = test_key<F>(kUdp, 1, 5, 2, 6);
  Flow<F>* flow = t.map.insert(untranslated<F>(key), 0).flow;
  t.map.erase(*flow);
  std::uint16_t port = 100;
  for (int n = 0; n < 60; ++n) {
    t.map.sweep(0, 1, t.map.groups(), 0);
    auto* other = t.map.insert(untranslated<F>(test_key<F>(kUdp, 3, ++port, 4, 6)), 0).flow;
    ASSERT_NE(other, nullptr);
    EXPECT_EQ(flow->key, key);
  }
  t.settle(0);
  for (int n = 0; n < 40; ++n) t.map.insert(untranslated<F>(test_key<F>(kUdp, 3, ++port, 4, 6)), 0);
  EXPECT_EQ(t.map.size(), 100U);
}

TYPED_TEST(FlowMapTest, FillsToTheExactLimitAgainAndAgain) {
  using F = TypeParam;
  for (const std::uint32_t limit : {1U, 16U, 100U, 5000U}) {
    OneWorker<F> t(limit);
    for (std::uint32_t round = 0; round < 3; ++round) {
      std::vector<Flow<F>*> flows;
      for (std::uint32_t n = 0; n < limit; ++n) {
        const auto key = test_key<F>(kTcp, n + round, 1000, 1 << 20, 80);
        auto inserted = t.map.insert(untranslated<F>(key, Tcp::syn), 0);
        ASSERT_EQ(inserted.outcome, Outcome::inserted) << n << " of " << limit;
        // Not half-open, so nothing makes room.
        t.map.passed(t.map.at(inserted.flow->peer), 60, kTcp, Tcp::syn | Tcp::ack, 0);
        t.map.passed(*inserted.flow, 60, kTcp, Tcp::ack, 0);
        flows.push_back(inserted.flow);
      }
      EXPECT_EQ(t.map.size(), limit);
      const auto beyond = untranslated<F>(test_key<F>(kTcp, 1, 1, 2, 2), Tcp::syn);
      EXPECT_EQ(t.map.insert(beyond, 0).outcome, Outcome::full);
      EXPECT_EQ(t.map.size(), limit);
      for (auto* flow : flows) EXPECT_TRUE(t.map.erase(*flow));
      EXPECT_EQ(t.map.size(), 0U);
      t.settle(0);
    }
  }
}

// Connections that come and go stand further from their first groups than those that filled an
// empty table: still each finds a place.
TEST(FlowMapChurn, LeavesAPlaceForEveryKey) {
  constexpr std::uint32_t kLimit = 20'000, kTurns = 3000, kEach = 256;
  OneWorker<V4> t(kLimit);
  std::mt19937 random(1);
  std::uint32_t next = 0;
  const auto insert = [&] {
    const auto inserted =
        t.map.insert(untranslated<V4>(test_key<V4>(kUdp, next++, 1, 1 << 24, 2)), 0);
    EXPECT_EQ(inserted.outcome, Outcome::inserted) << next;
    return inserted.flow;
  };
  std::vector<Flow<V4>*> flows;
  while (flows.size() < kLimit) flows.push_back(insert());
  for (std::uint32_t turn = 0; turn < kTurns && !testing::Test::HasFailure(); ++turn) {
    std::vector<std::size_t> ended;
    while (ended.size() < kEach) {
      const std::size_t n = random() % flows.size();
      if (t.map.erase(*flows[n])) ended.push_back(n);
    }
    t.settle(0);
    for (const std::size_t n : ended) flows[n] = insert();
  }
  EXPECT_EQ(t.map.size(), kLimit);
  // One try in seven to find a place meets a full group. That to the power of a chain's length is
  // the chance that a key finds none.
  const auto usage = t.map.usage();
  EXPECT_LT(usage.overflow * 6, usage.overflow + usage.committed);
}

TYPED_TEST(FlowMapTest, AtTheLimitTheLongestSilentHalfOpenMakesRoom) {
  using F = TypeParam;
  OneWorker<F> t(4);  // 17 groups, but few entries: candidates are not all of them
  std::vector<typename F::Key> keys;
  for (std::uint16_t n = 0; n < 4; ++n) {
    keys.push_back(test_key<F>(kTcp, 1, static_cast<std::uint16_t>(n + 1), 2, 80));
    t.map.insert(untranslated<F>(keys.back(), Tcp::syn), 100U - n);
  }
  unsigned refused = 0;
  for (std::uint16_t n = 0; n < 400; ++n) {
    const auto key = test_key<F>(kTcp, 3, static_cast<std::uint16_t>(n + 1), 2, 80);
    const auto inserted = t.map.insert(untranslated<F>(key, Tcp::syn), 200);
    if (inserted.outcome == Outcome::full) ++refused;
    EXPECT_LE(t.map.size(), 4U);
    t.settle(200);
  }
  EXPECT_LT(refused, 400U);
  for (const auto& key : keys) EXPECT_EQ(t.map.find(key), nullptr);
}

TYPED_TEST(FlowMapTest, OldestOfTwoCandidatesGoes) {
  using F = TypeParam;
  OneWorker<F> t(2);
  const auto old_key = test_key<F>(kUdp, 1, 1, 2, 2), new_key = test_key<F>(kUdp, 1, 2, 2, 2);
  // Only keys that see both as candidates can show which of them goes.
  unsigned shown = 0;
  for (std::uint16_t n = 0; n < 3000 && shown < 20; ++n) {
    Flow<F>* young = t.map.insert(untranslated<F>(new_key), 50).flow;
    Flow<F>* old = t.map.insert(untranslated<F>(old_key), 10).flow;
    ASSERT_TRUE(old != nullptr && young != nullptr);
    const auto key = test_key<F>(kUdp, 3, static_cast<std::uint16_t>(n + 1), 2, 80);
    const auto inserted = t.map.insert(untranslated<F>(key), 60);
    if (inserted.outcome == Outcome::inserted) {
      if (t.map.find(new_key) != nullptr) ++shown;
      t.map.erase(*inserted.flow);
    }
    t.map.erase(*old);
    t.map.erase(*young);
    t.settle(60);
  }
  EXPECT_EQ(shown, 20U);
}

TYPED_TEST(FlowMapTest, EstablishedFlowsNeverMakeRoom) {
  using F = TypeParam;
  OneWorker<F> t(2);
  for (std::uint16_t n = 1; n <= 2; ++n) {
    auto* flow = t.map.insert(untranslated<F>(test_key<F>(kUdp, 1, n, 2, 2)), 0).flow;
    t.map.passed(t.map.at(flow->peer), 100, kUdp, 0, 0);
  }
  for (std::uint16_t n = 1; n < 200; ++n) {
    const auto key = test_key<F>(kUdp, 3, n, 2, 2);
    EXPECT_EQ(t.map.insert(untranslated<F>(key), 20).outcome, Outcome::full);
  }
  EXPECT_EQ(t.map.size(), 2U);
}

TYPED_TEST(FlowMapTest, PassedCountsItsOwnDirectionOnly) {
  using F = TypeParam;
  OneWorker<F> t(10);
  auto* forward = t.map.insert(untranslated<F>(test_key<F>(kUdp, 1, 5, 2, 6)), 0).flow;
  auto& reply = t.map.at(forward->peer);
  t.map.passed(*forward, 100, kUdp, 0, 0);
  t.map.passed(*forward, 50, kUdp, 0, 0);
  EXPECT_EQ(forward->packets.load(), 2U);
  EXPECT_EQ(forward->bytes.load(), 150U);
  EXPECT_EQ(reply.packets.load(), 0U);
  EXPECT_EQ(reply.seen.load(), kNotSince);
}

// Two workers on one flow: what an established packet writes stays in its own entry.
TYPED_TEST(FlowMapTest, EstablishedPacketWritesNothingShared) {
  using F = TypeParam;
  OneWorker<F> t(10);
  auto* forward = t.map.insert(untranslated<F>(test_key<F>(kTcp, 1, 5, 2, 6), Tcp::syn), 0).flow;
  auto& reply = t.map.at(forward->peer);
  t.map.passed(reply, 60, kTcp, Tcp::syn | Tcp::ack, 0);
  t.map.passed(*forward, 60, kTcp, Tcp::ack, 0);
  ASSERT_EQ(forward->state.load(), State::established);
  std::vector<std::uint8_t> before(sizeof reply), after(sizeof reply);
  std::memcpy(before.data(), static_cast<const void*>(&reply), sizeof reply);
  for (std::uint32_t now = 1; now < 100; ++now) t.map.passed(*forward, 1500, kTcp, Tcp::ack, now);
  std::memcpy(after.data(), static_cast<const void*>(&reply), sizeof reply);
  EXPECT_EQ(before, after);
}

// --- Deltas --------------------------------------------------------------------------------------

// The transport checksum of `key` over `payload`, whose first word is the ICMP identifier's place.
template <typename F>
std::uint64_t pseudo_sum(const typename F::Key& key, std::uint32_t length) {
  if (key.protocol == net::protocol::icmp) return 0;
  return net::pseudo_header_sum(&key.source, &key.destination, sizeof key.source, key.protocol,
                                length);
}

template <typename F>
void expect_deltas_hold(const Flow<F>& flow, std::mt19937& random) {
  auto to = flow.key;
  to.source = flow.rewrite.source;
  to.destination = flow.rewrite.destination;
  to.source_port = flow.rewrite.source_port;
  to.destination_port = flow.rewrite.destination_port;
  std::vector<std::uint8_t> payload(64 + random() % 64);
  for (auto& byte : payload) byte = static_cast<std::uint8_t>(random());
  const auto length = static_cast<std::uint32_t>(payload.size() + 4);
  const auto whole = [&](const typename F::Key& key) {
    std::uint64_t sum = net::add_sum(pseudo_sum<F>(key, length), payload.data(), payload.size());
    sum += std::uint64_t{key.source_port.raw()} + key.destination_port.raw();
    return net::checksum_of(sum);
  };
  EXPECT_EQ(net::updated_checksum(whole(flow.key), flow.l4_delta), whole(to));
  const auto partial = [&](const typename F::Key& key) {
    return net::be16::from_raw(net::fold(pseudo_sum<F>(key, length)));
  };
  if (flow.key.protocol != net::protocol::icmp) {
    EXPECT_EQ(net::updated_sum(partial(flow.key), flow.l3_delta), partial(to));
  }
  const auto header = [&](const typename F::Key& key) {
    std::uint64_t sum = net::add_sum(0x4500 + length, &key.source, sizeof key.source);
    return net::checksum_of(net::add_sum(sum, &key.destination, sizeof key.destination));
  };
  EXPECT_EQ(net::updated_checksum(header(flow.key), flow.l3_delta), header(to));
}

TYPED_TEST(FlowMapTest, DeltasAgreeWithWholeChecksums) {
  using F = TypeParam;
  OneWorker<F> t(10);
  std::mt19937 random(7);
  const std::uint8_t icmp =
      F::family == net::Family::v4 ? net::protocol::icmp : net::protocol::icmpv6;
  for (int n = 0; n < 2000; ++n) {
    const std::uint8_t protocol = std::array{kTcp, kUdp, icmp}[random() % 3];
    const auto any = [&] {
      return test_key<F>(protocol, static_cast<std::uint32_t>(random()),
                         static_cast<std::uint16_t>(random()), static_cast<std::uint32_t>(random()),
                         static_cast<std::uint16_t>(random()));
    };
    auto inserted = t.map.insert(translated<F>(any(), any()), 0);
    if (inserted.flow == nullptr) continue;
    expect_deltas_hold(*inserted.flow, random);
    expect_deltas_hold(t.map.at(inserted.flow->peer), random);
    t.map.erase(*inserted.flow);
    t.settle(0);
  }
}

TYPED_TEST(FlowMapTest, NothingChangesWithoutTranslation) {
  using F = TypeParam;
  OneWorker<F> t(10);
  auto* flow = t.map.insert(untranslated<F>(test_key<F>(kTcp, 1, 5, 2, 6)), 0).flow;
  EXPECT_FALSE(flow->translates);
  EXPECT_EQ(flow->l3_delta, 0);
  EXPECT_EQ(flow->l4_delta, 0);
}

// --- Against a plain map -------------------------------------------------------------------------

template <typename Key>
struct ByBytes {
  bool operator()(const Key& a, const Key& b) const { return std::memcmp(&a, &b, sizeof(Key)) < 0; }
};

TYPED_TEST(FlowMapTest, AgreesWithAPlainMapOverRandomHistories) {
  using F = TypeParam;
  using Key = typename F::Key;
  for (unsigned seed = 0; seed < 8; ++seed) {
    std::mt19937 random(seed);
    const std::uint32_t limit = seed % 2 == 0 ? 40 : 4000;
    OneWorker<F> t(limit);
    std::map<Key, Key, ByBytes<Key>> forward, reply;  // forward -> reply and back
    const auto any = [&] {
      return test_key<F>(kUdp, random() % 8, static_cast<std::uint16_t>(random() % 8),
                         10 + random() % 8, static_cast<std::uint16_t>(random() % 8));
    };
    for (int step = 0; step < 30000; ++step) {
      const Key key = any();
      const auto action = random() % 16;
      if (action < 8) {
        const NewFlow<F> flow = action < 4 ? untranslated<F>(key) : translated<F>(key, any());
        Key back = key;
        back.source = flow.rewrite.destination;
        back.destination = flow.rewrite.source;
        back.source_port = flow.rewrite.destination_port;
        back.destination_port = flow.rewrite.source_port;
        const bool known = forward.contains(key) || reply.contains(key);
        const bool taken = forward.contains(back) || reply.contains(back);
        const auto inserted = t.map.insert(flow, 0);
        if (known) {
          ASSERT_EQ(inserted.outcome, Outcome::exists);
        } else if (taken) {
          ASSERT_EQ(inserted.outcome, Outcome::reply_taken);
        } else if (forward.size() == limit) {
          ASSERT_EQ(inserted.outcome, Outcome::full);
        } else {
          ASSERT_EQ(inserted.outcome, Outcome::inserted);
          // Replied, so that early drop leaves it alone.
          t.map.passed(t.map.at(inserted.flow->peer), 1, kUdp, 0, 0);
          forward[key] = back;
          reply[back] = key;
        }
      } else if (action < 11) {
        if (Flow<F>* flow = t.map.find(key)) {
          const Key first = flow->is_reply ? t.map.at(flow->peer).key : flow->key;
          ASSERT_TRUE(forward.contains(first));
          ASSERT_TRUE(t.map.erase(*flow));
          reply.erase(forward[first]);
          forward.erase(first);
        }
      } else {
        const Flow<F>* flow = t.map.find(key);
        ASSERT_EQ(flow != nullptr, forward.contains(key) || reply.contains(key));
        if (flow != nullptr) {
          ASSERT_EQ(flow->is_reply, reply.contains(key));
          ASSERT_EQ(t.map.at(flow->peer).key, flow->is_reply ? reply[key] : forward[key]);
        }
      }
      ASSERT_EQ(t.map.size(), forward.size());
      t.map.sweep(0, 1, 4, 0);
      t.quiescence.report(0);
    }
    std::size_t seen = 0;
    t.map.for_each([&](SlotId slot, Flow<F>& flow) {
      EXPECT_EQ(&t.map.at(slot), &flow);
      EXPECT_TRUE(forward.contains(flow.key));
      ++seen;
    });
    EXPECT_EQ(seen, forward.size());
  }
}

}  // namespace
}  // namespace podwire::flow
