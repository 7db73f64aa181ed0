// A hash map that is never edited: a changed copy shares every shard that the change did not touch.
// A change of one key copies one shard (a few entries) and the array of shard pointers (8 KiB),
// whatever the map's size. Readers on any thread, for as long as they hold the map or the snapshot
// it lives in; writers make a new map on the control thread.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "dataplane/tables/huge_pages.h"

namespace podwire::tables {

template <typename Key, typename Value, typename Hash, std::size_t Shards = 1024>
class ShardedMap {
 public:
  using Entry = std::pair<Key, Value>;

  // Null when absent. No allocation, no lock.
  [[nodiscard]] const Value* find(const Key& key) const noexcept {
    const std::uint64_t hash = mix(Hash{}(key));
    const Shard* shard = shards_[hash % Shards].get();
    if (shard == nullptr) return nullptr;
    for (std::uint32_t i = (hash / Shards) & shard->mask;; i = (i + 1) & shard->mask) {
      const std::uint32_t place = shard->places()[i];
      if (place == 0) return nullptr;
      const Entry& entry = shard->entries()[place - 1];
      if (entry.first == key) return &entry.second;
    }
  }

  // Fetches what find() reads first, for a caller with something else to do meanwhile.
  void prefetch(const Key& key) const noexcept {
    __builtin_prefetch(shards_[mix(Hash{}(key)) % Shards].get());
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  template <typename F>
  void for_each(F&& f) const {
    for (const auto& shard : shards_) {
      if (shard == nullptr) continue;
      for (const Entry& entry : shard->all()) f(entry.first, entry.second);
    }
  }

  // Writers. Control thread, before publication.
  void set(const Key& key, Value value) {
    auto& shard = shards_[mix(Hash{}(key)) % Shards];
    auto entries = copy(shard.get());
    const auto found = std::find_if(entries.begin(), entries.end(),
                                    [&](const Entry& entry) { return entry.first == key; });
    if (found != entries.end()) {
      found->second = std::move(value);
    } else {
      entries.emplace_back(key, std::move(value));
      ++size_;
    }
    shard = Shard::make(std::move(entries));
  }
  bool erase(const Key& key) {
    if (find(key) == nullptr) return false;
    auto& shard = shards_[mix(Hash{}(key)) % Shards];
    auto entries = copy(shard.get());
    std::erase_if(entries, [&](const Entry& entry) { return entry.first == key; });
    --size_;
    shard = entries.empty() ? nullptr : Shard::make(std::move(entries));
    return true;
  }

 private:
  // One block of memory, so that a look-up reads lines side by side: this header, places (open
  // addressing, half full at most; number of the entry + 1), entries.
  struct alignas(std::max(alignof(Entry), sizeof(std::uint64_t))) Shard {
    std::uint32_t mask, count;

    [[nodiscard]] static std::shared_ptr<const Shard> make(std::vector<Entry> from) {
      const auto count = static_cast<std::uint32_t>(from.size());
      const std::uint32_t places = std::bit_ceil(count * 2);
      void* memory = allocate_in_huge_pages(bytes(places, count), kAlignment);
      auto* shard = new (memory) Shard{places - 1, count};
      std::fill_n(shard->places(), places, 0U);
      std::uninitialized_move(from.begin(), from.end(), shard->entries());
      for (std::uint32_t n = 0; n < count; ++n) {
        std::uint32_t i = (mix(Hash{}(shard->entries()[n].first)) / Shards) & shard->mask;
        while (shard->places()[i] != 0) i = (i + 1) & shard->mask;
        shard->places()[i] = n + 1;
      }
      return {shard, [](const Shard* old) {
                std::destroy_n(old->entries(), old->count);
                free_in_huge_pages(const_cast<Shard*>(old), bytes(old->mask + 1, old->count),
                                   kAlignment);
              }};
    }
    [[nodiscard]] std::uint32_t* places() const noexcept {
      return reinterpret_cast<std::uint32_t*>(start() + sizeof(Shard));
    }
    [[nodiscard]] Entry* entries() const noexcept {
      return reinterpret_cast<Entry*>(start() + entries_at(mask + 1));
    }
    [[nodiscard]] std::span<const Entry> all() const noexcept { return {entries(), count}; }

   private:
    static constexpr std::size_t kAlignment = 64;
    static std::size_t bytes(std::uint32_t places, std::uint32_t count) noexcept {
      return entries_at(places) + count * sizeof(Entry);
    }
    static std::size_t entries_at(std::uint32_t places) noexcept {
      const std::size_t end = sizeof(Shard) + places * sizeof(std::uint32_t);
      return (end + alignof(Shard) - 1) / alignof(Shard) * alignof(Shard);
    }
    [[nodiscard]] std::uint8_t* start() const noexcept {
      return reinterpret_cast<std::uint8_t*>(const_cast<Shard*>(this));
    }
  };

  static std::uint64_t mix(std::uint64_t x) noexcept {
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    return x;
  }
  static std::vector<Entry> copy(const Shard* shard) {
    if (shard == nullptr) return {};
    return {shard->all().begin(), shard->all().end()};
  }

  std::array<std::shared_ptr<const Shard>, Shards> shards_;
  std::size_t size_ = 0;
};

}  // namespace podwire::tables
