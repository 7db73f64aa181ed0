#include "dataplane/io/segment.h"

#include <algorithm>
#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"

namespace podwire::io {
namespace {

constexpr std::uint8_t kCwr = 0x80;

// Of the pseudo-header for `length` bytes of transport header and payload.
std::uint64_t pseudo_sum(const std::uint8_t* data, const FrameLayout& layout, unsigned length) {
  if (layout.family == net::Family::v4) {
    const auto& ip = *reinterpret_cast<const net::Ipv4*>(data + layout.l3);
    return net::pseudo_header_sum(&ip.source, &ip.destination, 4, layout.protocol, length);
  }
  const auto& ip = *reinterpret_cast<const net::Ipv6*>(data + layout.l3);
  return net::pseudo_header_sum(ip.source.data(), ip.destination.data(), 16, layout.protocol,
                                length);
}

net::be16& checksum_field(std::uint8_t* data, const FrameLayout& layout) {
  return layout.protocol == net::protocol::tcp
             ? reinterpret_cast<net::Tcp*>(data + layout.l4)->checksum
             : reinterpret_cast<net::Udp*>(data + layout.l4)->checksum;
}

void finish_ipv4(std::uint8_t* at, unsigned total_length, unsigned index) {
  auto& ip = *reinterpret_cast<net::Ipv4*>(at);
  ip.total_length = net::be16(static_cast<std::uint16_t>(total_length));
  ip.id = net::be16(static_cast<std::uint16_t>(ip.id.host() + index));
  ip.checksum = net::be16();
  ip.checksum = net::checksum_of(net::add_sum(0, at, ip.header_length()));
}

// An empty frame of `length` bytes over as many buffers as it takes; null when there are none left.
rte_mbuf* chain_of(unsigned length, rte_mempool& pool) noexcept {
  rte_mbuf* first = nullptr;
  rte_mbuf* last = nullptr;
  for (unsigned left = length; left > 0;) {
    rte_mbuf* buffer = rte_pktmbuf_alloc(&pool);
    if (buffer == nullptr) {
      rte_pktmbuf_free(first);
      return nullptr;
    }
    buffer->data_len =
        static_cast<std::uint16_t>(std::min<unsigned>(left, buffer->buf_len - buffer->data_off));
    left -= buffer->data_len;
    if (first == nullptr) {
      first = buffer;
      first->pkt_len = length;
    } else {
      last->next = buffer;
      ++first->nb_segs;
    }
    last = buffer;
  }
  return first;
}

}  // namespace

std::uint64_t sum_frame(const rte_mbuf& frame, unsigned offset, std::uint64_t sum) noexcept {
  bool odd = false;  // the next byte stands at an odd place of what is summed
  for (const rte_mbuf* segment = &frame; segment != nullptr; segment = segment->next) {
    if (offset >= segment->data_len) {
      offset -= segment->data_len;
      continue;
    }
    const unsigned length = segment->data_len - offset;
    const std::uint64_t part =
        net::add_sum(0, rte_pktmbuf_mtod_offset(segment, const std::uint8_t*, offset), length);
    // A sum that starts at an odd place has its bytes exchanged (RFC 1071 section 2 B).
    sum += odd ? __builtin_bswap16(net::fold(part)) : part;
    odd ^= (length & 1) != 0;
    offset = 0;
  }
  return sum;
}

void complete_partial(rte_mbuf& frame, unsigned start, unsigned offset) noexcept {
  const net::be16 checksum = net::checksum_of(sum_frame(frame, start, 0));
  std::memcpy(rte_pktmbuf_mtod_offset(&frame, std::uint8_t*, start + offset), &checksum, 2);
}

bool complete_checksum(rte_mbuf& frame) noexcept {
  const std::uint64_t asked = frame.ol_flags & RTE_MBUF_F_TX_L4_MASK;
  const auto layout = layout_of(frame);
  if (!layout || asked != (layout->protocol == net::protocol::tcp ? RTE_MBUF_F_TX_TCP_CKSUM
                                                                  : RTE_MBUF_F_TX_UDP_CKSUM)) {
    return false;
  }
  auto* data = rte_pktmbuf_mtod(&frame, std::uint8_t*);
  net::be16& field = checksum_field(data, *layout);
  field = net::be16();
  const std::uint64_t sum = pseudo_sum(data, *layout, frame.pkt_len - layout->l4);
  field = net::checksum_of(sum_frame(frame, layout->l4, sum));
  if (layout->protocol == net::protocol::udp && field.raw() == 0) {
    field = net::be16::from_raw(0xffff);
  }
  frame.ol_flags &= ~RTE_MBUF_F_TX_L4_MASK;
  return true;
}

bool checksum_holds(const rte_mbuf& frame, const FrameLayout& layout) noexcept {
  auto* data = rte_pktmbuf_mtod(&frame, std::uint8_t*);
  if (layout.protocol == net::protocol::udp && checksum_field(data, layout).raw() == 0) return true;
  const std::uint64_t sum = pseudo_sum(data, layout, frame.pkt_len - layout.l4);
  return net::checksum_of(sum_frame(frame, layout.l4, sum)).raw() == 0;
}

Segmentation::Segmentation(const rte_mbuf& frame, rte_mempool& pool) noexcept
    : pool_(pool), headers_(rte_pktmbuf_mtod(&frame, const std::uint8_t*)), segment_(&frame) {
  const auto layout = layout_of(frame);
  if (!layout || layout->protocol != net::protocol::tcp || frame.tso_segsz == 0 ||
      frame.pkt_len <= layout->payload) {
    return;
  }
  layout_ = *layout;
  size_ = frame.tso_segsz;
  if (layout_.payload > rte_pktmbuf_data_room_size(&pool_) - unsigned{RTE_PKTMBUF_HEADROOM}) return;
  segment_offset_ = layout_.payload;
  payload_left_ = frame.pkt_len - layout_.payload;
  left_ = (payload_left_ + size_ - 1) / size_;
  valid_ = true;
}

void Segmentation::copy_payload(std::uint8_t* to, unsigned length) noexcept {
  payload_left_ -= length;
  while (length > 0) {
    if (segment_offset_ == segment_->data_len) {
      segment_ = segment_->next;
      segment_offset_ = 0;
      continue;
    }
    const unsigned part = std::min(length, segment_->data_len - segment_offset_);
    std::memcpy(to, rte_pktmbuf_mtod_offset(segment_, const std::uint8_t*, segment_offset_), part);
    to += part;
    length -= part;
    segment_offset_ += part;
  }
}

void Segmentation::finish_headers(rte_mbuf& segment) const noexcept {
  auto* data = rte_pktmbuf_mtod(&segment, std::uint8_t*);
  const unsigned end = segment.pkt_len;
  if (layout_.is_tunnel()) finish_ipv4(data + layout_.outer_l3, end - layout_.outer_l3, index_);
  if (layout_.family == net::Family::v4) {
    finish_ipv4(data + layout_.l3, end - layout_.l3, index_);
  } else {
    reinterpret_cast<net::Ipv6*>(data + layout_.l3)->payload_length =
        net::be16(static_cast<std::uint16_t>(end - layout_.l3 - sizeof(net::Ipv6)));
  }
  auto& tcp = *reinterpret_cast<net::Tcp*>(data + layout_.l4);
  tcp.sequence = net::be32(tcp.sequence.host() + index_ * size_);
  if (left_ > 1) tcp.flags &= static_cast<std::uint8_t>(~(net::Tcp::fin | net::Tcp::psh));
  if (index_ > 0) tcp.flags &= static_cast<std::uint8_t>(~kCwr);
  tcp.checksum = net::be16();
  const std::uint64_t pseudo = pseudo_sum(data, layout_, end - layout_.l4);
  tcp.checksum = net::checksum_of(sum_frame(segment, layout_.l4, pseudo));
}

rte_mbuf* Segmentation::next() noexcept {
  const unsigned payload = std::min(size_, payload_left_);
  rte_mbuf* segment = chain_of(layout_.payload + payload, pool_);
  if (segment == nullptr) return nullptr;
  auto* data = rte_pktmbuf_mtod(segment, std::uint8_t*);
  std::memcpy(data, headers_, layout_.payload);
  copy_payload(data + layout_.payload, segment->data_len - layout_.payload);
  for (rte_mbuf* more = segment->next; more != nullptr; more = more->next) {
    copy_payload(rte_pktmbuf_mtod(more, std::uint8_t*), more->data_len);
  }
  finish_headers(*segment);
  ++index_;
  --left_;
  return segment;
}

rte_mbuf* copied_into_one(const rte_mbuf& frame, rte_mempool& pool) noexcept {
  rte_mbuf* copy = rte_pktmbuf_alloc(&pool);
  if (copy == nullptr) return nullptr;
  if (frame.pkt_len > rte_pktmbuf_tailroom(copy)) {
    rte_pktmbuf_free(copy);
    return nullptr;
  }
  auto* data = rte_pktmbuf_mtod(copy, std::uint8_t*);
  for (const rte_mbuf* segment = &frame; segment != nullptr; segment = segment->next) {
    std::memcpy(data, rte_pktmbuf_mtod(segment, const std::uint8_t*), segment->data_len);
    data += segment->data_len;
  }
  copy->data_len = static_cast<std::uint16_t>(frame.pkt_len);
  copy->pkt_len = frame.pkt_len;
  copy->ol_flags = frame.ol_flags;
  copy->tso_segsz = frame.tso_segsz;
  return copy;
}

}  // namespace podwire::io
