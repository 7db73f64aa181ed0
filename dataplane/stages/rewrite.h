// Rewrite: hop count, and the flow's translation of addresses and ports, with every checksum kept
// true by increment (RFC 1624; SCTP's CRC32c is computed anew).
//
// Only forwarded packets lose a hop: not those that come from this node's Linux or go to it, which
// is the next router itself or no router at all. The packet stays untouched when its hops are used
// up, so that the error about it quotes what the sender sent.
// After it, p.ipv4() and p.ipv6() hold the addresses as they leave; p.source_port and
// p.destination_port still those that arrived.
#pragma once

#include <string_view>

#include "dataplane/net/checksum.h"
#include "dataplane/stages/lookup.h"
#include "dataplane/verdict.h"

namespace podwire::stages {

struct Rewrite {
  static constexpr std::string_view name = "rewrite";

  static Verdict decide(Packet& p, Worker& w) noexcept {
    return by_family(p, [&]<typename F>(F) { return rewrite<F>(p, w); });
  }

 private:
  template <typename F>
  static Verdict rewrite(Packet& p, Worker& w) noexcept {
    if (p.flow == nullptr) [[unlikely]]
      return Verdict::next();  // the node's own, untranslated
    const flow::Flow<F>& flow = flow_of<F>(p);
    std::uint16_t l3_delta = 0;
    if (is_forwarded(p, flow, w)) {
      if (hops<F>(p) <= 1) [[unlikely]]
        return out_of_hops(p, w);
      --hops<F>(p);
      l3_delta = kOneHopLess;
    }
    if (p.icmp_error) [[unlikely]] {
      update_header_checksum<F>(p, l3_delta);
      return flow.translates ? translate_error(p) : Verdict::next();
    }
    if (!flow.translates) {
      update_header_checksum<F>(p, l3_delta);
      return Verdict::next();
    }
    update_header_checksum<F>(p, std::uint32_t{l3_delta} + flow.l3_delta);
    if (p.l4_offset != 0) {
      if (const Verdict verdict = translate_l4(p, flow); !verdict.goes_on()) return verdict;
    }
    if constexpr (F::family == net::Family::v4) {
      p.ipv4().source = flow.rewrite.source;
      p.ipv4().destination = flow.rewrite.destination;
    } else {
      p.ipv6().source = flow.rewrite.source;
      p.ipv6().destination = flow.rewrite.destination;
    }
    return Verdict::next();
  }

  // The word (TTL, protocol) less one in its first byte: ~old + new, whatever its value.
  static constexpr std::uint16_t kOneHopLess = 0xfffe;

  template <typename F>
  [[nodiscard]] static std::uint8_t& hops(const Packet& p) noexcept {
    if constexpr (F::family == net::Family::v4) {
      return p.ipv4().ttl;
    } else {
      return p.ipv6().hop_limit;
    }
  }

  template <typename F>
  static void update_header_checksum(Packet& p, std::uint32_t delta) noexcept {
    if constexpr (F::family == net::Family::v4) {
      p.ipv4().checksum = net::updated_checksum(p.ipv4().checksum, delta);
    }
  }

  template <typename F>
  [[nodiscard]] static bool is_forwarded(const Packet& p, const flow::Flow<F>& flow,
                                         const Worker& w) noexcept {
    if (p.source == Source::host || p.source == Source::self) return false;
    // The flow's own next hop where it is known, for it is read anyway by route.
    const auto& routes = *w.snapshot->routes;
    auto next_hop = flow::Way::next_hop(flow.way.load(std::memory_order_relaxed), way_from(p, w));
    if (next_hop == tables::kNoNextHop) [[unlikely]]
      next_hop = routes.find(destination_of(flow));
    return routes.at(next_hop).kind != tables::NextHopKind::host;
  }

  [[nodiscard]] static net::Address destination_of(const flow::Flow<flow::V4>& flow) noexcept {
    return net::Address::from_v4(flow.rewrite.destination);
  }
  [[nodiscard]] static net::Address destination_of(const flow::Flow<flow::V6>& flow) noexcept {
    return net::Address::from_v6(flow.rewrite.destination.data());
  }

  static Verdict out_of_hops(Packet& p, Worker& w) noexcept;

  // Ports or identifier, and the transport's checksum. The addresses still stand as they came.
  template <typename F>
  static Verdict translate_l4(Packet& p, const flow::Flow<F>& flow) noexcept;

  // The addresses of an ICMP error and what it quotes, by its flow.
  static Verdict translate_error(Packet& p) noexcept;
};

extern template Verdict Rewrite::translate_l4(Packet&, const flow::Flow<flow::V4>&) noexcept;
extern template Verdict Rewrite::translate_l4(Packet&, const flow::Flow<flow::V6>&) noexcept;

}  // namespace podwire::stages
