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
    return finish(_mm_aesenc_si128(_mm_xor_si128(load(&key), round(0)), round(1)));
  }
  [[nodiscard]] std::uint32_t operator()(const V6::Key& key) const noexcept {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&key);
    __m128i x = _mm_aesenc_si128(_mm_xor_si128(load(bytes), round(0)), round(1));
    x = _mm_aesenc_si128(_mm_xor_si128(x, load(bytes + 16)), round(2));
    const __m128i rest = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes + 32));
    return finish(_mm_aesenc_si128(_mm_xor_si128(x, rest), round(1)));
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
