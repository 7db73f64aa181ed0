#include "dataplane/flow/line_writes.h"

#ifdef PODWIRE_COUNT_LINE_WRITES
#include <array>
#include <atomic>
#include <mutex>
#include <unordered_map>

namespace podwire::flow {
namespace {

struct Shard {
  std::mutex mutex;
  std::unordered_map<std::uintptr_t, unsigned> last_writer;  // by line
};
constexpr std::size_t kShards = 64;
std::array<Shard, kShards> shards;
std::atomic<std::uint64_t> crossed{0};
std::atomic<unsigned> threads{0};

}  // namespace

void note_write(const void* place) noexcept {
  const std::uintptr_t line = reinterpret_cast<std::uintptr_t>(place) / 64;
  Shard& shard = shards[line % kShards];
  static thread_local const unsigned self = ++threads;  // a thread's id may be another's later
  const std::scoped_lock lock(shard.mutex);
  const auto [last, first] = shard.last_writer.try_emplace(line, self);
  if (!first && last->second != self) crossed.fetch_add(1, std::memory_order_relaxed);
  last->second = self;
}

void forget_writers() {
  for (Shard& shard : shards) {
    const std::scoped_lock lock(shard.mutex);
    shard.last_writer.clear();
  }
}

std::uint64_t crossed_writes() noexcept {
  return crossed.load(std::memory_order_relaxed);
}

}  // namespace podwire::flow
#endif
