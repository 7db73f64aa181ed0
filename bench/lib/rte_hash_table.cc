#include "bench/lib/rte_hash_table.h"

#include <rte_errno.h>

#include <algorithm>
#include <bit>
#include <string>

#include "bench/lib/record.h"

namespace podwire::bench {
namespace {

// UDP from a pod to Services of 50,000 flows each, as in tests/packet/flow_cases.cc.
Key16 key_of(std::uint32_t flow) {
  return {17, 0x0201f40aU, 0x0101600aU + ((flow / 50'000) << 24U),
          0x35000000U | (10'000 + flow % 50'000)};
}

std::string new_name() {
  static unsigned number = 0;
  return "rte_hash" + std::to_string(number++);
}

// 32 bytes of key and data, 8 of bucket, 4 of free list for a place; powers of two above that.
std::size_t bytes_for(std::uint32_t entries) {
  return (64U << 20U) + std::size_t{std::bit_ceil(entries)} * 64;
}

}  // namespace

RteHashTable::RteHashTable(std::uint32_t entries)
    : name_(new_name()),
      // A cuckoo table is hard to fill to its last place.
      entries_(std::max(entries + entries / 4, 64U)),
      heap_(name_, bytes_for(entries_)) {
  rte_hash_parameters parameters{};
  parameters.name = name_.c_str();
  parameters.entries = entries_;
  parameters.key_len = sizeof(Key16);
  parameters.hash_func = rte_hash_crc;
  parameters.socket_id = heap_.socket();
  parameters.extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF;
  table_ = rte_hash_create(&parameters);
  if (table_ == nullptr) stop("bench", std::string("rte_hash: ") + rte_strerror(rte_errno));
}

void* RteHashTable::erase(const void* key) {
  void* data = nullptr;
  if (rte_hash_lookup_data(table_, key, &data) < 0) return nullptr;
  const std::int32_t position = rte_hash_del_key(table_, key);
  return rte_hash_free_key_with_position(table_, position) == 0 ? data : nullptr;
}

RteHashBaseline::RteHashBaseline(std::uint32_t flows, std::span<const std::uint32_t> sequence)
    : table_(flows), sequence_(sequence) {
  for (std::uint32_t i = 0; i < flows; ++i) {
    const Key16 key = key_of(i);
    if (!table_.insert(&key, this)) stop("bench", "rte_hash is full");
  }
}

Subject RteHashBaseline::subject() {
  return {[this] { prepare(); }, [this] { return run(); }};
}

void RteHashBaseline::prepare() {
  for (auto& key : keys_) {
    key = key_of(sequence_[next_]);
    next_ = next_ + 1 == sequence_.size() ? 0 : next_ + 1;
  }
}

std::uint64_t RteHashBaseline::run() {
  void* data[kBurst];
  for (unsigned i = 0; i < kWindow; i += kBurst) {
    if (table_.look_up(&keys_[i], kBurst, data) != ~std::uint64_t{0}) {
      stop("bench", "rte_hash does not find its keys");
    }
  }
  return kWindow;
}

}  // namespace podwire::bench
