// Memory for DPDK's tables and packet buffers like that of podwire's flow table: anonymous, in
// pages of 2 MB where the kernel gives them transparently. The EAL of a bench runs without
// hugetlbfs, which needs root and a reserve, and would put them on pages of 4 KB: an unfair
// baseline.
#pragma once

#include <cstddef>
#include <string>

namespace podwire::bench {

// A heap of its own for rte_hash, rte_mempool and rte_malloc. The EAL has been started, and all
// that was taken has been given back when the heap goes.
class Heap {
 public:
  Heap(std::string name, std::size_t bytes);
  ~Heap();
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;
  [[nodiscard]] int socket() const { return socket_; }

 private:
  const std::string name_;
  std::size_t mapped_bytes_, bytes_;
  void* mapped_;
  void* memory_;
  int socket_;
};

}  // namespace podwire::bench
