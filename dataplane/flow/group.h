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
//   EMPTY -> BUSY        claimed: the slot belongs to one thread alone
//   BUSY -> tentative    filled: rivals for the key see it, readers do not
//   tentative -> committed (readers find it) or CANCELLED (by a rival; its inserter takes it back)
//   committed, tentative, CANCELLED -> BUSY -> TOMB      erased; the epoch of that (grace.h) is
//                        noted before TOMB
//   TOMB -> BUSY, EMPTY  once the epoch's grace period is over
#pragma once

#include <emmintrin.h>

#include <array>
#include <atomic>
#include <cstdint>

namespace podwire::flow {

namespace lane {
inline constexpr std::uint16_t empty = 0, busy = 2, tomb = 4, cancelled = 6;
// Odd: committed. The lowest hash bits, kept clear of the four values above.
constexpr std::uint16_t committed(std::uint32_t hash) {
  const auto tag = static_cast<std::uint16_t>((hash << 1) | 1);
  return tag < 8 ? static_cast<std::uint16_t>(tag | 8) : tag;
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
  Lanes(const LaneWords& words, std::memory_order order) noexcept {
    const std::uint64_t a = words[0].load(order), b = words[1].load(order),
                        c = words[2].load(order), d = words[3].load(order);
    low_ = _mm_set_epi64x(static_cast<long long>(b), static_cast<long long>(a));
    high_ = _mm_set_epi64x(static_cast<long long>(d), static_cast<long long>(c));
    last_ = static_cast<std::uint16_t>(d >> 48);
  }
  // The same in two loads. x86 reads each aligned word of them at once, and nothing that follows
  // before them; the language has no such load, so ThreadSanitizer sees the other one.
  [[nodiscard]] static Lanes glance(const LaneWords& words) noexcept {
#ifdef __SANITIZE_THREAD__
    return {words, std::memory_order_acquire};
#else
    const auto* halves = reinterpret_cast<const __m128i*>(&words);
    const Lanes lanes(_mm_load_si128(halves), _mm_load_si128(halves + 1));
    std::atomic_signal_fence(std::memory_order_acquire);
    return lanes;
#endif
  }
  [[nodiscard]] unsigned equal(std::uint16_t value) const noexcept {
    const __m128i wanted = _mm_set1_epi16(static_cast<short>(value));
    return mask(_mm_cmpeq_epi16(low_, wanted), _mm_cmpeq_epi16(high_, wanted));
  }
  [[nodiscard]] unsigned odd() const noexcept {
    return mask(_mm_slli_epi16(low_, 15), _mm_slli_epi16(high_, 15));
  }
  // Stamps at or before `now`, counted modulo 2^16; never kNeverDue.
  [[nodiscard]] unsigned due(std::uint16_t now) const noexcept {
    const __m128i time = _mm_set1_epi16(static_cast<short>(now));
    const unsigned later = mask(_mm_sub_epi16(time, low_), _mm_sub_epi16(time, high_));
    return ~later & ~equal(kNeverDue) & 0x7fffU;
  }
  [[nodiscard]] std::uint16_t overflow() const noexcept {
    return last_;
  }

 private:
  Lanes(__m128i low, __m128i high) noexcept
      : low_(low), high_(high), last_(static_cast<std::uint16_t>(_mm_extract_epi16(high, 7))) {}
  // The sign bit of each of the first 15 lanes.
  static unsigned mask(__m128i low, __m128i high) noexcept {
    return static_cast<unsigned>(_mm_movemask_epi8(_mm_packs_epi16(low, high))) & 0x7fffU;
  }
  __m128i low_, high_;
  std::uint16_t last_;
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
    const std::uint64_t change = static_cast<std::uint64_t>(lane::busy ^ to) << shift(lane);
    tags[lane / 4].fetch_xor(change, std::memory_order_seq_cst);
  }
  void put_stamp(unsigned lane, std::uint16_t value) noexcept {
    auto& word = stamps[lane / 4];
    const std::uint64_t mask = std::uint64_t{0xffff} << shift(lane);
    const std::uint64_t bits = static_cast<std::uint64_t>(value) << shift(lane);
    std::uint64_t seen = word.load(std::memory_order_relaxed);
    while (!word.compare_exchange_weak(seen, (seen & ~mask) | bits, std::memory_order_seq_cst)) {
    }
  }
  void add_overflow(int by) noexcept {
    tags[3].fetch_add(static_cast<std::uint64_t>(static_cast<std::int64_t>(by)) << 48,
                      std::memory_order_seq_cst);
  }
};
static_assert(sizeof(Group) == 64);

}  // namespace podwire::flow
