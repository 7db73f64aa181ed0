// Memory for what workers read at random in large tables: it lies together, in pages of 2 MiB where
// the kernel gives them (transparent_hugepage is `always` or `madvise`), so that a look-up seldom
// waits for a page's translation. Any thread, under a lock: for builders of tables, not for the
// packet path. What is freed is used again here, and not given back to the system.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

namespace podwire::tables {

// Larger ones come from the ordinary heap. Throws std::bad_alloc.
[[nodiscard]] void* allocate_in_huge_pages(std::size_t bytes, std::size_t alignment);
// With what it was allocated with.
void free_in_huge_pages(void* memory, std::size_t bytes, std::size_t alignment) noexcept;

template <typename T>
struct HugePageAllocator {
  using value_type = T;
  HugePageAllocator() = default;
  template <typename U>
  explicit(false) HugePageAllocator(const HugePageAllocator<U>&) noexcept {}
  [[nodiscard]] T* allocate(std::size_t count) {
    return static_cast<T*>(allocate_in_huge_pages(count * sizeof(T), alignof(T)));
  }
  void deallocate(T* memory, std::size_t count) noexcept {
    free_in_huge_pages(memory, count * sizeof(T), alignof(T));
  }
  bool operator==(const HugePageAllocator&) const = default;
};

template <typename T, typename... Arguments>
std::shared_ptr<T> make_in_huge_pages(Arguments&&... arguments) {
  return std::allocate_shared<T>(HugePageAllocator<T>(), std::forward<Arguments>(arguments)...);
}

}  // namespace podwire::tables
