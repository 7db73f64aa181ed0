#include "dataplane/io/sigbus_guard.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <thread>
#include <vector>

namespace podwire::io {
namespace {

constexpr std::size_t kBytes = 64 * 1024;

// A file in memory, mapped; its owner may cut it while we hold the mapping.
class Shared {
 public:
  Shared() : fd_(memfd_create("test", MFD_CLOEXEC)) {
    EXPECT_EQ(ftruncate(fd_, kBytes), 0);
    memory_ = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    EXPECT_NE(memory_, MAP_FAILED);
  }
  ~Shared() {
    munmap(memory_, kBytes);
    close(fd_);
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  void cut() const { EXPECT_EQ(ftruncate(fd_, 0), 0); }
  [[nodiscard]] volatile char& at(std::size_t i) const { return static_cast<char*>(memory_)[i]; }
  [[nodiscard]] void* start() const { return memory_; }

 private:
  int fd_;
  void* memory_ = nullptr;
};

TEST(SigbusWatch, CutMemoryReadsAsZeroAndSetsTheFlag) {
  const Shared shared;
  std::atomic<bool> lost{false};
  const auto watch = SigbusWatch::over(shared.start(), kBytes, lost);
  ASSERT_TRUE(watch) << watch.error().message;
  shared.at(5000) = 'x';
  EXPECT_FALSE(lost);
  shared.cut();
  EXPECT_EQ(shared.at(5000), 0);
  EXPECT_TRUE(lost);
  shared.at(5000) = 'y';  // memory of our own now
  EXPECT_EQ(shared.at(5000), 'y');
}

TEST(SigbusWatch, OnlyTheOwnerOfTheRangeIsTold) {
  const Shared first, second;
  std::atomic<bool> first_lost{false}, second_lost{false};
  const auto one = SigbusWatch::over(first.start(), kBytes, first_lost);
  const auto two = SigbusWatch::over(second.start(), kBytes, second_lost);
  second.at(0) = 'x';
  first.cut();
  first.at(kBytes - 1) = 'z';
  EXPECT_TRUE(first_lost);
  EXPECT_FALSE(second_lost);
  EXPECT_EQ(second.at(0), 'x');
}

TEST(SigbusWatch, PlacesAreGivenBackAndUsedAgain) {
  const std::size_t before = watched_ranges();
  const Shared shared;
  std::atomic<bool> lost{false};
  for (std::size_t i = 0; i < 2 * kMaxWatched; ++i) {
    ASSERT_TRUE(SigbusWatch::over(shared.start(), kBytes, lost));
  }
  std::vector<SigbusWatch> many;
  while (auto watch = SigbusWatch::over(shared.start(), kBytes, lost)) {
    many.push_back(std::move(*watch));
  }
  EXPECT_EQ(many.size() + before, kMaxWatched);
  many.clear();
  EXPECT_EQ(watched_ranges(), before);
  EXPECT_FALSE(SigbusWatch::over(shared.start(), 0, lost));
}

TEST(SigbusWatch, ThreadsFaultWhileOthersWatchAndEnd) {
  std::atomic<bool> stop{false};
  std::thread changer([&] {
    const Shared shared;
    std::atomic<bool> lost{false};
    while (!stop) {
      ASSERT_TRUE(SigbusWatch::over(shared.start(), kBytes, lost));
    }
    EXPECT_FALSE(lost);
  });
  for (int round = 0; round < 200; ++round) {
    const Shared shared;
    std::atomic<bool> lost{false};
    const auto watch = SigbusWatch::over(shared.start(), kBytes, lost);
    ASSERT_TRUE(watch);
    shared.cut();
    std::thread other([&] { EXPECT_EQ(shared.at(100), 0); });
    EXPECT_EQ(shared.at(40000), 0);
    other.join();
    EXPECT_TRUE(lost);
  }
  stop = true;
  changer.join();
}

// By the signal; AddressSanitizer tells of it instead and exits.
bool ended_by_sigbus(int status) {
  return testing::KilledBySignal(SIGBUS)(status) || testing::ExitedWithCode(1)(status);
}

TEST(SigbusWatchDeathTest, MemoryThatNobodyWatchesEndsTheProcess) {
  const Shared watched, other;
  std::atomic<bool> lost{false};
  const auto watch = SigbusWatch::over(watched.start(), kBytes, lost);
  other.cut();
  EXPECT_EXIT(other.at(0) = 'x', ended_by_sigbus, "^$|AddressSanitizer: BUS");
  EXPECT_FALSE(lost);
}

}  // namespace
}  // namespace podwire::io
