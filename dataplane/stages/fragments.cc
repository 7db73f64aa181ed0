#include "dataplane/stages/fragments.h"

#include <algorithm>
#include <array>
#include <bit>

#include "dataplane/worker.h"

namespace podwire::stages {
namespace {

constexpr unsigned kUnits = 8192;  // of 8 bytes: a datagram has 65,535 at most
constexpr unsigned kAgedPerCall = 16;

}  // namespace

// A packet that waits, in a list: of its datagram, of those released, or of free places.
struct FragmentTable::Held {
  Packet packet;
  Index next = kNone;
};

struct FragmentTable::Datagram {
  Key key;
  std::uint32_t since_seconds = 0;
  Index next_in_bucket = kNone;
  Index older = kNone, newer = kNone;  // by arrival; `older` links the free list too
  Index held_first = kNone, held_last = kNone;
  unsigned held = 0;
  std::uint32_t units = 0, units_here = 0;  // in all, 0 until the last has come; so far
  std::uint32_t end = 0;                    // highest unit seen
  net::be16 source_port, destination_port;
  std::uint8_t protocol = 0;
  bool first_here = false;
  bool spoilt = false;                          // overlapped: nothing more of it passes
  std::array<std::uint64_t, kUnits / 64> here;  // which units have come, up to `end`

  // Marks [from, to). Returns how many were new.
  unsigned mark(unsigned from, unsigned to) {
    if (to > end) {
      const unsigned clean = (end + 63) / 64;
      std::fill(here.begin() + clean, here.begin() + (to + 63) / 64, 0);
      end = to;
    }
    unsigned fresh = 0;
    for (unsigned at = from; at < to;) {
      const unsigned bit = at % 64, count = std::min(64 - bit, to - at);
      const std::uint64_t mask = (count == 64 ? ~0ULL : (1ULL << count) - 1) << bit;
      fresh += static_cast<unsigned>(std::popcount(mask & ~here[at / 64]));
      here[at / 64] |= mask;
      at += count;
    }
    units_here += fresh;
    return fresh;
  }
};

FragmentTable::FragmentTable(std::uint32_t datagrams)
    : datagrams_(std::max<std::uint32_t>(datagrams, 1)),
      held_(kHeldPackets),
      buckets_(std::bit_ceil(datagrams_.size() * 2), kNone) {
  for (Index i = 0; i < datagrams_.size(); ++i) {
    datagrams_[i].older = std::exchange(free_, i);
  }
  for (Index i = 0; i < held_.size(); ++i) held_[i].next = std::exchange(free_held_, i);
}

FragmentTable::~FragmentTable() {
  const auto free_list = [&](Index i) {
    for (; i != kNone; i = held_[i].next) rte_pktmbuf_free(held_[i].packet.mbuf);
  };
  for (Index i = oldest_; i != kNone; i = datagrams_[i].newer) free_list(datagrams_[i].held_first);
  free_list(released_first_);
}

std::uint32_t FragmentTable::bucket(const Key& key) const noexcept {
  const net::AddressHash hash;
  std::uint64_t x = hash(key.source) * 0x9e3779b97f4a7c15ULL ^ hash(key.destination);
  x = (x ^ key.id ^ std::uint64_t{key.port} << 40 ^ std::uint64_t{key.protocol} << 32) *
      0xff51afd7ed558ccdULL;
  return static_cast<std::uint32_t>((x ^ x >> 32) & (buckets_.size() - 1));
}

FragmentTable::Index FragmentTable::find(const Key& key) const noexcept {
  Index i = buckets_[bucket(key)];
  while (i != kNone && !(datagrams_[i].key == key)) i = datagrams_[i].next_in_bucket;
  return i;
}

FragmentTable::Index FragmentTable::add(const Key& key, Worker& w) noexcept {
  if (free_ == kNone) {
    drop_held(datagrams_[oldest_], Reason::fragment_limit, w);
    remove(oldest_);
  }
  const Index i = free_;
  Datagram& d = datagrams_[i];
  free_ = d.older;
  d.key = key;
  d.since_seconds = w.now_seconds;
  d.held_first = d.held_last = kNone;
  d.held = 0;
  d.units = d.units_here = d.end = 0;
  d.first_here = d.spoilt = false;
  Index& head = buckets_[bucket(key)];
  d.next_in_bucket = std::exchange(head, i);
  d.older = newest_;
  d.newer = kNone;
  (newest_ == kNone ? oldest_ : datagrams_[newest_].newer) = i;
  newest_ = i;
  ++used_;
  return i;
}

void FragmentTable::remove(Index i) noexcept {
  Datagram& d = datagrams_[i];
  Index* link = &buckets_[bucket(d.key)];
  while (*link != i) link = &datagrams_[*link].next_in_bucket;
  *link = d.next_in_bucket;
  (d.older == kNone ? oldest_ : datagrams_[d.older].newer) = d.newer;
  (d.newer == kNone ? newest_ : datagrams_[d.newer].older) = d.older;
  d.older = std::exchange(free_, i);
  --used_;
}

void FragmentTable::drop_held(Datagram& d, Reason reason, Worker& w) noexcept {
  for (Index i = d.held_first; i != kNone;) {
    Held& held = held_[i];
    w.drop(held.packet.mbuf, reason, held.packet.in_port);
    const Index next = std::exchange(held.next, free_held_);
    free_held_ = std::exchange(i, next);
  }
  w.counters.holding.add(-std::uint64_t{d.held});
  d.held_first = d.held_last = kNone;
  d.held = 0;
}

Verdict FragmentTable::hold(Datagram& d, const Packet& p, Worker& w) noexcept {
  if (free_held_ == kNone || d.held == kHeldPerDatagram) {
    return Verdict::drop(Reason::fragment_limit);
  }
  const Index i = free_held_;
  free_held_ = std::exchange(held_[i].next, kNone);
  held_[i].packet = p;
  (d.held_last == kNone ? d.held_first : held_[d.held_last].next) = i;
  d.held_last = i;
  ++d.held;
  w.counters.holding.add(1);
  return Verdict::taken();
}

Verdict FragmentTable::track(Packet& p, const FragmentPlace& place, Worker& w) noexcept {
  // RFC 8200 section 4.5: over IPv6 the protocol is no part of a datagram's name.
  const bool v4 = p.family == net::Family::v4;
  const Key key{p.source_address(), p.destination_address(),           place.id,
                p.in_port,          v4 ? p.protocol : std::uint8_t{0}, p.source == Source::tunnel};
  Index i = find(key);
  if (i == kNone) i = add(key, w);
  Datagram& d = datagrams_[i];
  if (d.spoilt) return Verdict::drop(Reason::fragment_overlap);

  const unsigned from = place.offset / 8, to = from + (place.length + 7) / 8;
  const bool beyond = (d.units != 0 && to > d.units) || (!place.more && to < d.end);
  const unsigned fresh = beyond ? 0 : d.mark(from, to);
  if (!beyond && fresh == 0) return Verdict::drop(Reason::fragment_overlap);  // a repeat
  if (fresh != to - from) {
    d.spoilt = true;
    drop_held(d, Reason::fragment_overlap, w);
    return Verdict::drop(Reason::fragment_overlap);
  }
  if (!place.more) d.units = to;

  Verdict verdict = Verdict::next();
  if (p.first_fragment) {
    d.first_here = true;
    d.source_port = p.source_port;
    d.destination_port = p.destination_port;
    d.protocol = p.protocol;
    for (Index held = d.held_first; held != kNone; held = held_[held].next) {
      give_ports(d, held_[held].packet);
    }
    if (d.held_first != kNone) {
      (released_last_ == kNone ? released_first_ : held_[released_last_].next) = d.held_first;
      released_last_ = d.held_last;
      d.held_first = d.held_last = kNone;
      d.held = 0;
    }
  } else if (d.first_here) {
    give_ports(d, p);
  } else {
    verdict = hold(d, p, w);
  }
  if (d.units != 0 && d.units_here == d.units && d.first_here) remove(i);
  return verdict;
}

void FragmentTable::give_ports(const Datagram& d, Packet& p) noexcept {
  p.source_port = d.source_port;
  p.destination_port = d.destination_port;
  p.protocol = d.protocol;
}

unsigned FragmentTable::release(Batch& out, Worker& w) noexcept {
  unsigned released = 0;
  while (released_first_ != kNone && !out.full()) {
    const Index i = released_first_;
    Held& held = held_[i];
    out.append(held.packet.mbuf, held.packet.in_port) = held.packet;
    released_first_ = std::exchange(held.next, free_held_);
    free_held_ = i;
    ++released;
  }
  if (released_first_ == kNone) released_last_ = kNone;
  w.counters.holding.add(-std::uint64_t{released});
  return released;
}

void FragmentTable::age(Worker& w) noexcept {
  for (unsigned n = 0; n < kAgedPerCall && oldest_ != kNone; ++n) {
    Datagram& d = datagrams_[oldest_];
    if (w.now_seconds - d.since_seconds < kAgeLimitSeconds) return;
    drop_held(d, Reason::fragment_unmatched, w);
    remove(oldest_);
  }
}

}  // namespace podwire::stages
