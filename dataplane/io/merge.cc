#include "dataplane/io/merge.h"

#include <cstring>
#include <optional>

#include "dataplane/io/port.h"
#include "dataplane/io/segment.h"
#include "dataplane/io/tap_device.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"

namespace podwire::io {
namespace {

// Buffers in one merged frame; bounded by what one writev takes in good time.
constexpr unsigned kMostFrames = 48;

struct TcpFrame {
  std::uint8_t* data;
  FrameLayout layout;
  unsigned payload;  // bytes

  [[nodiscard]] net::Tcp& tcp() const { return *reinterpret_cast<net::Tcp*>(data + layout.l4); }
  [[nodiscard]] net::Ipv4& ipv4() const { return *reinterpret_cast<net::Ipv4*>(data + layout.l3); }
  [[nodiscard]] net::Ipv6& ipv6() const { return *reinterpret_cast<net::Ipv6*>(data + layout.l3); }
};

// A plain data segment: one buffer, complete, nothing but ACK and PSH, no IP options.
std::optional<TcpFrame> data_segment(const rte_mbuf& frame) {
  if (frame.nb_segs != 1 || (frame.ol_flags & kOpenOffloads) != 0) {
    return std::nullopt;
  }
  const auto layout = layout_of(frame);
  if (!layout || layout->is_tunnel() || layout->protocol != net::protocol::tcp) return std::nullopt;
  TcpFrame found{rte_pktmbuf_mtod(&frame, std::uint8_t*), *layout, frame.pkt_len - layout->payload};
  const bool v4 = layout->family == net::Family::v4;
  const unsigned ip_header = layout->l4 - layout->l3;
  const unsigned ip_length = v4 ? found.ipv4().total_length.host()
                                : found.ipv6().payload_length.host() + sizeof(net::Ipv6);
  const std::uint8_t flags = found.tcp().flags;
  if (ip_header != (v4 ? sizeof(net::Ipv4) : sizeof(net::Ipv6)) ||
      ip_length != frame.pkt_len - layout->l3 || found.payload == 0 ||
      (flags & net::Tcp::ack) == 0 || (flags & ~(net::Tcp::ack | net::Tcp::psh)) != 0) {
    return std::nullopt;
  }
  return found;
}

bool same(const TcpFrame& a, const TcpFrame& b, unsigned from, unsigned to) {
  return std::memcmp(a.data + from, b.data + from, to - from) == 0;
}

// The same Ethernet, IP and TCP headers but for what differs between segments of one stream.
bool same_stream(const TcpFrame& a, const TcpFrame& b) {
  const unsigned l3 = a.layout.l3, l4 = a.layout.l4;
  if (a.layout.family != b.layout.family || l4 != b.layout.l4 ||
      a.layout.payload != b.layout.payload || !same(a, b, 0, l3)) {
    return false;
  }
  const bool ip =
      a.layout.family == net::Family::v4
          ? same(a, b, l3, l3 + 2) && same(a, b, l3 + 6, l3 + 10) && same(a, b, l3 + 12, l4)
          : same(a, b, l3, l3 + 4) && same(a, b, l3 + 6, l4);
  return ip && same(a, b, l4, l4 + 4) && same(a, b, l4 + 8, l4 + 13) &&
         same(a, b, l4 + 14, l4 + 16) && same(a, b, l4 + 18, a.layout.payload);
}

// `next` comes right behind `last` in a stream whose segments have `size` bytes.
bool follows(const TcpFrame& last, const TcpFrame& next, unsigned size) {
  if ((last.tcp().flags & net::Tcp::psh) != 0 || last.payload != size || next.payload > size ||
      next.tcp().sequence.host() != last.tcp().sequence.host() + last.payload ||
      !same_stream(last, next)) {
    return false;
  }
  if (last.layout.family == net::Family::v6) return true;
  // Cutting counts the identification up from the first (RFC 6864 lets DF packets have any).
  return (last.ipv4().fragment.host() & net::Ipv4::kDontFragment) != 0 ||
         next.ipv4().id.host() == static_cast<std::uint16_t>(last.ipv4().id.host() + 1);
}

// Gives the first frame the headers of the whole: lengths, PSH of the last, a partial checksum.
void finish(rte_mbuf& frame, const TcpFrame& first, std::uint8_t last_flags) {
  const unsigned length = frame.pkt_len - first.layout.l4;
  std::uint64_t pseudo = 0;
  frame.ol_flags |= RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM;
  frame.tso_segsz = static_cast<std::uint16_t>(first.payload);
  if (first.layout.family == net::Family::v4) {
    net::Ipv4& ip = first.ipv4();
    frame.ol_flags |= RTE_MBUF_F_TX_IPV4;
    ip.total_length = net::be16(static_cast<std::uint16_t>(frame.pkt_len - first.layout.l3));
    ip.checksum = net::be16();
    ip.checksum = net::checksum_of(net::add_sum(0, &ip, sizeof ip));
    pseudo = net::pseudo_header_sum(&ip.source, &ip.destination, 4, net::protocol::tcp, length);
  } else {
    net::Ipv6& ip = first.ipv6();
    frame.ol_flags |= RTE_MBUF_F_TX_IPV6;
    ip.payload_length = net::be16(static_cast<std::uint16_t>(length));
    pseudo = net::pseudo_header_sum(ip.source.data(), ip.destination.data(), 16, net::protocol::tcp,
                                    length);
  }
  first.tcp().flags |= last_flags & net::Tcp::psh;
  first.tcp().checksum = net::be16::from_raw(net::fold(pseudo));
}

}  // namespace

unsigned merge_front(std::span<rte_mbuf*> frames) noexcept {
  if (frames.size() < 2) return 1;
  rte_mbuf& whole = *frames[0];
  const auto first = data_segment(whole);
  if (!first) return 1;
  const unsigned most = kMaxSuperFrame - (first->layout.payload - first->layout.l3);
  unsigned merged = 1, payload = first->payload;
  TcpFrame last = *first;
  rte_mbuf* tail = &whole;
  while (merged < frames.size() && merged < kMostFrames) {
    rte_mbuf& frame = *frames[merged];
    const auto next = data_segment(frame);
    if (!next || payload + next->payload > most || !follows(last, *next, first->payload) ||
        (merged == 1 && !checksum_holds(whole, first->layout)) ||
        !checksum_holds(frame, next->layout)) {
      break;
    }
    payload += next->payload;
    last = *next;
    tail->next = &frame;
    tail = &frame;
    ++merged;
  }
  if (merged == 1) return 1;
  for (unsigned i = 1; i < merged; ++i) rte_pktmbuf_adj(frames[i], first->layout.payload);
  whole.nb_segs = static_cast<std::uint16_t>(merged);
  whole.pkt_len = first->layout.payload + payload;
  finish(whole, *first, last.tcp().flags);
  return merged;
}

}  // namespace podwire::io
