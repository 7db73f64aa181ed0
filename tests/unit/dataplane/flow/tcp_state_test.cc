#include "dataplane/flow/tcp_state.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/lib/protocols.h"

namespace podwire::flow {
namespace {

using net::Tcp;
constexpr std::uint8_t kSyn = Tcp::syn, kAck = Tcp::ack, kFin = Tcp::fin, kRst = Tcp::rst;
constexpr std::uint8_t kSynAck = kSyn | kAck, kFinAck = kFin | kAck, kRstAck = kRst | kAck;

// From a state, where each kind of segment leads, from the side that opened and from the other.
struct Row {
  State from;
  State syn, syn_ack, ack, fin, rst;  // from the opening side
  State reply_syn, reply_syn_ack, reply_ack, reply_fin, reply_rst;
};

TEST(TcpState, EveryTransition) {
  constexpr auto SS = State::syn_sent, SR = State::syn_received, ES = State::established,
                 FW = State::fin_wait, CW = State::close_wait, LA = State::last_ack,
                 TW = State::time_wait, CL = State::close, FR = State::fin_wait_reply,
                 CR = State::close_wait_reply, LR = State::last_ack_reply;
  static constexpr Row kRows[] = {
      {SS, SS, SS, SS, SS, CL, SR, SR, SS, SS, CL},  //
      {SR, SR, SR, ES, FW, CL, SR, SR, SR, FR, CL},  //
      {ES, ES, ES, ES, FW, CL, ES, ES, ES, FR, CL},  //
      {FW, FW, FW, FW, FW, CL, FW, FW, CW, LA, CL},  //
      {CW, CW, CW, CW, CW, CL, CW, CW, CW, LA, CL},  //
      {LA, LA, LA, TW, LA, CL, LA, LA, LA, LA, CL},  //
      {FR, FR, FR, CR, LR, CL, FR, FR, FR, FR, CL},  //
      {CR, CR, CR, CR, LR, CL, CR, CR, CR, CR, CL},  //
      {LR, LR, LR, LR, LR, CL, LR, LR, TW, LR, CL},  //
      {TW, TW, TW, TW, TW, CL, TW, TW, TW, TW, CL},  //
      {CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL},  //
  };
  for (const Row& row : kRows) {
    const auto next = [&](std::uint8_t flags, bool reply) {
      return next_state(row.from, kTcp, flags, reply);
    };
    SCOPED_TRACE(state_name(row.from) + std::string(" ") +
                 std::to_string(static_cast<int>(row.from)));
    EXPECT_EQ(next(kSyn, false), row.syn);
    EXPECT_EQ(next(kSynAck, false), row.syn_ack);
    EXPECT_EQ(next(kAck, false), row.ack);
    EXPECT_EQ(next(kAck | Tcp::psh, false), row.ack);
    EXPECT_EQ(next(kFinAck, false), row.fin);
    EXPECT_EQ(next(kFin, false), row.fin);
    EXPECT_EQ(next(kRst, false), row.rst);
    EXPECT_EQ(next(kRstAck, false), row.rst);
    EXPECT_EQ(next(0, false), row.from);
    EXPECT_EQ(next(kSyn, true), row.reply_syn);
    EXPECT_EQ(next(kSynAck, true), row.reply_syn_ack);
    EXPECT_EQ(next(kAck, true), row.reply_ack);
    EXPECT_EQ(next(kFinAck, true), row.reply_fin);
    EXPECT_EQ(next(kRst, true), row.reply_rst);
    EXPECT_EQ(next(0, true), row.from);
  }
}

TEST(TcpState, FirstSegmentDecidesTheFirstState) {
  EXPECT_EQ(first_state(kTcp, kSyn), State::syn_sent);
  EXPECT_EQ(first_state(kTcp, kSynAck), State::syn_received);
  EXPECT_EQ(first_state(kTcp, kAck), State::established);
  EXPECT_EQ(first_state(kTcp, kFinAck), State::fin_wait);
  EXPECT_EQ(first_state(kTcp, kRst), State::close);
  EXPECT_EQ(first_state(kUdp, 0), State::unreplied);
  EXPECT_EQ(first_state(net::protocol::icmp, 0), State::unreplied);
  EXPECT_EQ(first_state(kSctp, sctp_chunk::init), State::sctp_init);
  EXPECT_EQ(first_state(kSctp, sctp_chunk::abort), State::sctp_shutdown);
}

// The short cut that an established packet takes must never hide a transition.
TEST(TcpState, SteadyMeansThatNothingMoves) {
  unsigned steady = 0;
  for (int s = 0; s <= static_cast<int>(State::last_ack_reply); ++s) {
    for (const std::uint8_t protocol : {kTcp, kUdp, kSctp, net::protocol::icmp}) {
      for (int flags = 0; flags < 256; ++flags) {
        for (const bool reply : {false, true}) {
          const auto state = static_cast<State>(s);
          const auto f = static_cast<std::uint8_t>(flags);
          if (!is_steady(state, protocol, f, reply)) continue;
          ++steady;
          const bool impossible = (state == State::replied || state == State::unreplied) &&
                                  (protocol == kTcp || protocol == kSctp);
          if (!impossible) {
            EXPECT_EQ(next_state(state, protocol, f, reply), state) << s << " " << flags;
          }
        }
      }
    }
  }
  EXPECT_GT(steady, 0U);
  EXPECT_TRUE(is_steady(State::established, kTcp, kAck, true));
  EXPECT_TRUE(is_steady(State::replied, kUdp, 0, true));
}

TEST(TcpState, OnlyABareSynOnAnEndedConnectionOpensAgain) {
  for (int s = 0; s <= static_cast<int>(State::last_ack_reply); ++s) {
    const auto state = static_cast<State>(s);
    const bool ended = state == State::time_wait || state == State::close;
    EXPECT_EQ(opens_again(state, kTcp, kSyn), ended);
    EXPECT_EQ(opens_again(state, kTcp, kSyn | 0xc0), ended);  // ECN's bits (RFC 3168)
    EXPECT_FALSE(opens_again(state, kTcp, kSynAck));
    EXPECT_FALSE(opens_again(state, kTcp, kSyn | kRst));
    EXPECT_FALSE(opens_again(state, kTcp, kSyn | kFin));
    EXPECT_FALSE(opens_again(state, kTcp, kAck));
    EXPECT_FALSE(opens_again(state, kUdp, 0));
    EXPECT_EQ(opens_again(state, kSctp, sctp_chunk::init), state == State::sctp_shutdown);
    EXPECT_FALSE(opens_again(state, kSctp, sctp_chunk::data));
  }
}

TEST(SctpState, EveryChunk) {
  using namespace sctp_chunk;
  constexpr auto I = State::sctp_init, E = State::sctp_established, S = State::sctp_shutdown;
  struct Case {
    std::uint8_t chunk;
    State init, established, shutdown, init_reply;
  };
  static constexpr Case kCases[] = {
      {data, I, E, S, E},
      {sctp_chunk::init, I, E, S, I},
      {init_ack, I, E, S, I},
      {sack, I, E, S, E},
      {heartbeat, I, E, S, I},
      {heartbeat_ack, E, E, S, E},
      {sctp_chunk::abort, S, S, S, S},
      {shutdown, S, S, S, S},
      {shutdown_ack, S, S, S, S},
      {error, I, E, S, I},
      {cookie_echo, I, E, S, I},
      {cookie_ack, E, E, S, E},
      {shutdown_complete, S, S, S, S},
      {200, I, E, S, I},
  };
  for (const Case& c : kCases) {
    SCOPED_TRACE(static_cast<int>(c.chunk));
    EXPECT_EQ(next_state(I, kSctp, c.chunk, false), c.init);
    EXPECT_EQ(next_state(I, kSctp, c.chunk, true), c.init_reply);
    for (const bool reply : {false, true}) {
      EXPECT_EQ(next_state(E, kSctp, c.chunk, reply), c.established);
      EXPECT_EQ(next_state(S, kSctp, c.chunk, reply), c.shutdown);
    }
  }
}

TEST(OneSidedState, RepliedOnceTheOtherSideSpeaks) {
  for (const std::uint8_t protocol :
       {kUdp, net::protocol::icmp, net::protocol::icmpv6, net::protocol::gre}) {
    EXPECT_EQ(next_state(State::unreplied, protocol, 0, false), State::unreplied);
    EXPECT_EQ(next_state(State::unreplied, protocol, 0, true), State::replied);
    EXPECT_EQ(next_state(State::replied, protocol, 0, false), State::replied);
  }
}

TEST(Timeouts, EachStateHasItsOwn) {
  const FlowTimeouts t;
  const auto tcp = [&](State s) { return timeout_seconds(s, kTcp, t); };
  EXPECT_EQ(tcp(State::syn_sent), 120U);
  EXPECT_EQ(tcp(State::syn_received), 60U);
  EXPECT_EQ(tcp(State::established), 86400U);
  EXPECT_EQ(tcp(State::fin_wait), 120U);
  EXPECT_EQ(tcp(State::fin_wait_reply), 120U);
  EXPECT_EQ(tcp(State::close_wait), 3600U);
  EXPECT_EQ(tcp(State::close_wait_reply), 3600U);
  EXPECT_EQ(tcp(State::last_ack), 30U);
  EXPECT_EQ(tcp(State::last_ack_reply), 30U);
  EXPECT_EQ(tcp(State::time_wait), 120U);
  EXPECT_EQ(tcp(State::close), 10U);
  EXPECT_EQ(timeout_seconds(State::unreplied, kUdp, t), 30U);
  EXPECT_EQ(timeout_seconds(State::replied, kUdp, t), 120U);
  EXPECT_EQ(timeout_seconds(State::sctp_init, kSctp, t), 60U);
  EXPECT_EQ(timeout_seconds(State::sctp_established, kSctp, t), 432000U);
  EXPECT_EQ(timeout_seconds(State::sctp_shutdown, kSctp, t), 10U);
  for (const State s : {State::unreplied, State::replied}) {
    EXPECT_EQ(timeout_seconds(s, net::protocol::icmp, t), 30U);
    EXPECT_EQ(timeout_seconds(s, net::protocol::icmpv6, t), 30U);
    EXPECT_EQ(timeout_seconds(s, net::protocol::gre, t), 600U);
  }
}

}  // namespace
}  // namespace podwire::flow
