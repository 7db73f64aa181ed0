// Timeouts, states through the table, and both families together.
#include <gtest/gtest.h>

#include <cmath>

#include "dataplane/flow/flows.h"
#include "tests/lib/protocols.h"
#include "tests/unit/dataplane/flow/flow_test.h"

namespace podwire::flow {
namespace {

using net::Tcp;
struct Connection {
  explicit Connection(std::uint8_t protocol = kTcp, std::uint8_t flags = Tcp::syn)
      : key(test_key<V4>(protocol, 1, 1000, 2, 80)),
        forward(*t.map.insert(untranslated<V4>(key, flags), 0).flow),
        reply(t.map.at(forward.peer)) {}
  void sends(std::uint8_t flags, std::uint32_t now) {
    t.map.passed(forward, 60, key.protocol, flags, now);
  }
  void answers(std::uint8_t flags, std::uint32_t now) {
    t.map.passed(reply, 60, key.protocol, flags, now);
  }
  void expect_state(State state) const {
    EXPECT_EQ(forward.state.load(), state);
    EXPECT_EQ(reply.state.load(), state);
  }
  void establish(std::uint32_t now) {
    answers(Tcp::syn | Tcp::ack, now);
    sends(Tcp::ack, now);
  }
  // Sweeps every `step` seconds from `from`; the second in which it was gone.
  std::uint32_t ends_at(std::uint32_t from, std::uint32_t step = 1, std::uint32_t most = 600'000) {
    for (std::uint32_t now = from; now < from + most; now += step) {
      if (t.sweep_all(now) == 1) {
        EXPECT_EQ(t.map.find(key), nullptr);
        EXPECT_EQ(t.map.find(reversed(key)), nullptr);
        return now;
      }
    }
    return 0;
  }

  OneWorker<V4> t{100};
  V4::Key key;
  Flow<V4>& forward;
  Flow<V4>& reply;
};

TEST(Ageing, TcpLifeMovesBothEntriesAndItsTimeouts) {
  Connection c;
  c.expect_state(State::syn_sent);
  c.sends(Tcp::syn, 0);
  EXPECT_EQ(c.t.map.expires_in_seconds(c.forward, 0), 120U);
  c.answers(Tcp::syn | Tcp::ack, 1);
  c.expect_state(State::syn_received);
  EXPECT_EQ(c.t.map.expires_in_seconds(c.forward, 1), 60U);
  c.sends(Tcp::ack, 2);
  c.expect_state(State::established);
  EXPECT_EQ(c.t.map.expires_in_seconds(c.forward, 2), 86400U);
  c.sends(Tcp::fin | Tcp::ack, 3);
  c.expect_state(State::fin_wait);
  c.answers(Tcp::ack, 3);
  c.expect_state(State::close_wait);
  EXPECT_EQ(c.t.map.expires_in_seconds(c.forward, 3), 3600U);
  c.answers(Tcp::fin | Tcp::ack, 4);
  c.expect_state(State::last_ack);
  EXPECT_EQ(c.t.map.expires_in_seconds(c.forward, 4), 30U);
  c.sends(Tcp::ack, 5);
  c.expect_state(State::time_wait);
  EXPECT_EQ(c.ends_at(6), 125U);
}

TEST(Ageing, SynSentEndsAfterItsTimeoutNotBefore) {
  Connection c;
  EXPECT_EQ(c.ends_at(0), 120U);
}

TEST(Ageing, EitherDirectionKeepsAFlowAlive) {
  for (const bool by_reply : {false, true}) {
    Connection c;
    c.establish(10);
    c.sends(Tcp::fin, 20);  // 120 s
    for (std::uint32_t now = 30; now <= 1000; now += 10) {
      ASSERT_EQ(c.t.sweep_all(now), 0U) << now;
      by_reply ? c.answers(0, now) : c.sends(0, now);
    }
    EXPECT_EQ(c.ends_at(1000), 1120U);
  }
}

TEST(Ageing, ResetShortensALongTimeoutAtOnce) {
  Connection c;
  c.establish(10);
  EXPECT_EQ(c.t.sweep_all(11), 0U);
  c.answers(Tcp::rst, 500);
  c.expect_state(State::close);
  EXPECT_EQ(c.ends_at(500), 510U);
}

// Longer than sixteen bits of seconds, in silence and with packets on the way.
TEST(Ageing, LongTimeoutsAreExact) {
  Connection c;
  c.establish(10);
  EXPECT_EQ(c.ends_at(10, 1), 86410U);

  Connection busy;
  busy.establish(10);
  for (std::uint32_t now = 10; now < 200'000; now += 7'001) {
    ASSERT_EQ(busy.t.sweep_all(now), 0U);
    busy.sends(Tcp::ack, now);
    busy.answers(Tcp::ack, now + 1);
  }
  // The last packet went by at 196,038 + 1.
  EXPECT_EQ(busy.ends_at(200'000, 1), 196'039U + 86'400U);
}

TEST(Ageing, SctpEstablishedOutlivesTheClocksReach) {
  Connection c(net::protocol::sctp, sctp_chunk::init);
  c.answers(sctp_chunk::cookie_ack, 5);
  c.expect_state(State::sctp_established);
  EXPECT_EQ(c.ends_at(10, 5), 432'005U);
}

TEST(Ageing, EveryStampOfTheClockWorks) {
  // Around 2^16 and 2^15, where sixteen-bit arithmetic would slip.
  for (const std::uint32_t start : {32'760U, 65'400U, 65'534U, 65'535U, 65'536U, 131'071U}) {
    OneWorker<V4> t(10);
    const auto key = test_key<V4>(kUdp, 1, 1, 2, 2);
    auto* flow = t.map.insert(untranslated<V4>(key), start).flow;
    t.map.passed(*flow, 10, kUdp, 0, start);
    for (std::uint32_t now = start; now < start + 29; ++now) {
      ASSERT_EQ(t.sweep_all(now), 0U) << now;
    }
    unsigned ended = 0;
    std::uint32_t now = start + 29;
    for (; ended == 0 && now < start + 40; ++now) ended = t.sweep_all(now);
    // Second 65,535 is told as the one before it.
    EXPECT_NEAR(now - 1, start + 30, 1) << start;
  }
}

TEST(Ageing, UdpLivesLongerOnceReplied) {
  Connection c(kUdp, 0);
  c.sends(0, 0);
  EXPECT_EQ(c.t.map.expires_in_seconds(c.forward, 0), 30U);
  c.answers(0, 5);
  c.expect_state(State::replied);
  EXPECT_EQ(c.ends_at(5), 125U);

  Connection one_sided(kUdp, 0);
  EXPECT_EQ(one_sided.ends_at(0), 30U);
}

TEST(Ageing, PickedUpFlowIsNotBelievedForLong) {
  Connection c(kTcp, Tcp::ack);
  c.expect_state(State::established);
  c.sends(Tcp::ack, 0);
  EXPECT_EQ(c.ends_at(0), 300U);

  Connection answered(kTcp, Tcp::ack);
  answered.answers(Tcp::ack, 0);
  EXPECT_EQ(answered.t.map.expires_in_seconds(answered.forward, 0), 86400U);
  for (std::uint32_t now = 0; now < 80'000; now += 100) ASSERT_EQ(answered.t.sweep_all(now), 0U);
}

TEST(Ageing, PortReuseOpensANewConnectionAtOnce) {
  for (const std::uint8_t end : {std::uint8_t{Tcp::rst}, std::uint8_t{0}}) {
    Connection c;
    c.establish(1);
    if (end == Tcp::rst) {
      c.answers(Tcp::rst, 2);
    } else {
      c.sends(Tcp::fin | Tcp::ack, 2);
      c.answers(Tcp::fin | Tcp::ack, 2);
      c.sends(Tcp::ack, 2);
    }
    Flow<V4>* old = c.t.map.find(c.key);
    ASSERT_NE(old, nullptr);
    ASSERT_TRUE(opens_again(old->state.load(), kTcp, Tcp::syn));
    EXPECT_TRUE(c.t.map.erase(*old));
    EXPECT_EQ(c.t.map.find(c.key), nullptr);
    const auto again = c.t.map.insert(untranslated<V4>(c.key, Tcp::syn), 3);
    ASSERT_EQ(again.outcome, Outcome::inserted);
    EXPECT_NE(again.flow, old);
    EXPECT_EQ(again.flow->state.load(), State::syn_sent);
    EXPECT_EQ(c.t.map.age_seconds(*again.flow, 3), 0U);
  }
}

TEST(Ageing, SweepResumesAndPartsCoverTheWhole) {
  OneWorker<V4> t(5000);
  for (std::uint32_t n = 0; n < 5000; ++n) {
    t.map.insert(untranslated<V4>(test_key<V4>(kUdp, n, 1, 1 << 20, 2)), 0);
  }
  unsigned ended = 0, calls = 0;
  for (; ended < 5000 && calls < 100'000; ++calls) {
    const unsigned before = ended;
    for (unsigned part = 0; part < 3; ++part) ended += t.map.sweep(part, 3, 2, 30);
    EXPECT_LE(ended - before, 3U * 2 * kLanes);  // a budget is a budget
  }
  EXPECT_EQ(ended, 5000U);
  EXPECT_EQ(t.map.size(), 0U);
  EXPECT_LE(calls, t.map.groups() / 6 + 2);
}

DataplaneConfig small() {
  DataplaneConfig config;
  config.flows_v4 = 500;
  config.flows_v6 = 300;
  return config;
}

struct Both {
  Both() : quiescence(2), flows(small(), quiescence) {
    quiescence.online(0);
    for (std::uint16_t n = 1; n <= 200; ++n) {
      auto v4 = translated<V4>(test_key<V4>(kUdp, 1, n, 2, 53), test_key<V4>(kUdp, 9, n, 3, 5353));
      v4.service_id = n;
      flows.v4.insert(v4, 10);
      flows.v6.insert(untranslated<V6>(test_key<V6>(kTcp, 1, n, 2, 53), Tcp::syn), 10);
    }
  }
  ~Both() { quiescence.offline(0); }
  tables::Quiescence quiescence;
  Flows flows;
};

TEST(Flows, RowsShowBothFamiliesAsTheClientSentThem) {
  Both b;
  auto* flow = b.flows.v4.find(test_key<V4>(kUdp, 1, 7, 2, 53));
  ASSERT_NE(flow, nullptr);
  b.flows.v4.passed(*flow, 100, kUdp, 0, 12);
  b.flows.v4.passed(b.flows.v4.at(flow->peer), 300, kUdp, 0, 15);
  const auto rows = b.flows.rows(
      20, 10, [](const observe::FlowRow& row) { return row.source_port == net::be16(7); });
  ASSERT_EQ(rows.size(), 2U);
  const auto& row = rows[0];
  EXPECT_EQ(row.protocol, kUdp);
  EXPECT_STREQ(row.state, "replied");
  EXPECT_EQ(row.source.to_string(), "10.0.0.1");
  EXPECT_EQ(row.destination.to_string(), "10.0.0.2");
  EXPECT_EQ(row.destination_port, net::be16(53));
  EXPECT_EQ(row.reply_source.to_string(), "10.0.0.3");
  EXPECT_EQ(row.reply_source_port, net::be16(5353));
  EXPECT_EQ(row.reply_destination.to_string(), "10.0.0.9");
  EXPECT_EQ(row.packets, 1U);
  EXPECT_EQ(row.bytes, 100U);
  EXPECT_EQ(row.reply_packets, 1U);
  EXPECT_EQ(row.reply_bytes, 300U);
  EXPECT_EQ(row.age_seconds, 10U);
  EXPECT_EQ(row.expires_in_seconds, 115U);
  EXPECT_EQ(row.service_id, 7U);
  EXPECT_EQ(rows[1].source.to_string(), "fd00:1234:89ab::1");
  EXPECT_STREQ(rows[1].state, "syn_sent");
}

TEST(Flows, RowsStopAtTheLimit) {
  Both b;
  EXPECT_EQ(b.flows.rows(20, 5, nullptr).size(), 5U);
  EXPECT_EQ(b.flows.rows(20, 1000, nullptr).size(), 400U);
}

TEST(Flows, EraseIfEndsExactlyTheWanted) {
  Both b;
  const auto udp_below_100 = [](const observe::FlowRow& row) {
    return row.protocol == kUdp && row.source_port.host() < 100;
  };
  for (observe::FlowCursor at; !at.at_end;) b.flows.erase_if(20, at, udp_below_100);
  EXPECT_EQ(b.flows.v4.size(), 101U);
  EXPECT_EQ(b.flows.v6.size(), 200U);
  EXPECT_EQ(b.flows.v4.find(test_key<V4>(kUdp, 1, 7, 2, 53)), nullptr);
  EXPECT_NE(b.flows.v4.find(test_key<V4>(kUdp, 1, 100, 2, 53)), nullptr);
}

// However many rounds a worker makes in a second, one second is one pass.
TEST(Flows, SweepMakesAboutOnePassASecond) {
  for (const unsigned rounds : {3U, 50U, 5000U}) {
    Both b;
    unsigned ended = 0;
    for (std::uint32_t now = 11; now < 200; ++now) {
      for (unsigned round = 0; round < rounds; ++round) {
        ended += b.flows.sweep(0, 2, now) + b.flows.sweep(1, 2, now);
      }
      if (now < 40) {
        ASSERT_EQ(ended, 0U);
      }
      if (now == 42) {
        EXPECT_EQ(ended, 200U) << rounds;  // the UDP ones, at 40
      }
    }
    EXPECT_EQ(ended, 400U);
    EXPECT_EQ(b.flows.v4.ended() + b.flows.v6.ended(), 400U);
  }
}

}  // namespace
}  // namespace podwire::flow
