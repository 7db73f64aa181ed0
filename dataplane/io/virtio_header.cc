#include "dataplane/io/virtio_header.h"

#include "dataplane/io/frame_layout.h"
#include "dataplane/io/segment.h"
#include "dataplane/net/headers.h"

namespace podwire::io {
namespace {

constexpr unsigned kTcpChecksumOffset = offsetof(net::Tcp, checksum);
constexpr unsigned kUdpChecksumOffset = offsetof(net::Udp, checksum);

std::uint64_t family_flag(net::Family family) {
  return family == net::Family::v4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6;
}

bool take_super_frame(const VirtioHeader& header, rte_mbuf& frame) {
  const unsigned type = header.gso_type & ~unsigned{VirtioHeader::kEcn};
  if (type != VirtioHeader::kTcpV4 && type != VirtioHeader::kTcpV6) return false;
  const auto layout = layout_of(frame);
  const auto family = type == VirtioHeader::kTcpV4 ? net::Family::v4 : net::Family::v6;
  if (!layout || layout->is_tunnel() || layout->family != family ||
      layout->protocol != net::protocol::tcp || header.csum_start != layout->l4 ||
      header.csum_offset != kTcpChecksumOffset || header.gso_size < kMinSegmentBytes) {
    return false;
  }
  frame.ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM | family_flag(family);
  // One segment's worth needs no cutting, only its checksum.
  if (frame.pkt_len > layout->payload + unsigned{header.gso_size}) {
    frame.ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
    frame.tso_segsz = header.gso_size;
  }
  return true;
}

}  // namespace

bool take_virtio_header(const VirtioHeader& header, rte_mbuf& frame) noexcept {
  const bool partial = (header.flags & VirtioHeader::kNeedsChecksum) != 0;
  if (header.gso_type != VirtioHeader::kNoGso) {
    return partial && take_super_frame(header, frame);
  }
  if (!partial) return true;
  if (unsigned{header.csum_start} + header.csum_offset + 2 > frame.data_len) return false;
  const auto layout = layout_of(frame);
  if (layout && !layout->is_tunnel() && header.csum_start == layout->l4) {
    if (layout->protocol == net::protocol::tcp && header.csum_offset == kTcpChecksumOffset) {
      frame.ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM | family_flag(layout->family);
      return true;
    }
    if (layout->protocol == net::protocol::udp && header.csum_offset == kUdpChecksumOffset) {
      frame.ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM | family_flag(layout->family);
      return true;
    }
  }
  complete_partial(frame, header.csum_start, header.csum_offset);
  return true;
}

bool make_virtio_header(const rte_mbuf& frame, VirtioHeader& header) noexcept {
  header = {};
  const std::uint64_t l4 = frame.ol_flags & RTE_MBUF_F_TX_L4_MASK;
  const bool cut = (frame.ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0;
  if (l4 == RTE_MBUF_F_TX_L4_NO_CKSUM && !cut) return true;
  const auto layout = layout_of(frame);
  if (!layout || layout->is_tunnel()) return false;
  const bool tcp = layout->protocol == net::protocol::tcp;
  if ((cut && (!tcp || frame.tso_segsz == 0)) || (l4 == RTE_MBUF_F_TX_TCP_CKSUM && !tcp) ||
      (l4 == RTE_MBUF_F_TX_UDP_CKSUM && tcp) || l4 == RTE_MBUF_F_TX_SCTP_CKSUM) {
    return false;
  }
  header.flags = VirtioHeader::kNeedsChecksum;
  header.csum_start = layout->l4;
  header.csum_offset = tcp ? kTcpChecksumOffset : kUdpChecksumOffset;
  if (cut) {
    header.gso_type =
        layout->family == net::Family::v4 ? VirtioHeader::kTcpV4 : VirtioHeader::kTcpV6;
    // Linux refuses a super-frame with CWR set whose type does not say ECN.
    const auto* bytes = rte_pktmbuf_mtod(&frame, const std::uint8_t*);
    if ((bytes[layout->l4 + offsetof(net::Tcp, flags)] & 0x80) != 0) {
      header.gso_type |= VirtioHeader::kEcn;
    }
    header.gso_size = frame.tso_segsz;
    header.hdr_len = layout->payload;
  }
  return true;
}

}  // namespace podwire::io
