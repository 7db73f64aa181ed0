#include "dataplane/io/sigbus_guard.h"

#include <sys/mman.h>
#include <csignal>

#include <array>
#include <cerrno>
#include <mutex>

#include "dataplane/check.h"

namespace podwire::io {
namespace {

// Written under the mutex, read by the handler on any thread without one. A place whose version is
// odd, or moved while it was read, is being changed: nobody is inside its range then, so it is not
// the one the handler looks for. What it reads of a new range was released after the odd version,
// so the second look at the version finds that (no fences: ThreadSanitizer does not know them).
struct Place {
  std::atomic<std::uint32_t> version{0};
  std::atomic<std::uintptr_t> start{0}, end{0};  // empty: free
  std::atomic<std::atomic<bool>*> lost{nullptr};
};

std::array<Place, kMaxWatched> places;
std::atomic<std::uint32_t> highest{0};  // one above the last place that was ever taken
std::mutex changes;
struct sigaction before {};
thread_local std::atomic<bool>* faulted_here = nullptr;

void set(Place& place, std::uintptr_t start, std::uintptr_t end, std::atomic<bool>* lost) {
  place.version.fetch_add(1, std::memory_order_acq_rel);
  place.start.store(start, std::memory_order_release);
  place.end.store(end, std::memory_order_release);
  place.lost.store(lost, std::memory_order_release);
  place.version.fetch_add(1, std::memory_order_release);
}

// Puts memory of our own over the range that holds `address`. Async-signal-safe.
bool replace_range_of(std::uintptr_t address) noexcept {
  const std::uint32_t count = highest.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < count; ++i) {
    const Place& place = places[i];
    const std::uint32_t version = place.version.load(std::memory_order_acquire);
    const std::uintptr_t start = place.start.load(std::memory_order_acquire);
    const std::uintptr_t end = place.end.load(std::memory_order_acquire);
    std::atomic<bool>* lost = place.lost.load(std::memory_order_acquire);
    if ((version & 1) != 0 || place.version.load(std::memory_order_relaxed) != version) continue;
    if (address < start || address >= end) continue;
    // First the flag: who sees zeros that nobody wrote also sees it.
    lost->store(true, std::memory_order_seq_cst);
    return mmap(reinterpret_cast<void*>(start), end - start, PROT_READ | PROT_WRITE,
                MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED;
  }
  return false;
}

// Of a thread that asked for it. The page may be a huge one, whose mapping takes no smaller hole.
bool replace_page_of(std::uintptr_t address) noexcept {
  if (faulted_here == nullptr) return false;
  faulted_here->store(true, std::memory_order_seq_cst);
  for (const std::size_t page :
       {std::size_t{1} << 12, std::size_t{1} << 21, std::size_t{1} << 30}) {
    if (mmap(reinterpret_cast<void*>(address & ~(page - 1)), page, PROT_READ | PROT_WRITE,
             MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED) {
      return true;
    }
  }
  return false;
}

void on_sigbus(int number, siginfo_t* info, void* context) {
  const int error = errno;
  const bool fault = info->si_code == BUS_ADRERR || info->si_code == BUS_MCEERR_AR;
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  if (fault && (replace_range_of(address) || replace_page_of(address))) {
    errno = error;
    return;
  }
  if ((before.sa_flags & SA_SIGINFO) != 0) {
    before.sa_sigaction(number, info, context);
  } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
    before.sa_handler(number);
  } else {
    // The access is made again on return, and then ends the process.
    signal(SIGBUS, SIG_DFL);
    if (!fault) raise(SIGBUS);
  }
  errno = error;
}

// Again with every watch: who put another handler in since then gets his turn behind ours.
void install() {
  struct sigaction now {};
  sigaction(SIGBUS, nullptr, &now);
  if ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == on_sigbus) return;
  before = now;
  struct sigaction ours {};
  ours.sa_sigaction = on_sigbus;
  ours.sa_flags = SA_SIGINFO;
  sigemptyset(&ours.sa_mask);
  check(sigaction(SIGBUS, &ours, nullptr) == 0, "the kernel takes no handler for SIGBUS");
}

}  // namespace

Result<SigbusWatch> SigbusWatch::over(void* start, std::size_t bytes, std::atomic<bool>& lost) {
  if (bytes == 0) return fail("a shared memory region of no bytes");
  const std::scoped_lock lock(changes);
  install();
  for (std::uint32_t i = 0; i < kMaxWatched; ++i) {
    if (places[i].end.load(std::memory_order_relaxed) != 0) continue;
    const auto address = reinterpret_cast<std::uintptr_t>(start);
    set(places[i], address, address + bytes, &lost);
    if (i >= highest.load(std::memory_order_relaxed)) {
      highest.store(i + 1, std::memory_order_release);
    }
    SigbusWatch watch;
    watch.place_ = i;
    return watch;
  }
  return fail("shared memory regions: all " + std::to_string(kMaxWatched) +
              " places of the node are taken");
}

SigbusWatch::~SigbusWatch() {
  if (place_ == kNone) return;
  const std::scoped_lock lock(changes);
  set(places[place_], 0, 0, nullptr);
}

void survive_sigbus_here(std::atomic<bool>& faulted) noexcept {
  if (faulted_here == &faulted) return;
  const std::scoped_lock lock(changes);
  install();
  faulted_here = &faulted;
}

std::size_t watched_ranges() noexcept {
  const std::scoped_lock lock(changes);
  std::size_t count = 0;
  for (const Place& place : places) {
    if (place.end.load(std::memory_order_relaxed) != 0) ++count;
  }
  return count;
}

}  // namespace podwire::io
