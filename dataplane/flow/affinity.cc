// Sets of eight places; a set is chosen by a keyed hash. A place is guarded by a version: odd while
// its one writer works, moved on by every change, so that a reader who saw two equal even versions
// saw one writer's values. All fields are atomics: a field's acquire makes the odd version that
// preceded it visible, which is what the second look at the version relies on.
#include "dataplane/flow/affinity.h"

#include <array>
#include <atomic>
#include <bit>

#include "dataplane/flow/key_hash.h"
#include "dataplane/flow/zeroed_array.h"

namespace podwire::flow {
namespace {

constexpr unsigned kWays = 8;

struct Words {
  std::uint64_t high = 0, low = 0;
  bool operator==(const Words&) const = default;
};

Words words_of(const net::Address& address) {
  return std::bit_cast<Words>(address.bytes);
}

struct alignas(64) Place {
  std::atomic<std::uint32_t> version;
  std::atomic<std::uint32_t> service_id;
  std::atomic<std::uint64_t> client_high, client_low;
  std::atomic<std::uint64_t> backend_high, backend_low;
  std::atomic<std::uint32_t> port;  // as it stands in the packet; bit 16: in use
  std::atomic<std::uint32_t> seen;  // seconds

  static constexpr std::uint32_t kInUse = 0x10000;

  [[nodiscard]] bool is_for(std::uint32_t service, const Words& client) const noexcept {
    constexpr auto kAcquire = std::memory_order_acquire;
    return client_low.load(kAcquire) == client.low && client_high.load(kAcquire) == client.high &&
           service_id.load(kAcquire) == service && (port.load(kAcquire) & kInUse) != 0;
  }
};
static_assert(sizeof(Place) == 64);

std::uint32_t silence(std::uint32_t now_seconds, std::uint32_t seen) {
  return now_seconds > seen ? now_seconds - seen : 0;
}

}  // namespace

struct AffinityTable::Implementation {
  explicit Implementation(std::uint32_t entries)
      : sets(entries / kWays + 1), places(std::size_t{sets} * kWays) {}

  [[nodiscard]] Place* set_of(std::uint32_t service_id, const net::Address& client) const noexcept {
    V6::Key key;
    key.source = client.bytes;
    std::memcpy(key.destination.data(), &service_id, sizeof service_id);
    const std::uint64_t set = (std::uint64_t{hash(key)} * sets) >> 32;
    return &places[set * kWays];
  }

  std::uint32_t sets;
  KeyHash hash;
  ZeroedArray<Place> places;
};

AffinityTable::AffinityTable(std::uint32_t entries) : table_(new Implementation(entries)) {}
AffinityTable::~AffinityTable() {
  delete table_;
}

std::optional<AffinityTable::Backend> AffinityTable::find(
    std::uint32_t service_id, const net::Address& client, std::uint32_t now_seconds,
    std::uint32_t timeout_seconds) const noexcept {
  constexpr auto kAcquire = std::memory_order_acquire;
  const Words wanted = words_of(client);
  Place* set = table_->set_of(service_id, client);
  for (unsigned way = 0; way < kWays; ++way) {
    const Place& place = set[way];
    const std::uint32_t version = place.version.load(kAcquire);
    if (!place.is_for(service_id, wanted)) continue;
    const Words backend{place.backend_high.load(kAcquire), place.backend_low.load(kAcquire)};
    const std::uint32_t port = place.port.load(kAcquire);
    const std::uint32_t seen = place.seen.load(kAcquire);
    // While another worker writes there is no answer; the flow is balanced as a new client's.
    if ((version & 1) != 0 || place.version.load(std::memory_order_relaxed) != version) continue;
    if (silence(now_seconds, seen) > timeout_seconds) return std::nullopt;
    return Backend{net::Address{std::bit_cast<std::array<std::uint8_t, 16>>(backend)},
                   net::be16::from_raw(static_cast<std::uint16_t>(port))};
  }
  return std::nullopt;
}

void AffinityTable::set(std::uint32_t service_id, const net::Address& client,
                        const Backend& backend, std::uint32_t now_seconds) noexcept {
  constexpr auto kRelease = std::memory_order_release;
  const Words wanted = words_of(client), target = words_of(backend.address);
  Place* set = table_->set_of(service_id, client);
  Place* chosen = set;
  std::uint32_t chosen_silence = 0;
  for (unsigned way = 0; way < kWays; ++way) {
    if (set[way].is_for(service_id, wanted)) {
      chosen = &set[way];
      break;
    }
    const bool in_use = (set[way].port.load(std::memory_order_relaxed) & Place::kInUse) != 0;
    const std::uint32_t silent =
        in_use ? silence(now_seconds, set[way].seen.load(std::memory_order_relaxed)) : 0xffffffff;
    if (way == 0 || silent > chosen_silence) {
      chosen = &set[way];
      chosen_silence = silent;
    }
  }
  std::uint32_t version = chosen->version.load(std::memory_order_relaxed);
  // Another worker is writing here: its client's flow is as recent as ours.
  if ((version & 1) != 0 ||
      !chosen->version.compare_exchange_strong(version, version + 1, std::memory_order_acquire)) {
    return;
  }
  chosen->service_id.store(service_id, kRelease);
  chosen->client_high.store(wanted.high, kRelease);
  chosen->client_low.store(wanted.low, kRelease);
  chosen->backend_high.store(target.high, kRelease);
  chosen->backend_low.store(target.low, kRelease);
  chosen->port.store(backend.port.raw() | Place::kInUse, kRelease);
  chosen->seen.store(now_seconds, kRelease);
  chosen->version.store(version + 2, kRelease);
}

}  // namespace podwire::flow
