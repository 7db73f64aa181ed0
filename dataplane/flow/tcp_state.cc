#include "dataplane/flow/tcp_state.h"

namespace podwire::flow {
namespace {

using net::Tcp;

State tcp_fin(State state, bool reply) noexcept {
  switch (state) {
    case State::syn_received:
    case State::established:
      return reply ? State::fin_wait_reply : State::fin_wait;
    case State::fin_wait:
    case State::close_wait:
      return reply ? State::last_ack : state;
    case State::fin_wait_reply:
    case State::close_wait_reply:
      return reply ? state : State::last_ack_reply;
    default:
      return state;
  }
}

State tcp_ack(State state, bool reply) noexcept {
  switch (state) {
    case State::syn_received:
      return reply ? state : State::established;
    case State::fin_wait:
      return reply ? State::close_wait : state;
    case State::fin_wait_reply:
      return reply ? state : State::close_wait_reply;
    case State::last_ack:
      return reply ? state : State::time_wait;
    case State::last_ack_reply:
      return reply ? State::time_wait : state;
    default:
      return state;
  }
}

State tcp_next(State state, std::uint8_t flags, bool reply) noexcept {
  if ((flags & Tcp::rst) != 0) return State::close;
  // SYN and ACK answer an opening, a bare SYN from the other side opens simultaneously (RFC 9293
  // section 3.5). On any later state a SYN is an error the endpoints settle by a challenge ACK.
  if ((flags & Tcp::syn) != 0) {
    return state == State::syn_sent && reply ? State::syn_received : state;
  }
  if ((flags & Tcp::fin) != 0) return tcp_fin(state, reply);
  if ((flags & Tcp::ack) != 0) return tcp_ack(state, reply);
  return state;
}

State sctp_next(State state, std::uint8_t chunk, bool reply) noexcept {
  switch (chunk) {
    case sctp_chunk::abort:
    case sctp_chunk::shutdown:
    case sctp_chunk::shutdown_ack:
    case sctp_chunk::shutdown_complete:
      return State::sctp_shutdown;
    case sctp_chunk::cookie_ack:
    case sctp_chunk::heartbeat_ack:
      return state == State::sctp_init ? State::sctp_established : state;
    case sctp_chunk::data:
    case sctp_chunk::sack:  // under way on both sides: an association older than its flow
      return state == State::sctp_init && reply ? State::sctp_established : state;
    default:
      return state;
  }
}

}  // namespace

State first_state(std::uint8_t protocol, std::uint8_t flags) noexcept {
  if (protocol == net::protocol::tcp) {
    if ((flags & Tcp::rst) != 0) return State::close;
    if ((flags & Tcp::syn) != 0) {
      return (flags & Tcp::ack) != 0 ? State::syn_received : State::syn_sent;
    }
    return (flags & Tcp::fin) != 0 ? State::fin_wait : State::established;
  }
  if (protocol == net::protocol::sctp) {
    const bool ends = flags == sctp_chunk::abort || flags == sctp_chunk::shutdown ||
                      flags == sctp_chunk::shutdown_ack || flags == sctp_chunk::shutdown_complete;
    return ends ? State::sctp_shutdown : State::sctp_init;
  }
  return State::unreplied;
}

State next_state(State state, std::uint8_t protocol, std::uint8_t flags, bool reply) noexcept {
  if (protocol == net::protocol::tcp) return tcp_next(state, flags, reply);
  if (protocol == net::protocol::sctp) return sctp_next(state, flags, reply);
  return reply ? State::replied : state;
}

std::uint32_t timeout_seconds(State state, std::uint8_t protocol,
                              const FlowTimeouts& timeouts) noexcept {
  switch (state) {
    case State::unreplied:
    case State::replied:
      if (protocol == net::protocol::udp) {
        return state == State::replied ? timeouts.udp_stream : timeouts.udp;
      }
      if (protocol == net::protocol::icmp || protocol == net::protocol::icmpv6) {
        return timeouts.icmp;
      }
      return timeouts.other;
    case State::syn_sent:
      return timeouts.tcp_syn_sent;
    case State::syn_received:
      return timeouts.tcp_syn_received;
    case State::established:
      return timeouts.tcp_established;
    case State::fin_wait:
    case State::fin_wait_reply:
      return timeouts.tcp_fin_wait;
    case State::close_wait:
    case State::close_wait_reply:
      return timeouts.tcp_close_wait;
    case State::last_ack:
    case State::last_ack_reply:
      return timeouts.tcp_last_ack;
    case State::time_wait:
      return timeouts.tcp_time_wait;
    case State::close:
      return timeouts.tcp_close;
    case State::sctp_init:
      return timeouts.sctp_init;
    case State::sctp_established:
      return timeouts.sctp_established;
    case State::sctp_shutdown:
      return timeouts.sctp_shutdown;
  }
  return timeouts.other;
}

const char* state_name(State state) noexcept {
  switch (state) {
    case State::unreplied:
      return "unreplied";
    case State::replied:
      return "replied";
    case State::syn_sent:
      return "syn_sent";
    case State::syn_received:
      return "syn_received";
    case State::established:
    case State::sctp_established:
      return "established";
    case State::fin_wait:
    case State::fin_wait_reply:
      return "fin_wait";
    case State::close_wait:
    case State::close_wait_reply:
      return "close_wait";
    case State::last_ack:
    case State::last_ack_reply:
      return "last_ack";
    case State::time_wait:
      return "time_wait";
    case State::close:
      return "close";
    case State::sctp_init:
      return "sctp_init";
    case State::sctp_shutdown:
      return "sctp_shutdown";
  }
  return "unknown";
}

}  // namespace podwire::flow
