// The fast path: a packet of a known flow, from the frame as it came to the frame as it is sent. It
// does for TCP and UDP without oddities what parse, decap, track, rewrite, route and encap do for
// everything, to the same bytes and counters, and leaves untouched what it does not do: see README.
//
// Three passes over the burst hide the cache misses: keys and their tags; tags and their entries;
// the packets themselves, in order.
#pragma once

#include <optional>
#include <string_view>

#include "dataplane/stages/fast_path_classify.h"

namespace podwire::stages {

class FastPath {
 public:
  static constexpr std::string_view name = "fast path";

  enum class Fate : std::uint8_t {
    sent,      // in its port's outbox
    later,     // of no flow that is known: may wait until the burst is through
    in_place,  // perhaps of a known flow: is to be carried before the frames behind it
  };

  // Begins the look-ups. Both arguments outlive it.
  FastPath(const Burst& burst, Worker& w) noexcept;
  ~FastPath() {
    w_.counters.tunnel_in.add(tunnel_in_);
    w_.counters.tunnel_out.add(tunnel_out_);
  }
  FastPath(const FastPath&) = delete;
  FastPath& operator=(const FastPath&) = delete;

  // Carries frames from `i` on, in order, and stops at the first that is not for it: then `i` is
  // that frame's place, and its fate is returned; else `i` is the burst's size.
  Fate carry(unsigned& i) noexcept;
  // Of the frames before carry()'s place: those that are another worker's now.
  [[nodiscard]] unsigned handed_over() const noexcept { return handed_over_; }
  // Of a frame that is `later`: its key's hash, when it is TCP or UDP over IPv4, untunnelled.
  [[nodiscard]] std::optional<std::uint32_t> plain_hash(unsigned i) const noexcept {
    if (kinds_[i] != Kind::v4) return std::nullopt;
    return hashes_[i];
  }

 private:
  using Kind = Classifier::Kind;
  void begin_run(const Burst::Run& run) noexcept;
  void find_candidates() noexcept;
  void begin(unsigned i) noexcept;
  [[nodiscard]] bool is_elsewhere(unsigned i) const noexcept;
  bool hand_over(unsigned i) noexcept;
  void enter(const Burst::Run& run) noexcept {
    if (run.in_port != ingress_.port) ingress_ = Ingress(run.in_port, *w_.snapshot, w_);
  }
  template <typename F>
  flow::FlowMap<F>& map() noexcept {
    if constexpr (F::family == net::Family::v4) {
      return v4_;
    } else {
      return v6_;
    }
  }
  Fate carry_run(unsigned& i, unsigned end) noexcept;
  template <typename F, Kind kind>
  Fate carry_alike(unsigned& i, unsigned end) noexcept;
  template <typename F, bool kInTunnel>
  Fate carry_one(unsigned i) noexcept;
  template <typename F, bool kInTunnel, bool kToTunnel>
  [[gnu::always_inline]] Fate deliver(unsigned i, rte_mbuf* mbuf, flow::Flow<F>& flow,
                                      const tables::NextHop& hop) noexcept;
  template <typename F>
  flow::Flow<F>* find(const std::uint8_t* ip, std::uint32_t hash) noexcept;
  template <typename F>
  bool move_on(InFrame<F> packet, std::uint32_t hash, flow::Flow<F>& flow) noexcept;
  void send(rte_mbuf* mbuf, PortId port) noexcept;

  const Burst& burst_;
  Worker& w_;
  flow::FlowMap<flow::V4>& v4_;
  flow::FlowMap<flow::V6>& v6_;
  const tables::NextHop* const hops_;
  const std::size_t hop_count_;
  const std::uint16_t now_;
  // Of the first frame's outer header: one for each frame of the burst.
  const std::uint16_t tunnel_id_;
  Ingress ingress_;
  Classifier classify_;
  unsigned tunnel_in_ = 0, tunnel_out_ = 0, handed_over_ = 0;
  const Burst::Run* run_;  // of carry()'s place
  PortId out_port_ = kNoPort;
  Worker::Outbox* outbox_ = nullptr;  // of out_port_, with room for the burst
  // Of each frame: its kind; of known kinds the key's hash, where to look, and perhaps the flow.
  std::array<Kind, kBatchSize> kinds_;
  std::array<std::uint32_t, kBatchSize> hashes_, groups_;
  std::array<void*, kBatchSize> candidates_;
};

inline FastPath::FastPath(const Burst& burst, Worker& w) noexcept
    : burst_(burst),
      w_(w),
      v4_(w.shared.flows->v4),
      v6_(w.shared.flows->v6),
      hops_(w.snapshot->routes->next_hops.data()),
      hop_count_(std::min(w.snapshot->routes->next_hops.size(), flow::Way::kHops)),
      now_(flow::FlowMap<flow::V4>::clock16(w.now_seconds)),
      tunnel_id_(w.next_tunnel_id),
      classify_(*w.snapshot),
      run_(burst.runs().data()) {
  w.next_tunnel_id = static_cast<std::uint16_t>(w.next_tunnel_id + burst.size());
  for (const Burst::Run& run : burst.runs()) begin_run(run);
  find_candidates();
}

inline void FastPath::find_candidates() noexcept {
  std::array<std::uint8_t, kBatchSize> missed;
  unsigned missed_count = 0;
  for (unsigned i = 0; i < burst_.size(); ++i) {
    if (kinds_[i] > Kind::v6) continue;
    candidates_[i] = kinds_[i] == Kind::v6
                         ? static_cast<void*>(v6_.candidate(groups_[i], hashes_[i]))
                         : v4_.candidate(groups_[i], hashes_[i]);
    if (candidates_[i] == nullptr) [[unlikely]]
      missed[missed_count++] = static_cast<std::uint8_t>(i);
  }
  for (unsigned n = 0; n < missed_count; ++n) {
    const unsigned i = missed[n];
    candidates_[i] = kinds_[i] == Kind::v6 ? static_cast<void*>(v6_.candidate_further(hashes_[i]))
                                           : v4_.candidate_further(hashes_[i]);
  }
}

inline void FastPath::begin_run(const Burst::Run& run) noexcept {
  enter(run);
  for (unsigned i = run.begin; i < run.end; ++i) begin(i);
  if (w_.shared.handoff == nullptr || run.handed) return;
  for (unsigned i = run.begin; i < run.end; ++i) {
    if (is_elsewhere(i)) kinds_[i] = Kind::elsewhere;
  }
}

inline void FastPath::begin(unsigned i) noexcept {
  const rte_mbuf& mbuf = *burst_.mbufs()[i];
  const auto* ip = rte_pktmbuf_mtod(&mbuf, const std::uint8_t*) + sizeof(net::Ethernet);
  const Kind kind = classify_(ingress_, mbuf);
  kinds_[i] = kind;
  if (kind == Kind::v6) {
    hashes_[i] = Wire<flow::V6>::hash(ip, v6_.hasher());
    groups_[i] = v6_.prefetch(hashes_[i]);
  } else if (kind <= Kind::v4_in_tunnel) {
    if (kind == Kind::v4_in_tunnel) ip += sizeof(net::Ipv4);
    hashes_[i] = Wire<flow::V4>::hash(ip, v4_.hasher());
    groups_[i] = v4_.prefetch(hashes_[i]);
  }
}

// Is it the flow of another worker, though the device gave it to us?
inline bool FastPath::is_elsewhere(unsigned i) const noexcept {
  const bool spread = kinds_[i] == Kind::v4_in_tunnel ||
                      (ingress_.uplink && ingress_.few_queues && kinds_[i] <= Kind::v6);
  return spread && w_.shared.handoff->worker_of(hashes_[i]) != w_.index;
}

inline bool FastPath::hand_over(unsigned i) noexcept {
  Handoff& handoff = *w_.shared.handoff;
  const Burst::Frame frame{burst_.mbufs()[i], run_->in_port, false};
  if (!handoff.give(w_.index, handoff.worker_of(hashes_[i]), frame)) return false;
  ++handed_over_;
  return true;
}

template <typename F, bool kInTunnel>
[[gnu::always_inline]] inline FastPath::Fate FastPath::carry_one(unsigned i) noexcept {
  constexpr unsigned kL3 = sizeof(net::Ethernet) + (kInTunnel ? sizeof(net::Ipv4) : 0);
  rte_mbuf* mbuf = burst_.mbufs()[i];
  const auto* ip = rte_pktmbuf_mtod(mbuf, const std::uint8_t*) + kL3;
  auto* flow = static_cast<flow::Flow<F>*>(candidates_[i]);
  if (!Wire<F>::is_of(ip, flow->key)) [[unlikely]] {
    flow = find<F>(ip, hashes_[i]);
    if (flow == nullptr) return Fate::later;
  }
  const std::uint64_t id = flow::Way::next_hop_or_more(
      flow->way.load(std::memory_order_relaxed), kInTunnel ? ingress_.tunnel_way : ingress_.way);
  if (id >= hop_count_) [[unlikely]]
    return Fate::in_place;
  const tables::NextHop& hop = hops_[id];
  if (F::family == net::Family::v4 && hop.kind == tables::NextHopKind::tunnel) [[likely]]
    return deliver<F, kInTunnel, true>(i, mbuf, *flow, hop);
  return leads_out(hop.kind) ? deliver<F, kInTunnel, false>(i, mbuf, *flow, hop) : Fate::in_place;
}

template <typename F, bool kInTunnel, bool kToTunnel>
inline FastPath::Fate FastPath::deliver(unsigned i, rte_mbuf* mbuf, flow::Flow<F>& flow,
                                        const tables::NextHop& hop) noexcept {
  constexpr unsigned kL3 = sizeof(net::Ethernet) + (kInTunnel ? sizeof(net::Ipv4) : 0);
  constexpr unsigned kHeaders = sizeof(net::Ethernet) + (kToTunnel ? sizeof(net::Ipv4) : 0);
  auto* frame = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
  const InFrame<F> packet{frame + kL3, Wire<F>::total(frame + kL3)};
  // An inner packet may claim no more than its outer one.
  const unsigned room = (kInTunnel ? outer_end(frame) : mbuf->pkt_len) - kL3;
  const bool loses_hop = ingress_.forwards && hop.kind != tables::NextHopKind::host;
  if (packet.total > room || packet.total > hop.mtu ||
      Wire<F>::hops(packet.ip) <= unsigned{loses_hop} || !Wire<F>::is_sound(packet.ip)) [[unlikely]]
    return Fate::in_place;
  const auto l4 = packet.l4(flow.key.protocol);
  // UDP is steady: the flow's way was remembered when a packet of this direction had passed.
  if (l4 == L4::udp ||
      (l4 == L4::tcp && flow::is_steady_flow(flow.state.load(std::memory_order_relaxed),
                                             flow.is_reply))) [[likely]] {
    flow::FlowMap<F>::count(flow, packet.total, now_);
  } else if (l4 == L4::other || !move_on(packet, hashes_[i], flow)) {
    return Fate::in_place;
  }
  if (kInTunnel) ++tunnel_in_;
  if (kToTunnel) ++tunnel_out_;
  Wire<F>::translate(packet.ip, flow, loses_hop);
  packet.template put_in_frame<kToTunnel>(hop, static_cast<std::uint16_t>(tunnel_id_ + i));
  mbuf->data_off = static_cast<std::uint16_t>(mbuf->data_off + kL3 - kHeaders);
  mbuf->data_len = static_cast<std::uint16_t>(packet.total + kHeaders);
  mbuf->pkt_len = packet.total + kHeaders;
  send(mbuf, hop.port);
  return Fate::sent;
}

template <typename F>
[[gnu::noinline]] flow::Flow<F>* FastPath::find(const std::uint8_t* ip,
                                                std::uint32_t hash) noexcept {
  return map<F>().find(Wire<F>::key(ip), hash, flow::kNoSlot);
}

// A packet that may move its connection's state. False when its flow is no more.
template <typename F>
[[gnu::noinline]] bool FastPath::move_on(InFrame<F> packet, std::uint32_t hash,
                                         flow::Flow<F>& flow) noexcept {
  // A frame before this one may have ended the flow, and begun another of its key.
  if (find<F>(packet.ip, hash) != &flow) return false;
  map<F>().passed(flow, packet.total, flow.key.protocol, packet.tcp_flags(), w_.now_seconds);
  return true;
}

// As Worker::send, with the last port at hand. NextHops that lead out have a port's number.
inline void FastPath::send(rte_mbuf* mbuf, PortId port) noexcept {
  if (port != out_port_ || outbox_->size == kBatchSize) [[unlikely]] {
    if (port >= kMaxPorts) return w_.send(mbuf, port);
    outbox_ = &w_.outbox_with_room(port);
    out_port_ = port;
  }
  outbox_->append(mbuf);
}

template <typename F, Classifier::Kind kind>
inline FastPath::Fate FastPath::carry_alike(unsigned& i, unsigned end) noexcept {
  constexpr bool kInTunnel = kind == Kind::v4_in_tunnel;
  unsigned at = i;
  Fate fate = Fate::sent;
  do {
    fate = carry_one<F, kInTunnel>(at);
  } while (fate == Fate::sent && ++at < end && kinds_[at] == kind);
  i = at;
  return fate;
}

inline FastPath::Fate FastPath::carry_run(unsigned& i, unsigned end) noexcept {
  Fate fate = Fate::sent;
  while (i < end && fate == Fate::sent) {
    switch (kinds_[i]) {
      case Kind::v4:
        fate = carry_alike<flow::V4, Kind::v4>(i, end);
        break;
      case Kind::v4_in_tunnel:
        fate = carry_alike<flow::V4, Kind::v4_in_tunnel>(i, end);
        break;
      case Kind::v6:
        fate = carry_alike<flow::V6, Kind::v6>(i, end);
        break;
      case Kind::elsewhere:
        if (!hand_over(i)) return Fate::in_place;
        ++i;
        break;
      case Kind::later:
        return Fate::later;
      case Kind::in_place:
        return Fate::in_place;
    }
  }
  return fate;
}

inline FastPath::Fate FastPath::carry(unsigned& i) noexcept {
  out_port_ = kNoPort;  // the outbox may have been flushed since
  Fate fate = Fate::sent;
  while (i < burst_.size() && fate == Fate::sent) {
    while (run_->end <= i) ++run_;
    enter(*run_);
    fate = carry_run(i, run_->end);
  }
  return fate;
}

}  // namespace podwire::stages
