// Track: finds the packet's flow in the table that all workers share.
//
// A known flow carries its verdict and its rewrite, and the packet goes on to rewrite. A packet of
// no flow, or of one that was admitted under another policy, is marked fresh and takes the new-flow
// stages. A SYN on a connection that has ended begins a new one. An ICMP error belongs to the flow
// of the packet that it quotes (icmp_quote.h).
#pragma once

#include <string_view>

#include "dataplane/stages/lookup.h"
#include "dataplane/verdict.h"

namespace podwire::stages {

struct Track {
  static constexpr std::string_view name = "track";

  static void begin(Packet& p, Worker& w) noexcept {
    if (p.plain) return;
    by_family(p, [&]<typename F>(F) {
      auto& map = w.shared.flows->template map<F>();
      p.hash = map.hash(key_of<F>(p));
      map.prefetch(p.hash);
    });
  }

  static void hint(Packet& p, Worker& w) noexcept {
    if (p.plain) return;
    by_family(p, [&]<typename F>(F) { p.hint = w.shared.flows->template map<F>().hint(p.hash); });
  }
  static constexpr std::array<Step, 2> steps{begin, hint};

  static Verdict decide(Packet& p, Worker& w) noexcept {
    if (p.plain) return Verdict::next();
    return by_family(p, [&]<typename F>(F) { return find<F>(p, w); });
  }

 private:
  // The flow of the packet that an ICMP error quotes.
  static Verdict find_quoted(Packet& p, Worker& w) noexcept;

  [[nodiscard]] static bool is_icmp_error(const Packet& p) noexcept;

  template <typename F>
  static Verdict find(Packet& p, Worker& w) noexcept {
    if (is_icmp_error(p)) [[unlikely]]
      return find_quoted(p, w);
    auto& map = w.shared.flows->map<F>();
    flow::Flow<F>* flow = map.find(key_of<F>(p), p.hash, p.hint);
    if (flow != nullptr && reopens(p, *flow)) [[unlikely]] {
      if (map.erase(*flow)) w.counters.flows_removed.add();
      flow = nullptr;
    }
    if (flow == nullptr) {
      make_fresh(p, w);
    } else {
      attach(p, *flow, w);
    }
    return Verdict::next();
  }

  // RFC 9293 section 3.10.7.4: a SYN may reopen a connection from TIME-WAIT.
  template <typename F>
  [[nodiscard]] static bool reopens(const Packet& p, const flow::Flow<F>& flow) noexcept {
    if (p.protocol != net::protocol::tcp || !is_plain_syn(p)) return false;
    const auto state = flow.state.load(std::memory_order_relaxed);
    return state == flow::State::time_wait || state == flow::State::close;
  }
};

inline bool Track::is_icmp_error(const Packet& p) noexcept {
  if (p.protocol != net::protocol::icmp && p.protocol != net::protocol::icmpv6) return false;
  if (p.l4_offset == 0 || p.l4_readable() < sizeof(net::Icmp)) return false;
  const std::uint8_t type = *p.l4();
  if (p.protocol == net::protocol::icmpv6) return type < 128;              // RFC 4443 section 2.1
  return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;  // RFC 792
}

}  // namespace podwire::stages
