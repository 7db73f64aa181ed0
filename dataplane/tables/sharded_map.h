// A hash map that is never edited: a changed copy shares every shard that the change did not touch.
// A change of one key copies one shard (a few entries) and the array of shard pointers (8 KiB),
// whatever the map's size. Readers on any thread, for as long as they hold the map or the snapshot
// it lives in; writers make a new map on the control thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

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
    const std::size_t mask = shard->places.size() - 1;
    for (std::size_t i = (hash / Shards) & mask;; i = (i + 1) & mask) {
      const std::uint32_t place = shard->places[i];
      if (place == 0) return nullptr;
      const Entry& entry = shard->entries[place - 1];
      if (entry.first == key) return &entry.second;
    }
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  template <typename F>
  void for_each(F&& f) const {
    for (const auto& shard : shards_) {
      if (shard == nullptr) continue;
      for (const Entry& entry : shard->entries) f(entry.first, entry.second);
    }
  }

  // Writers. Control thread, before publication.
  void set(const Key& key, Value value) {
    auto shard = edit(key);
    for (Entry& entry : shard->entries) {
      if (entry.first == key) {
        entry.second = std::move(value);
        put(key, std::move(shard));
        return;
      }
    }
    shard->entries.emplace_back(key, std::move(value));
    ++size_;
    put(key, std::move(shard));
  }
  bool erase(const Key& key) {
    if (find(key) == nullptr) return false;
    auto shard = edit(key);
    std::erase_if(shard->entries, [&](const Entry& entry) { return entry.first == key; });
    --size_;
    put(key, std::move(shard));
    return true;
  }

 private:
  struct Shard {
    std::vector<std::uint32_t> places;  // open addressing, half full; entry index + 1
    std::vector<Entry> entries;
  };

  static std::uint64_t mix(std::uint64_t x) noexcept {
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL;
    x ^= x >> 33;
    return x;
  }
  std::shared_ptr<Shard> edit(const Key& key) const {
    const auto& old = shards_[mix(Hash{}(key)) % Shards];
    return old == nullptr ? std::make_shared<Shard>() : std::make_shared<Shard>(*old);
  }
  void put(const Key& key, std::shared_ptr<Shard> shard) {
    auto& slot = shards_[mix(Hash{}(key)) % Shards];
    if (shard->entries.empty()) {
      slot = nullptr;
      return;
    }
    std::size_t places = 2;
    while (places < shard->entries.size() * 2) places *= 2;
    shard->places.assign(places, 0);
    for (std::uint32_t n = 0; n < shard->entries.size(); ++n) {
      std::size_t i = (mix(Hash{}(shard->entries[n].first)) / Shards) & (places - 1);
      while (shard->places[i] != 0) i = (i + 1) & (places - 1);
      shard->places[i] = n + 1;
    }
    slot = std::move(shard);
  }

  std::array<std::shared_ptr<const Shard>, Shards> shards_;
  std::size_t size_ = 0;
};

}  // namespace podwire::tables
