#include "dataplane/tables/huge_pages.h"

#include <sys/mman.h>

#include <array>
#include <cstdint>
#include <mutex>
#include <new>

namespace podwire::tables {
namespace {

constexpr std::size_t kPage = std::size_t{2} << 20;
constexpr std::size_t kLine = 64;
constexpr std::size_t kLargest = std::size_t{64} << 10;

// Pages are handed out from their beginning, in lines. What is freed waits in a list of its size.
class Pages {
 public:
  void* allocate(std::size_t bytes) {
    const std::size_t lines = lines_of(bytes);
    const std::lock_guard lock(mutex_);
    if (Free* const again = free_[lines]) {
      free_[lines] = again->next;
      return again;
    }
    if (lines * kLine > left_) map();
    std::uint8_t* const given = next_;
    next_ += lines * kLine;
    left_ -= lines * kLine;
    return given;
  }
  void free(void* memory, std::size_t bytes) noexcept {
    const std::lock_guard lock(mutex_);
    Free*& list = free_[lines_of(bytes)];
    list = new (memory) Free{list};
  }

 private:
  struct Free {
    Free* next;
  };
  // One at least: a piece of no bytes is freed by writing on it, too.
  static std::size_t lines_of(std::size_t bytes) {
    return bytes == 0 ? 1 : (bytes - 1) / kLine + 1;
  }

  void map() {
    void* const memory = ::mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    auto* const begin = static_cast<std::uint8_t*>(memory);
    const std::size_t before = kPage - reinterpret_cast<std::uintptr_t>(memory) % kPage;
    ::munmap(begin, before);
    if (before != kPage) ::munmap(begin + before + kPage, kPage - before);
    next_ = begin + before;
    left_ = kPage;
    (void)::madvise(next_, kPage, MADV_HUGEPAGE);  // a wish
  }

  std::mutex mutex_;
  std::array<Free*, kLargest / kLine + 1> free_{};  // by lines
  std::uint8_t* next_ = nullptr;
  std::size_t left_ = 0;
};

// Never destroyed: a table of static lifetime may go after everything else.
Pages& pages() {
  static auto* const all = new Pages;
  return *all;
}

// AddressSanitizer is to see each object by itself.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kShared = false;
#elif defined(__has_feature)
constexpr bool kShared = !__has_feature(address_sanitizer);
#else
constexpr bool kShared = true;
#endif

constexpr bool in_pages(std::size_t bytes, std::size_t alignment) {
  return kShared && bytes <= kLargest && alignment <= kLine;
}

}  // namespace

void* allocate_in_huge_pages(std::size_t bytes, std::size_t alignment) {
  if (in_pages(bytes, alignment)) return pages().allocate(bytes);
  return ::operator new (bytes, std::align_val_t{alignment});
}

void free_in_huge_pages(void* memory, std::size_t bytes, std::size_t alignment) noexcept {
  if (in_pages(bytes, alignment)) return pages().free(memory, bytes);
  ::operator delete (memory, std::align_val_t{alignment});
}

}  // namespace podwire::tables
