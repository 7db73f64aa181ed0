// A large array of zero bytes straight from the kernel: pages come when touched, huge ones where
// the system gives them transparently, never from hugetlbfs.
#pragma once

#include <sys/mman.h>

#include <cstddef>

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
  }
  ~ZeroedArray() { ::munmap(data_, bytes_); }
  ZeroedArray(const ZeroedArray&) = delete;
  ZeroedArray& operator=(const ZeroedArray&) = delete;

  [[nodiscard]] T* data() const noexcept { return data_; }
  T& operator[](std::size_t i) const noexcept { return data_[i]; }

 private:
  std::size_t bytes_;
  T* data_;
};

}  // namespace podwire::flow
