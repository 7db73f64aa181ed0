#include "dataplane/io/mempool.h"

#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <string>

namespace podwire::io {
namespace {

// Kept by each worker for itself; a few bursts' worth.
constexpr unsigned kPacketCache = 256;
constexpr unsigned kLargeCache = 32;
constexpr std::uint32_t kObjectOverhead = 320;  // rte_mbuf, mempool header and trailer, padding

// A pool's cache may take at most two thirds of it; small pools go without.
unsigned cache_of(unsigned wanted, std::uint32_t buffers) {
  return buffers >= wanted * 8 ? wanted : 0;
}

Result<rte_mempool*> make(const char* name, const char* option, std::uint32_t buffers,
                          unsigned cache, std::uint16_t room) {
  rte_mempool* pool =
      rte_pktmbuf_pool_create(name, buffers, cache_of(cache, buffers), 0, room, SOCKET_ID_ANY);
  if (pool == nullptr) {
    return fail(std::string(option) + ": no memory for " + std::to_string(buffers) + " buffers (" +
                rte_strerror(rte_errno) + "); raise memory-mb or lower " + option);
  }
  return pool;
}

}  // namespace

Result<Pools> make_pools(const DataplaneConfig& config) {
  auto packets = make("podwire_packets", "packet-buffers", config.packet_buffers, kPacketCache,
                      kPacketBytes + RTE_PKTMBUF_HEADROOM);
  if (!packets) return tl::unexpected(packets.error());
  auto large =
      make("podwire_large", "large-buffers", config.large_buffers, kLargeCache, kLargeBytes);
  if (!large) return tl::unexpected(large.error());
  return Pools{*packets, *large};
}

std::uint32_t pools_mb(const DataplaneConfig& config) {
  const std::uint64_t bytes = std::uint64_t{config.packet_buffers} *
                                  (kPacketBytes + RTE_PKTMBUF_HEADROOM + kObjectOverhead) +
                              std::uint64_t{config.large_buffers} * (kLargeBytes + kObjectOverhead);
  return static_cast<std::uint32_t>((bytes >> 20) + 1);
}

}  // namespace podwire::io
