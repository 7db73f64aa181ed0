// A large array of zero bytes straight from the kernel, in huge pages where the system gives them
// transparently, never from hugetlbfs. All pages are there from the start: to clear one of 2 MB
// when it is first touched takes longer than an insert may.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

#include "dataplane/check.h"

namespace podwire::flow {

template <typename T>
class ZeroedArray {
 public:
  explicit ZeroedArray(std::size_t count) : bytes_(count * sizeof(T)) {
    void* memory = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    check(memory != MAP_FAILED, "no address space for the flow table: lower flows-v4 or flows-v6");
    (void)::madvise(memory, bytes_, MADV_HUGEPAGE);  // a wish; refused where it is configured off
    data_ = static_cast<T*>(memory);
    populate();
  }
  ~ZeroedArray() { ::munmap(data_, bytes_); }
  ZeroedArray(const ZeroedArray&) = delete;
  ZeroedArray& operator=(const ZeroedArray&) = delete;

  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] T* data() const noexcept { return data_; }
  T& operator[](std::size_t i) const noexcept { return data_[i]; }

 private:
  void populate() noexcept {
    constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE, Linux 5.14
    if (::madvise(data_, bytes_, kPopulateWrite) == 0) return;
    constexpr std::size_t kPage = 4096;
    auto* bytes = reinterpret_cast<volatile std::uint8_t*>(data_);
    for (std::size_t at = 0; at < bytes_; at += kPage) bytes[at] = 0;
  }

  std::size_t bytes_;
  T* data_;
};

}  // namespace podwire::flow
