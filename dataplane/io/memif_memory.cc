#include "dataplane/io/memif_memory.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <cerrno>
#include <string>

namespace podwire::io {
namespace {

constexpr std::uint64_t kPage = 4096;

}  // namespace

const char* describe(MemifFault fault) {
  switch (fault) {
    case MemifFault::none:
      return "nothing is wrong";
    case MemifFault::memory_lost:
      return "its shared memory was cut while in use";
    case MemifFault::index:
      return "a ring's index is further ahead than the ring is long";
    case MemifFault::region:
      return "a descriptor names a region that there is not";
    case MemifFault::range:
      return "a descriptor reaches beyond its region";
    case MemifFault::length:
      return "a descriptor is longer than its buffer";
    case MemifFault::chain:
      return "a chain of descriptors does not end";
  }
  return "unknown";
}

Result<MemifRegion> MemifRegion::map(int fd, std::uint64_t bytes, std::atomic<bool>& lost) {
  struct stat file {};
  struct statfs system {};
  if (fstat(fd, &file) != 0 || fstatfs(fd, &system) != 0) {
    return fail(std::string("region: ") + std::strerror(errno));
  }
  const bool huge = system.f_type == HUGETLBFS_MAGIC;
  if (!S_ISREG(file.st_mode) || (!huge && system.f_type != TMPFS_MAGIC)) {
    return fail("region: its descriptor is no file in memory (memfd, tmpfs or hugetlbfs)");
  }
  // Sealed first, measured afterwards: what is sealed cannot shrink any more.
  static_cast<void>(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
  if (fstat(fd, &file) != 0) return fail(std::string("region: ") + std::strerror(errno));
  if (bytes == 0 || bytes > static_cast<std::uint64_t>(file.st_size)) {
    return fail("region: size " + std::to_string(bytes) + " with a file of " +
                std::to_string(file.st_size) + " bytes");
  }
  const std::uint64_t page = huge ? static_cast<std::uint64_t>(file.st_blksize) : kPage;
  MemifRegion region;
  region.mapped_ = (bytes + page - 1) / page * page;
  void* start = mmap(nullptr, region.mapped_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (start == MAP_FAILED) return fail(std::string("region: mmap: ") + std::strerror(errno));
  region.start_ = static_cast<std::uint8_t*>(start);
  region.bytes_ = bytes;
  auto watch = SigbusWatch::over(start, region.mapped_, lost);
  if (!watch) return tl::unexpected(watch.error());
  region.watch_ = std::move(*watch);
  return region;
}

MemifRegion::MemifRegion(MemifRegion&& other) noexcept
    : start_(std::exchange(other.start_, nullptr)),
      bytes_(other.bytes_),
      mapped_(other.mapped_),
      watch_(std::move(other.watch_)) {}

MemifRegion::~MemifRegion() {
  if (start_ == nullptr) return;
  { const SigbusWatch ended = std::move(watch_); }
  munmap(start_, mapped_);
}

Result<void> MemifMemory::add(int fd, std::uint64_t bytes) {
  if (count_ == kMemifRegions) return fail("region: more than " + std::to_string(kMemifRegions));
  if (bytes > kMemifBytes - total_) {
    return fail("region: size " + std::to_string(bytes) + " makes more than " +
                std::to_string(kMemifBytes) + " bytes together");
  }
  auto region = MemifRegion::map(fd, bytes, lost_);
  if (!region) return tl::unexpected(region.error());
  views_[count_++] = {region->start(), region->bytes()};
  total_ += bytes;
  mapped_.push_back(std::move(*region));
  return {};
}

std::uint8_t* MemifMemory::refuse(MemifFault fault) noexcept {
  MemifFault none = MemifFault::none;
  fault_.compare_exchange_strong(none, fault, std::memory_order_release, std::memory_order_relaxed);
  return nullptr;
}

MemifFault MemifMemory::fault() const noexcept {
  // Zeros of lost memory may look like any other fault: the cause goes first.
  if (lost_.load(std::memory_order_acquire)) return MemifFault::memory_lost;
  return fault_.load(std::memory_order_acquire);
}

}  // namespace podwire::io
