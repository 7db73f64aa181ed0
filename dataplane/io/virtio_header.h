// Between the header that tun/tap puts before a frame (virtio 1.2 section 5.1.6, Linux
// include/uapi/linux/virtio_net.h) and the offload flags of an mbuf (io/port.h). Pure functions;
// worker threads.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>

namespace podwire::io {

// struct virtio_net_hdr, in the machine's own byte order as tun/tap writes it. Its kernel header is
// not C++.
struct VirtioHeader {
  static constexpr std::uint8_t kNeedsChecksum = 1;                               // flags
  static constexpr std::uint8_t kNoGso = 0, kTcpV4 = 1, kTcpV6 = 4, kEcn = 0x80;  // gso_type
  std::uint8_t flags = 0;
  std::uint8_t gso_type = kNoGso;
  std::uint16_t hdr_len = 0;
  std::uint16_t gso_size = 0;
  std::uint16_t csum_start = 0;
  std::uint16_t csum_offset = 0;
};
static_assert(sizeof(VirtioHeader) == 10);

// Segments smaller than this would let one frame become thousands (Linux:
// net.ipv4.tcp_min_snd_mss).
inline constexpr unsigned kMinSegmentBytes = 48;

// What the peer says about a received frame, checked against the frame. Sets ol_flags and
// tso_segsz; a partial checksum that is neither TCP's nor UDP's is completed here. False: the
// header contradicts the frame, which must then be dropped.
[[nodiscard]] bool take_virtio_header(const VirtioHeader& header, rte_mbuf& frame) noexcept;

// The header that hands the offloads of `frame` on to a peer that takes them. False: the flags ask
// for what the frame's headers cannot carry; such a frame must not be sent.
[[nodiscard]] bool make_virtio_header(const rte_mbuf& frame, VirtioHeader& header) noexcept;

}  // namespace podwire::io
