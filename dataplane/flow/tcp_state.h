// The states of a connection and how packets move them. TCP as nf_conntrack's liberal tracking
// (net/netfilter/nf_conntrack_proto_tcp.c: tcp_conntracks), with the direction of the first FIN
// kept, so that only the other side's ACK moves a closing connection on. SCTP by the first chunk's
// type (RFC 9260). Everything else is unreplied until the other side speaks. Pure functions.
#pragma once

#include <cstdint>

#include "dataplane/config.h"
#include "dataplane/flow/flow.h"
#include "dataplane/net/headers.h"

namespace podwire::flow {

namespace sctp_chunk {
inline constexpr std::uint8_t data = 0, init = 1, init_ack = 2, sack = 3, heartbeat = 4,
                              heartbeat_ack = 5, abort = 6, shutdown = 7, shutdown_ack = 8,
                              error = 9, cookie_echo = 10, cookie_ack = 11, shutdown_complete = 14;
}

// A flow picked up under way is not believed to be established for longer than this until its other
// side has spoken (nf_conntrack: TCP_CONNTRACK_UNACK).
inline constexpr std::uint32_t kPickupSeconds = 300;

// `flags` here and below: TCP's flags, the first chunk's type for SCTP, else ignored.
[[nodiscard]] State first_state(std::uint8_t protocol, std::uint8_t flags) noexcept;

// `reply`: the packet came from the side that did not open the connection.
[[nodiscard]] State next_state(State state, std::uint8_t protocol, std::uint8_t flags,
                               bool reply) noexcept;

[[nodiscard]] std::uint32_t timeout_seconds(State state, std::uint8_t protocol,
                                            const FlowTimeouts& timeouts) noexcept;

// As nf_conntrack prints it; both directions' closing states have one name.
[[nodiscard]] const char* state_name(State state) noexcept;

// May make room for a new flow when the table is full: opening, closing, or one-sided.
[[nodiscard]] constexpr bool is_expendable(State state) noexcept {
  switch (state) {
    case State::unreplied:
    case State::syn_sent:
    case State::syn_received:
    case State::time_wait:
    case State::close:
    case State::sctp_init:
    case State::sctp_shutdown:
      return true;
    default:
      return false;
  }
}

// No packet like this one moves the state: the test an established packet pays for.
[[nodiscard]] constexpr bool is_steady(State state, std::uint8_t protocol, std::uint8_t flags,
                                       bool reply) noexcept {
  if (state == State::established && protocol == net::protocol::tcp) {
    return (flags & (net::Tcp::syn | net::Tcp::fin | net::Tcp::rst)) == 0;
  }
  return state == State::replied || (state == State::unreplied && !reply);
}

// The same for a whole flow, whose packets carry neither SYN, FIN nor RST: no TCP connection is
// ever replied or unreplied, nothing else ever established.
[[nodiscard]] constexpr bool is_steady_flow(State state, bool reply) noexcept {
  constexpr auto bit = [](State s) { return 1U << static_cast<unsigned>(s); };
  constexpr unsigned kBoth = bit(State::established) | bit(State::replied);
  const unsigned steady = reply ? kBoth : kBoth | bit(State::unreplied);
  return (steady >> static_cast<unsigned>(state) & 1U) != 0;
}

// The packet opens a new connection on the tuple of one that is over: TCP port reuse (RFC 9293
// section 3.6.1), SCTP INIT after a shutdown.
[[nodiscard]] constexpr bool opens_again(State state, std::uint8_t protocol,
                                         std::uint8_t flags) noexcept {
  if (protocol == net::protocol::tcp) {
    constexpr std::uint8_t kMask = net::Tcp::syn | net::Tcp::ack | net::Tcp::fin | net::Tcp::rst;
    return (flags & kMask) == net::Tcp::syn && (state == State::time_wait || state == State::close);
  }
  return protocol == net::protocol::sctp && state == State::sctp_shutdown &&
         flags == sctp_chunk::init;
}

}  // namespace podwire::flow
