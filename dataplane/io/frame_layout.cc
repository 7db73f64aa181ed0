#include "dataplane/io/frame_layout.h"

#include "dataplane/net/headers.h"

namespace podwire::io {
namespace {

constexpr unsigned kMaxExtensionHeaders = 8;

// The part of a frame that may be read: its first segment.
struct Reader {
  const std::uint8_t* data;
  unsigned length;

  template <typename T>
  [[nodiscard]] const T* at(unsigned offset) const {
    return offset + sizeof(T) <= length ? reinterpret_cast<const T*>(data + offset) : nullptr;
  }
};

// Offset of what follows an IPv4 header, or 0.
unsigned after_ipv4(const Reader& reader, unsigned offset, std::uint8_t& protocol) {
  const auto* ip = reader.at<net::Ipv4>(offset);
  if (ip == nullptr || ip->version_ihl >> 4 != 4 || ip->header_length() < sizeof(net::Ipv4)) {
    return 0;
  }
  if ((ip->fragment.host() & (net::Ipv4::kMoreFragments | net::Ipv4::kOffsetMask)) != 0) return 0;
  protocol = ip->protocol;
  return offset + ip->header_length();
}

// Offset of what follows an IPv6 header and its extension headers, or 0.
unsigned after_ipv6(const Reader& reader, unsigned offset, std::uint8_t& protocol) {
  const auto* ip = reader.at<net::Ipv6>(offset);
  if (ip == nullptr || (reader.data[offset] >> 4) != 6) return 0;
  protocol = ip->next_header;
  offset += sizeof(net::Ipv6);
  for (unsigned i = 0; i < kMaxExtensionHeaders; ++i) {
    if (protocol != net::protocol::hop_by_hop && protocol != net::protocol::routing &&
        protocol != net::protocol::destination_options) {
      return offset;
    }
    const auto* header = reader.at<std::array<std::uint8_t, 2>>(offset);
    if (header == nullptr) return 0;
    protocol = (*header)[0];
    offset += ((*header)[1] + 1U) * 8;
  }
  return 0;
}

bool find_transport(const Reader& reader, FrameLayout& layout, unsigned offset) {
  layout.l4 = static_cast<std::uint16_t>(offset);
  unsigned header = sizeof(net::Udp);
  if (layout.protocol == net::protocol::tcp) {
    const auto* tcp = reader.at<net::Tcp>(offset);
    if (tcp == nullptr) return false;
    header = (tcp->data_offset >> 4) * 4U;
    if (header < sizeof(net::Tcp)) return false;
  } else if (layout.protocol != net::protocol::udp) {
    return false;
  }
  if (offset + header > reader.length) return false;
  layout.payload = static_cast<std::uint16_t>(offset + header);
  return true;
}

}  // namespace

std::optional<FrameLayout> layout_of(const rte_mbuf& frame) noexcept {
  const Reader reader{rte_pktmbuf_mtod(&frame, const std::uint8_t*), frame.data_len};
  const auto* ethernet = reader.at<net::Ethernet>(0);
  if (ethernet == nullptr) return std::nullopt;
  FrameLayout layout;
  layout.outer_l3 = layout.l3 = sizeof(net::Ethernet);
  unsigned next = 0;
  if (ethernet->type.host() == net::ether_type::ipv4) {
    next = after_ipv4(reader, layout.l3, layout.protocol);
    if (next != 0 && layout.protocol == net::protocol::ipip) {
      layout.l3 = static_cast<std::uint16_t>(next);
      next = after_ipv4(reader, layout.l3, layout.protocol);
    }
  } else if (ethernet->type.host() == net::ether_type::ipv6) {
    layout.family = net::Family::v6;
    next = after_ipv6(reader, layout.l3, layout.protocol);
  }
  if (next == 0 || !find_transport(reader, layout, next)) return std::nullopt;
  return layout;
}

}  // namespace podwire::io
