// mmap() and munmap() of a fuzzer's process, librte_vhost's calls among them: shared memory lies
// between pages that nobody may touch, so that one byte too far is seen, which else would find the
// mapping beside it.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>

namespace {

constexpr std::size_t kGuard = 2U << 20U;  // more than any index of 16 bits reaches
std::array<std::atomic<void*>, 256> guarded{};

void note_guarded(void* start) {
  for (auto& place : guarded) {
    void* free = nullptr;
    if (place.compare_exchange_strong(free, start)) return;
  }
}

bool forget_guarded(void* start) {
  for (auto& place : guarded) {
    void* expected = start;
    if (place.compare_exchange_strong(expected, nullptr)) return true;
  }
  return false;
}

}  // namespace

extern "C" void* mmap(void* address, std::size_t bytes, int protection, int flags, int fd,
                      off_t offset) noexcept {
  const auto map = [](void* at, std::size_t size, int how, int what, int file, off_t from) {
    return reinterpret_cast<std::uint8_t*>(syscall(SYS_mmap, at, size, how, what, file, from));
  };
  if (fd < 0 || address != nullptr || (flags & MAP_SHARED) == 0) {
    return map(address, bytes, protection, flags, fd, offset);
  }
  std::uint8_t* all = map(nullptr, bytes + 2 * kGuard, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (all == MAP_FAILED) return all;
  void* made = map(all + kGuard, bytes, protection, flags | MAP_FIXED, fd, offset);
  note_guarded(made);
  return made;
}

extern "C" int munmap(void* address, std::size_t bytes) noexcept {
  const std::size_t guard = forget_guarded(address) ? kGuard : 0;
  return static_cast<int>(
      syscall(SYS_munmap, static_cast<std::uint8_t*>(address) - guard, bytes + 2 * guard));
}
