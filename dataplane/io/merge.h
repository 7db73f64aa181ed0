// Receive offload for kernel peers: consecutive segments of one TCP stream, as they come off a
// wire, go into a tap as one frame that says how to cut it again. One system call and one walk
// through the peer's stack then serve dozens of segments. The rules are those of Linux
// (net/ipv4/tcp_offload.c, tcp_gro_receive): what is merged can be cut into what came.
#pragma once

#include <rte_mbuf.h>

#include <span>

namespace podwire::io {

// Chains as many frames as it can onto the first and returns how many that now is; 1: the first
// frame stands alone and is untouched. A merged frame has RTE_MBUF_F_TX_TCP_SEG and a partial
// checksum; the pointers behind the first are then parts of it. Each segment's own checksum has
// been found right: a wrong one is never merged away.
unsigned merge_front(std::span<rte_mbuf*> frames) noexcept;

}  // namespace podwire::io
