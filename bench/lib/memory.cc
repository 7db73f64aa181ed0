#include "bench/lib/memory.h"

#include <rte_errno.h>
#include <rte_malloc.h>
#include <sys/mman.h>

#include <cstdint>

#include "bench/lib/record.h"

namespace podwire::bench {
namespace {

constexpr std::size_t kPage = 2U << 20U;

std::size_t round_up(std::size_t bytes) {
  return (bytes + kPage - 1) / kPage * kPage;
}

}  // namespace

Heap::Heap(std::string name, std::size_t bytes)
    : name_(std::move(name)), mapped_bytes_(round_up(bytes) + kPage), bytes_(round_up(bytes)) {
  mapped_ = ::mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped_ == MAP_FAILED) stop("bench", "no address space for DPDK's memory");
  memory_ = reinterpret_cast<void*>(round_up(reinterpret_cast<std::uintptr_t>(mapped_)));
  (void)::madvise(memory_, bytes_, MADV_HUGEPAGE);
  const auto pages = static_cast<unsigned>(bytes_ / kPage);
  if (rte_malloc_heap_create(name_.c_str()) != 0 ||
      rte_malloc_heap_memory_add(name_.c_str(), memory_, bytes_, nullptr, pages, kPage) != 0) {
    stop("bench", "DPDK takes no memory for " + name_ + ": " + rte_strerror(rte_errno));
  }
  socket_ = rte_malloc_heap_get_socket(name_.c_str());
}

Heap::~Heap() {
  // What still holds some of it keeps it: then it ends with the process.
  if (rte_malloc_heap_memory_remove(name_.c_str(), memory_, bytes_) != 0) return;
  rte_malloc_heap_destroy(name_.c_str());
  ::munmap(mapped_, mapped_bytes_);
}

}  // namespace podwire::bench
