// A buffer that came out of its pool by rte_mempool_get_bulk() becomes a frame of one segment. Any
// thread that owns the buffer.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <cstring>

namespace podwire::io {

// `length` bytes behind the headroom, to be written there by the caller; no offloads. Writes what
// DPDK's drivers write, the first words in one store: the rest of a buffer is as whoever freed it
// has to leave it (rte_mbuf_raw_free).
inline void begin_frame(rte_mbuf& buffer, std::uint16_t length) noexcept {
  struct {
    std::uint16_t data_off = RTE_PKTMBUF_HEADROOM, refcnt = 1, nb_segs = 1,
                  port = RTE_MBUF_PORT_INVALID;
  } constexpr kFirstWords;
  std::memcpy(static_cast<void*>(&buffer.rearm_data), &kFirstWords, sizeof kFirstWords);
  buffer.ol_flags = 0;
  buffer.packet_type = 0;
  buffer.pkt_len = length;
  buffer.data_len = length;
  buffer.vlan_tci = 0;
}

}  // namespace podwire::io
