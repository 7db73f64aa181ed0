#include "dataplane/tables/huge_pages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

namespace podwire::tables {
namespace {

struct Piece {
  std::uint8_t* begin;
  std::size_t bytes, alignment;
  std::uint8_t mark;
};

Piece take(std::size_t bytes, std::size_t alignment, std::uint8_t mark) {
  auto* const begin = static_cast<std::uint8_t*>(allocate_in_huge_pages(bytes, alignment));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(begin) % alignment, 0U);
  std::memset(begin, mark, bytes);
  return {begin, bytes, alignment, mark};
}

// Ends what it checks.
void give_back(const Piece& piece) {
  EXPECT_TRUE(std::all_of(piece.begin, piece.begin + piece.bytes,
                          [&](std::uint8_t byte) { return byte == piece.mark; }));
  free_in_huge_pages(piece.begin, piece.bytes, piece.alignment);
}

TEST(HugePages, PiecesOfAllSizesNeverShareAByte) {
  std::mt19937 random(1);
  std::vector<Piece> held;
  for (unsigned n = 0; n < 20'000; ++n) {
    if (held.size() < 300 || random() % 2 == 0) {
      const std::size_t bytes = random() % 50 == 0 ? 1 + random() % 200'000 : 1 + random() % 8'000;
      held.push_back(take(bytes, std::size_t{1} << random() % 7, static_cast<std::uint8_t>(n)));
      continue;
    }
    std::swap(held[random() % held.size()], held.back());
    give_back(held.back());
    held.pop_back();
  }
  for (const Piece& piece : held) give_back(piece);
}

TEST(HugePages, ServeContainersAndSharedObjects) {
  std::vector<std::uint64_t, HugePageAllocator<std::uint64_t>> numbers;
  for (std::uint64_t n = 0; n < 100'000; ++n) numbers.push_back(n);
  for (std::uint64_t n = 0; n < 100'000; ++n) ASSERT_EQ(numbers[n], n);
  struct alignas(64) Line {
    std::uint64_t value;
  };
  const auto line = make_in_huge_pages<Line>(Line{7});
  EXPECT_EQ(line->value, 7U);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(line.get()) % 64, 0U);
}

}  // namespace
}  // namespace podwire::tables
