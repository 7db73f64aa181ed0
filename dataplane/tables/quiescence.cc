#include "dataplane/tables/quiescence.h"

#include <rte_rcu_qsbr.h>

#include <cstdlib>

#include "dataplane/check.h"

namespace podwire::tables {

Quiescence::Quiescence(unsigned workers) : workers_(workers) {
  const unsigned readers = workers + 1;  // the control thread is the last
  const std::size_t size = rte_rcu_qsbr_get_memsize(readers);
  rcu_ = static_cast<rte_rcu_qsbr*>(
      std::aligned_alloc(RTE_CACHE_LINE_SIZE, RTE_ALIGN_CEIL(size, RTE_CACHE_LINE_SIZE)));
  check(rcu_ != nullptr, "no memory for the quiescence domain");
  check(rte_rcu_qsbr_init(rcu_, readers) == 0, "too many workers for one quiescence domain");
  for (unsigned i = 0; i < readers; ++i) {
    check(rte_rcu_qsbr_thread_register(rcu_, i) == 0, "cannot register a worker for quiescence");
  }
}

Quiescence::~Quiescence() {
  std::free(rcu_);
}

void Quiescence::online(unsigned index) noexcept {
  dcheck(index <= workers_, "no such worker in the quiescence domain");
  rte_rcu_qsbr_thread_online(rcu_, index);
}

void Quiescence::report(unsigned index) noexcept {
  rte_rcu_qsbr_quiescent(rcu_, index);
}

void Quiescence::offline(unsigned index) noexcept {
  rte_rcu_qsbr_thread_offline(rcu_, index);
}

std::uint64_t Quiescence::begin() noexcept {
  return rte_rcu_qsbr_start(rcu_);
}

// One thread checks at a time: rte_rcu_qsbr_check() answers from a cached token that it neither
// reads nor writes with ordering, so without this another thread's answer would not make the
// readers' last accesses visible before ours.
bool Quiescence::passed(std::uint64_t token) noexcept {
  if (checking_.exchange(true, std::memory_order_acquire)) return false;
  const bool result = rte_rcu_qsbr_check(rcu_, token, false) == 1;
  checking_.store(false, std::memory_order_release);
  return result;
}

}  // namespace podwire::tables
