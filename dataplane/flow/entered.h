// Which keys a worker has entered into the flow tables since its burst began, as a filter of their
// hashes: a no is certain, a yes is wrong for one key in eight after a burst of 64 new flows. A
// worker's own.
#pragma once

#include <array>
#include <cstdint>

namespace podwire::flow {

class Entered {
 public:
  void clear() noexcept { words_ = {}; }
  void add(std::uint32_t hash) noexcept { words_[place(hash)] |= bit(hash); }
  [[nodiscard]] bool may_have(std::uint32_t hash) const noexcept {
    return (words_[place(hash)] & bit(hash)) != 0;
  }

 private:
  static std::size_t place(std::uint32_t hash) noexcept { return hash / 64 % 16; }
  static std::uint64_t bit(std::uint32_t hash) noexcept { return std::uint64_t{1} << hash % 64; }
  std::array<std::uint64_t, 16> words_{};
};

}  // namespace podwire::flow
