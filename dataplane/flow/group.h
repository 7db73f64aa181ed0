// One cache line of the flow table: what is known of 15 slots without touching them.
//
//   tags:   15 lanes of 16 bits, and in lane 15 how many entries passed this group because it was
//           full: zero proves that a key is nowhere further along
//   stamps: of a slot in use, the second (modulo 2^16) at which the sweep should look at it. A late
//           writer may still stamp a slot that was just erased, so nothing else is kept here.
//
// A lane is part of an atomic 64-bit word. Tags change by read-modify-write only, so whoever
// acquires a word sees all that was released through any of its lanes.
//
//   EMPTY -> tentative   claimed: the slot is one thread's, to be filled; rivals for a key of this
//                        tag see it, readers do not
//   tentative -> committed (readers find it) or CANCELLED (by a rival; its inserter takes it back)
//   committed, tentative, CANCELLED -> BUSY -> TOMB      erased; the epoch of that (grace.h) is
//                        noted before TOMB
//   TOMB -> BUSY -> EMPTY or tentative                   once the epoch's grace period is over
#pragma once

#include <emmintrin.h>

#include <array>
#include <atomic>
#include <cstdint>

#include "dataplane/flow/line_writes.h"

namespace podwire::flow {

namespace lane {
inline constexpr std::uint16_t empty = 0, busy = 2, tomb = 4, cancelled = 6;
// Odd: committed. 14 hash bits, and one that keeps them clear of the four values above.
constexpr std::uint16_t committed(std::uint32_t hash) {
  return static_cast<std::uint16_t>(hash | 9U);
}
constexpr std::uint16_t tentative(std::uint32_t hash) {
  return static_cast<std::uint16_t>(committed(hash) & ~1U);
}
}  // namespace lane

inline constexpr unsigned kLanes = 15;
inline constexpr std::uint16_t kNeverDue = 0xffff;

using LaneWords = std::array<std::atomic<std::uint64_t>, 4>;

// 16 lanes as loaded at one moment per word; masks have one bit per lane.
class Lanes {
 public:
  Lanes(const LaneWords& words, std::memory_order order) noexcept
      : low_(load(&words[0], order)), high_(load(&words[2], order)) {}
  [[nodiscard]] unsigned equal(std::uint16_t value) const noexcept {
    const __m128i wanted = _mm_set1_epi16(static_cast<short>(value));
    return mask(_mm_cmpeq_epi16(low_, wanted), _mm_cmpeq_epi16(high_, wanted));
  }
  // `committed` or its tentative form.
  [[nodiscard]] unsigned equal_either(std::uint16_t committed) const noexcept {
    const __m128i wanted = _mm_set1_epi16(static_cast<short>(committed));
    const __m128i one = _mm_set1_epi16(1);
    return mask(_mm_cmpeq_epi16(_mm_or_si128(low_, one), wanted),
                _mm_cmpeq_epi16(_mm_or_si128(high_, one), wanted));
  }
  [[nodiscard]] unsigned odd() const noexcept {
    return mask(_mm_slli_epi16(low_, 15), _mm_slli_epi16(high_, 15));
  }
  // As tags, with the stamps of the same slots: is there a slot in use whose stamp is due, or a
  // TOMB? One mask for all of it, since the answer is no for nearly every group.
  [[nodiscard]] bool want_sweep(const Lanes& stamps, std::uint16_t now) const noexcept {
    const __m128i time = _mm_set1_epi16(static_cast<short>(now));
    const __m128i never = _mm_set1_epi16(static_cast<short>(kNeverDue));
    const __m128i tomb = _mm_set1_epi16(static_cast<short>(lane::tomb));
    const auto half = [&](__m128i tags, __m128i stamp) {
      const __m128i passed = _mm_andnot_si128(_mm_sub_epi16(time, stamp), _mm_slli_epi16(tags, 15));
      const __m128i due = _mm_andnot_si128(_mm_cmpeq_epi16(stamp, never), passed);
      return _mm_or_si128(due, _mm_cmpeq_epi16(tags, tomb));
    };
    return mask(half(low_, stamps.low_), half(high_, stamps.high_)) != 0;
  }
  // Stamps at or before `now`, counted modulo 2^16; never kNeverDue.
  [[nodiscard]] unsigned due(std::uint16_t now) const noexcept {
    const __m128i time = _mm_set1_epi16(static_cast<short>(now));
    const unsigned later = mask(_mm_sub_epi16(time, low_), _mm_sub_epi16(time, high_));
    return ~later & ~equal(kNeverDue) & 0x7fffU;
  }
  [[nodiscard]] std::uint16_t overflow() const noexcept {
    return static_cast<std::uint16_t>(_mm_extract_epi16(high_, 7));
  }

 private:
  // The sign bit of each of the first 15 lanes.
  static unsigned mask(__m128i low, __m128i high) noexcept {
    return static_cast<unsigned>(_mm_movemask_epi8(_mm_packs_epi16(low, high))) & 0x7fffU;
  }
  // Two words in one load: x86-64 never tears an aligned word, and its loads acquire. A sanitizer
  // has to be shown the words.
  static __m128i load(const std::atomic<std::uint64_t>* words, std::memory_order order) noexcept {
#ifdef __SANITIZE_THREAD__
    const std::uint64_t first = words[0].load(order), second = words[1].load(order);
    return _mm_set_epi64x(static_cast<long long>(second), static_cast<long long>(first));
#else
    const __m128i both = *reinterpret_cast<const volatile __m128i*>(words);
    if (order != std::memory_order_relaxed) std::atomic_signal_fence(std::memory_order_acquire);
    return both;
#endif
  }
  __m128i low_, high_;
};

struct alignas(64) Group {
  LaneWords tags;
  LaneWords stamps;

  static constexpr unsigned shift(unsigned lane) { return (lane % 4) * 16; }

  [[nodiscard]] std::uint16_t tag(unsigned lane, std::memory_order order) const noexcept {
    return static_cast<std::uint16_t>(tags[lane / 4].load(order) >> shift(lane));
  }
  // Compare-and-swap of one lane; the neighbours' changes do not make it fail.
  bool change_tag(unsigned lane, std::uint16_t from, std::uint16_t to) noexcept {
    note_write(this);
    auto& word = tags[lane / 4];
    const std::uint64_t change = static_cast<std::uint64_t>(from ^ to) << shift(lane);
    std::uint64_t seen = word.load(std::memory_order_acquire);
    do {
      if (static_cast<std::uint16_t>(seen >> shift(lane)) != from) return false;
    } while (!word.compare_exchange_weak(seen, seen ^ change, std::memory_order_seq_cst,
                                         std::memory_order_acquire));
    return true;
  }
  // For the owner of a BUSY lane, which nobody else changes.
  void put_tag(unsigned lane, std::uint16_t to) noexcept {
    note_write(this);
    const std::uint64_t change = static_cast<std::uint64_t>(lane::busy ^ to) << shift(lane);
    tags[lane / 4].fetch_xor(change, std::memory_order_seq_cst);
  }
  void put_stamp(unsigned lane, std::uint16_t value) noexcept {
    note_write(this);
    auto& word = stamps[lane / 4];
    const std::uint64_t mask = std::uint64_t{0xffff} << shift(lane);
    const std::uint64_t bits = static_cast<std::uint64_t>(value) << shift(lane);
    std::uint64_t seen = word.load(std::memory_order_relaxed);
    while (!word.compare_exchange_weak(seen, (seen & ~mask) | bits, std::memory_order_seq_cst)) {
    }
  }
  // For the claimer of a lane, before it is committed: no other thread stamps it, and whoever
  // stamps a neighbour does so by compare-and-swap.
  void first_stamp(unsigned lane, std::uint16_t value) noexcept {
    note_write(this);
    using Lane [[gnu::may_alias]] = std::uint16_t;
    __atomic_store_n(reinterpret_cast<Lane*>(&stamps) + lane, value, __ATOMIC_RELAXED);
  }
  void add_overflow(int by) noexcept {
    note_write(this);
    tags[3].fetch_add(static_cast<std::uint64_t>(static_cast<std::int64_t>(by)) << 48,
                      std::memory_order_seq_cst);
  }
};
static_assert(sizeof(Group) == 64);

}  // namespace podwire::flow
