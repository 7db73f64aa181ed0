// The baseline: DPDK's rte_hash with lock-free readers, 16-byte keys and 8 bytes of data, as
// applications build their flow tables on it.
#pragma once

#include <rte_hash.h>
#include <rte_hash_crc.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "bench/lib/alternate.h"
#include "bench/lib/memory.h"

namespace podwire::bench {

using Key16 = std::array<std::uint32_t, 4>;

class RteHashTable {
 public:
  // Room for `entries` keys, in memory of its own.
  explicit RteHashTable(std::uint32_t entries);
  ~RteHashTable() { rte_hash_free(table_); }
  RteHashTable(const RteHashTable&) = delete;
  RteHashTable& operator=(const RteHashTable&) = delete;

  // False when it is full.
  bool insert(const void* key, void* data) { return rte_hash_add_key_data(table_, key, data) == 0; }
  // Returns the key's data, or null when there is no such key. Its place is free at once: nobody
  // else reads.
  void* erase(const void* key);
  bool find(const void* key, void** data) { return rte_hash_lookup_data(table_, key, data) >= 0; }
  // Up to 64 keys at once, hashes included. Bit i of the result: keys[i] was found, data[i] is its.
  template <typename Key>
  std::uint64_t look_up(const Key* keys, unsigned count, void** data) {
    static_assert(sizeof(Key) == sizeof(Key16));
    const void* pointers[RTE_HASH_LOOKUP_BULK_MAX];
    hash_sig_t hashes[RTE_HASH_LOOKUP_BULK_MAX];
    for (unsigned i = 0; i < count; ++i) {
      pointers[i] = &keys[i];
      hashes[i] = rte_hash_crc(&keys[i], sizeof(Key), 0);
    }
    std::uint64_t found = 0;
    rte_hash_lookup_with_hash_bulk_data(table_, pointers, hashes, count, &found, data);
    return found;
  }

 private:
  const std::string name_;
  const std::uint32_t entries_;
  Heap heap_;
  rte_hash* table_;
};

// One look-up per packet of `sequence` (flows below `flows`), in bursts of 64, as a subject beside
// others. Its key of flow i differs from every other's as addresses and ports of real flows do.
class RteHashBaseline {
 public:
  RteHashBaseline(std::uint32_t flows, std::span<const std::uint32_t> sequence);
  static constexpr unsigned kBurst = 64, kWindow = 512;
  // While this object lives.
  [[nodiscard]] Subject subject();

 private:
  void prepare();
  std::uint64_t run();
  RteHashTable table_;
  std::span<const std::uint32_t> sequence_;
  std::size_t next_ = 0;
  alignas(64) std::array<Key16, kWindow> keys_{};
};

}  // namespace podwire::bench
