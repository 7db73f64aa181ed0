// Offloads finished in software, for devices that cannot: checksums completed, unsegmented TCP cut.
// Frames carry what is left to do in ol_flags, as io/port.h says; where the headers stand is read
// from the frame (frame_layout.h), so an IPIP header in front is found by itself.
// Sources: RFC 1071, RFC 9293, RFC 6864 (IPv4 ID), RFC 3168 section 6.1.2 (CWR on the first
// segment only), Linux net/ipv4/tcp_offload.c for what receivers are used to.
#pragma once

#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <cstdint>

#include "dataplane/io/frame_layout.h"

namespace podwire::io {

// One's complement sum over [offset, end of frame) of a chain, added to `sum`; offset is even
// within the summed range by definition.
[[nodiscard]] std::uint64_t sum_frame(const rte_mbuf& frame, unsigned offset,
                                      std::uint64_t sum) noexcept;

// Sums from `start` to the end of the frame, the field's own value included, and stores the
// complement at start + offset. The field must be within the first segment.
void complete_partial(rte_mbuf& frame, unsigned start, unsigned offset) noexcept;

// Computes the TCP or UDP checksum that the flags leave open, from the frame's own headers, and
// clears the flags. False: the flags name a protocol that the frame does not carry.
[[nodiscard]] bool complete_checksum(rte_mbuf& frame) noexcept;

// Whether the TCP or UDP checksum in the frame is right (UDP without one is). Not for partial ones.
[[nodiscard]] bool checksum_holds(const rte_mbuf& frame, const FrameLayout& layout) noexcept;

// Cuts one frame with RTE_MBUF_F_TX_TCP_SEG into complete frames, one after the other. One that is
// longer than a buffer of `pool` is a chain.
class Segmentation {
 public:
  // valid() is false when the frame is not one that can be cut: no TCP, tso_segsz is zero, or the
  // headers would not fit a buffer of `pool`. The frame stays the caller's and is only read.
  Segmentation(const rte_mbuf& frame, rte_mempool& pool) noexcept;
  [[nodiscard]] bool valid() const { return valid_; }
  [[nodiscard]] unsigned left() const { return left_; }
  // The next segment, or null when the pool is empty.
  [[nodiscard]] rte_mbuf* next() noexcept;

 private:
  void copy_payload(std::uint8_t* to, unsigned length) noexcept;
  void finish_headers(rte_mbuf& segment) const noexcept;

  rte_mempool& pool_;
  FrameLayout layout_;
  const std::uint8_t* headers_;
  const rte_mbuf* segment_;      // where the next payload byte is
  unsigned segment_offset_ = 0;  // in it
  unsigned payload_left_ = 0;
  unsigned size_ = 0;
  unsigned index_ = 0;
  unsigned left_ = 0;
  bool valid_ = false;
};

// A copy of the chain in one buffer of `pool`, flags included. Null when it does not fit or the
// pool is empty.
[[nodiscard]] rte_mbuf* copied_into_one(const rte_mbuf& frame, rte_mempool& pool) noexcept;

}  // namespace podwire::io
