// The fast path: a packet of a known flow, from the frame as it came to the frame as it is sent. It
// does for TCP and UDP without oddities what parse, decap, track, rewrite, route and encap do for
// everything, to the same bytes and counters, and leaves untouched what it does not do: see README.
//
// Four steps hide the cache misses, each a portion of frames ahead of the next, so that memory
// works while packets are carried: frames are counted and fetched (take); keys, whose tags are
// fetched (begin); tags, whose entries are fetched (seek); the packets themselves, in order
// (carry).
#pragma once

#include <optional>
#include <string_view>

#include "dataplane/stages/fast_path_classify.h"
#include "dataplane/stages/fast_path_outgoing.h"

namespace podwire::stages {

class FastPath {
 public:
  static constexpr std::string_view name = "fast path";

  enum class Fate : std::uint8_t {
    sent,      // in its port's outbox
    later,     // of no flow that is known: may wait until the burst is through
    in_place,  // perhaps of a known flow: is to be carried before the frames behind it
  };

  // Begins the first look-ups. Both arguments outlive it.
  FastPath(const Burst& burst, Worker& w) noexcept;
  FastPath(const FastPath&) = delete;
  FastPath& operator=(const FastPath&) = delete;

  // Carries frames from `i` on, in order, and stops at the first that is not for it: then `i` is
  // that frame's place, and its fate is returned; else `i` is the burst's size.
  Fate carry(unsigned& i) noexcept;
  // Of the frames before carry()'s place: those that are another worker's now.
  [[nodiscard]] unsigned handed_over() const noexcept { return handed_over_; }
  // Of a frame that is `later`: its key's hash, when it is TCP or UDP over IPv4, untunnelled.
  [[nodiscard]] std::optional<std::uint32_t> plain_hash(unsigned i) const noexcept {
    if (looks_[i].kind != Kind::v4) return std::nullopt;
    return looks_[i].hash;
  }

 private:
  using Kind = Classifier::Kind;
  static constexpr unsigned kPortion = 32;  // 8 costs 2 cycles a packet more, by bench/path

  // How far a frame's look-up has come.
  struct Look {
    std::uint8_t* ip;  // the IP packet; of known kinds the one whose flow it is, and its key's hash
    union {            // of known kinds: once it has begun, once it was sought
      std::uint32_t group;
      void* candidate;  // perhaps the flow: a flow::Flow of the kind's family
    };
    rte_mbuf* mbuf;
    std::uint32_t hash;
    Kind kind;
  };

  void look_ahead() noexcept;
  void take() noexcept;
  void begin() noexcept;
  void begin(unsigned from, unsigned end) noexcept;
  void seek() noexcept;
  template <typename F>
  std::uint64_t seek_alike(unsigned& i, unsigned end) noexcept;
  void seek_further(std::uint64_t missed) noexcept;
  // Frames of the burst that are not carried yet.
  [[nodiscard]] unsigned left_from(const Look& look) const noexcept {
    return burst_.size() - static_cast<unsigned>(&look - looks_.data());
  }
  [[nodiscard]] bool is_elsewhere(const Look& look) const noexcept;
  bool hand_over(unsigned i) noexcept;
  template <typename F>
  flow::FlowMap<F>& map() noexcept {
    if constexpr (F::family == net::Family::v4) {
      return v4_;
    } else {
      return v6_;
    }
  }
  Fate carry_portion(unsigned& i, unsigned end) noexcept;
  template <typename F, Kind kind>
  Fate carry_alike(unsigned& i, unsigned end) noexcept;
  template <typename F, bool kInTunnel>
  Fate carry_one(const Look& look, std::uint16_t tunnel_id, Outgoing& out) noexcept;
  template <typename F, bool kInTunnel, bool kToTunnel>
  Fate deliver(const Look& look, flow::Flow<F>& flow, const tables::NextHop& hop,
               std::uint16_t tunnel_id, Outgoing& out) noexcept;
  template <bool kInTunnel>
  static unsigned frame_end(const Look& look) noexcept;
  template <typename F>
  flow::Flow<F>* find(const std::uint8_t* ip, std::uint32_t hash) noexcept;
  template <typename F, bool kInTunnel>
  std::uint64_t learn(const Look& look, flow::Flow<F>& flow) noexcept;
  template <typename F>
  bool move_on(InFrame<F> packet, std::uint32_t hash, flow::Flow<F>& flow) noexcept;

  const Burst& burst_;
  Worker& w_;
  flow::FlowMap<flow::V4>& v4_;
  flow::FlowMap<flow::V6>& v6_;
  const tables::NextHop* const hops_;
  const std::size_t hop_count_;
  const std::uint16_t now_;
  // Of the first frame's outer header: one for each frame of the burst.
  const std::uint16_t tunnel_id_;
  unsigned handed_over_ = 0;
  // Frames that have gone through a step.
  unsigned taken_ = 0, begun_ = 0, sought_ = 0, ready_ = 0;
  // Of take()'s place, of begin()'s and of carry()'s.
  const Burst::Run* take_run_;
  const Burst::Run* begin_run_;
  Ingress ingress_;
  Classifier classify_;
  const Burst::Run* run_;
  Origin origin_;
  std::array<Look, kBatchSize> looks_;  // of each frame
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
      take_run_(burst.runs().data()),
      begin_run_(take_run_),
      classify_(*w.snapshot),
      run_(take_run_) {
  w.next_tunnel_id = static_cast<std::uint16_t>(w.next_tunnel_id + burst.size());
  take();
  take();
  begin();
  look_ahead();
}

// A step more for the three portions that are under way.
inline void FastPath::look_ahead() noexcept {
  ready_ = sought_;
  take();
  begin();
  seek();
}

// The worker that a frame was handed by has counted it at its port.
inline void FastPath::take() noexcept {
  const unsigned end = std::min(taken_ + kPortion, burst_.size());
  while (taken_ < end) {
    while (take_run_->end <= taken_) ++take_run_;
    const unsigned from = taken_;
    taken_ = std::min(take_run_->end, end);
    std::uint64_t bytes = 0;
    for (const rte_mbuf* mbuf : burst_.mbufs().subspan(from, taken_ - from)) {
      bytes += mbuf->pkt_len;
      __builtin_prefetch(rte_pktmbuf_mtod(mbuf, const std::uint8_t*));
    }
    if (take_run_->handed) continue;
    auto& counters = w_.counters.ports[take_run_->in_port];
    counters.rx_packets.add(taken_ - from);
    counters.rx_bytes.add(bytes);
  }
}

inline void FastPath::begin() noexcept {
  const unsigned end = std::min(begun_ + kPortion, burst_.size());
  while (begun_ < end) {
    while (begin_run_->end <= begun_) ++begin_run_;
    const Burst::Run& run = *begin_run_;
    if (run.in_port != ingress_.port) ingress_ = Ingress(run.in_port, *w_.snapshot, w_);
    const unsigned from = begun_;
    begun_ = std::min(run.end, end);
    begin(from, begun_);
    if (w_.shared.handoff == nullptr || run.handed) continue;
    for (unsigned i = from; i < begun_; ++i) {
      if (is_elsewhere(looks_[i])) looks_[i].kind = Kind::elsewhere;
    }
  }
}

// Frames of one run.
inline void FastPath::begin(unsigned from, unsigned end) noexcept {
  const auto mbufs = burst_.mbufs();
  for (unsigned i = from; i < end; ++i) {
    Look& look = looks_[i];
    look.mbuf = mbufs[i];
    look.ip = rte_pktmbuf_mtod(look.mbuf, std::uint8_t*) + sizeof(net::Ethernet);
    look.kind = classify_(ingress_, *look.mbuf);
    if (look.kind == Kind::v6) {
      look.hash = Wire<flow::V6>::hash(look.ip, v6_.hasher());
      look.group = v6_.prefetch(look.hash);
    } else if (look.kind <= Kind::v4_in_tunnel) {
      if (look.kind == Kind::v4_in_tunnel) look.ip += sizeof(net::Ipv4);
      look.hash = Wire<flow::V4>::hash(look.ip, v4_.hasher());
      look.group = v4_.prefetch(look.hash);
    }
  }
}

// Is it the flow of another worker, though the device gave it to us?
inline bool FastPath::is_elsewhere(const Look& look) const noexcept {
  const bool spread = look.kind == Kind::v4_in_tunnel ||
                      (ingress_.uplink && ingress_.few_queues && look.kind <= Kind::v6);
  return spread && w_.shared.handoff->worker_of(look.hash) != w_.index;
}

inline void FastPath::seek() noexcept {
  const unsigned end = begun_ - sought_ > kPortion ? sought_ + kPortion : begun_;
  std::uint64_t missed = 0;
  for (unsigned i = sought_; i < end;) {
    if (looks_[i].kind < Kind::v6) {
      missed |= seek_alike<flow::V4>(i, end);
    } else if (looks_[i].kind == Kind::v6) {
      missed |= seek_alike<flow::V6>(i, end);
    } else {
      ++i;
    }
  }
  sought_ = end;
  if (missed != 0) [[unlikely]]
    seek_further(missed);
}

// Frames of the family from `i` on; returns those of which the first group has no candidate.
template <typename F>
[[gnu::always_inline]] inline std::uint64_t FastPath::seek_alike(unsigned& i,
                                                                 unsigned end) noexcept {
  auto& flows = map<F>();
  Look* look = &looks_[i];
  Look* const behind = &looks_[end];
  const Kind kind = look->kind;
  std::uint64_t missed = 0;
  do {
    look->candidate = flows.candidate(look->group, look->hash);
    if (look->candidate == nullptr) [[unlikely]]
      missed |= std::uint64_t{1} << (look - looks_.data());
  } while (++look != behind && look->kind == kind);
  i = static_cast<unsigned>(look - looks_.data());
  return missed;
}

[[gnu::noinline]] inline void FastPath::seek_further(std::uint64_t missed) noexcept {
  for (; missed != 0; missed &= missed - 1) {
    Look& look = looks_[static_cast<unsigned>(std::countr_zero(missed))];
    look.candidate = look.kind == Kind::v6 ? static_cast<void*>(v6_.candidate_further(look.hash))
                                           : v4_.candidate_further(look.hash);
  }
}

}  // namespace podwire::stages

#include "dataplane/stages/fast_path_carry.h"
