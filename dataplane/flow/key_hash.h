// Hash of a flow key by rounds of AES under a key drawn at start, so that nobody who chooses
// addresses and ports can aim at one group (CRC32 and Jenkins' hash with a fixed seed let them).
// Immutable after construction; any thread.
#pragma once

#include <immintrin.h>

#include <array>
#include <cstdint>
#include <cstring>

#include "dataplane/flow/flow_key.h"

namespace podwire::flow {

class KeyHash {
 public:
  KeyHash();  // draws the key from getrandom(2); ends the process without AES instructions

  [[nodiscard]] std::uint32_t operator()(const V4::Key& key) const noexcept {
    return of_v4(load(&key));
  }
  [[nodiscard]] std::uint32_t operator()(const V6::Key& key) const noexcept {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&key);
    return of_v6(load(bytes), load(bytes + 16),
                 _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes + 32)));
  }
  // The same of a key's bytes in registers: a key that was just written to memory piece by piece is
  // slow to load whole.
  [[nodiscard]] std::uint32_t of_v4(__m128i key) const noexcept {
    return finish(_mm_aesenc_si128(_mm_xor_si128(key, round(0)), round(1)));
  }
  [[nodiscard]] std::uint32_t of_v6(__m128i first, __m128i second, __m128i last) const noexcept {
    __m128i x = _mm_aesenc_si128(_mm_xor_si128(first, round(0)), round(1));
    x = _mm_aesenc_si128(_mm_xor_si128(x, second), round(2));
    return finish(_mm_aesenc_si128(_mm_xor_si128(x, last), round(1)));
  }

 private:
  [[nodiscard]] std::uint32_t finish(__m128i x) const noexcept {
    x = _mm_aesenc_si128(_mm_aesenc_si128(x, round(2)), round(3));
    return static_cast<std::uint32_t>(_mm_cvtsi128_si32(x));
  }
  static __m128i load(const void* bytes) noexcept {
    return _mm_loadu_si128(static_cast<const __m128i*>(bytes));
  }
  [[nodiscard]] __m128i round(unsigned i) const noexcept {
    return _mm_load_si128(reinterpret_cast<const __m128i*>(rounds_.data()) + i);
  }
  alignas(16) std::array<std::uint8_t, 64> rounds_;
};

}  // namespace podwire::flow
