// Frames as tests describe them, and as bytes. Shares no code with the dataplane beyond the plain
// types of dataplane/net: lengths and checksums are written down here a second time, slowly, so
// that a test compares two opinions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/net/address.h"

namespace podwire::test {

using Bytes = std::vector<std::uint8_t>;
inline void set16(Bytes& out, std::size_t at, unsigned value) {
  out[at] = static_cast<std::uint8_t>(value >> 8U);
  out[at + 1] = static_cast<std::uint8_t>(value);
}

// "10.244.1.2"; ends the process when it is none.
net::Address address(std::string_view text);
inline net::Mac mac(std::string_view text) {
  return net::Mac::parse(text).value();
}

struct Tunnel {
  net::Address source, destination;
  std::uint8_t ttl = 64;
  std::uint16_t id = 0;  // in an expected frame: whatever comes
  bool dont_fragment = false;
};

// One frame. The functions below make the usual ones; methods change a copy's field and return it,
// so that a case reads as one line.
struct Frame {
  net::Mac source_mac, destination_mac;  // zero: those of the port it is sent to or expected on
  std::optional<Tunnel> tunnel;

  net::Address source, destination;
  std::uint8_t ttl = 64, tos = 0;
  std::uint16_t id = 0;
  bool dont_fragment = false;
  Bytes ip_options;  // IPv4; a multiple of 4
  // A fragment: `offset` in bytes. IPv6 puts a fragment header in with `id`.
  std::optional<std::uint16_t> offset;
  bool more_fragments = false;

  std::uint8_t protocol = 17;
  std::uint16_t source_port = 0, destination_port = 0;
  std::uint8_t tcp_flags = 0;
  std::uint32_t sequence = 1, acknowledgement = 0;
  std::uint8_t icmp_type = 0, icmp_code = 0;
  std::uint32_t icmp_rest = 0;  // echo: identifier << 16 | sequence; too big: the MTU
  Bytes payload;
  std::optional<Bytes> raw;  // in place of the transport header and payload
  bool no_udp_checksum = false;
  bool partial = false;  // the checksum field holds the pseudo-header's sum, as from a virtio peer

  [[nodiscard]] bool v4() const { return source.is_v4(); }

  Frame with_ttl(std::uint8_t value) const;
  Frame one_hop_less() const { return with_ttl(static_cast<std::uint8_t>(ttl - 1)); }
  Frame from(std::string_view address) const;
  Frame from(std::string_view address, std::uint16_t port) const;
  Frame to(std::string_view address) const;
  Frame to(std::string_view address, std::uint16_t port) const;
  Frame through(std::string_view source_node, std::string_view destination_node) const;
  Frame with_macs(net::Mac source, net::Mac destination) const;
  Frame with_payload(std::size_t size) const;  // 0, 1, 2, ...
  Frame with_id(std::uint16_t value) const;
  Frame with_dont_fragment() const;
  Frame with_partial_checksum() const;
  Frame without_udp_checksum() const;
};

Frame udp(std::string_view source, std::uint16_t source_port, std::string_view destination,
          std::uint16_t destination_port);
Frame tcp(std::string_view source, std::uint16_t source_port, std::string_view destination,
          std::uint16_t destination_port, std::string_view flags);  // of "SAFRP"
Frame sctp(std::string_view source, std::uint16_t source_port, std::string_view destination,
           std::uint16_t destination_port, std::uint8_t chunk = 1);
Frame ping(std::string_view source, std::string_view destination, std::uint16_t id);
Frame pong(std::string_view source, std::string_view destination, std::uint16_t id);
// Quotes the first `most` bytes of the IP packet in `quoted`.
Frame icmp_error(std::string_view source, std::string_view destination, std::uint8_t type,
                 std::uint8_t code, const Frame& quoted, std::size_t most = 548,
                 std::uint32_t rest = 0);

// The transport header and payload with its checksum, the IP packet (with tunnel), the whole frame.
Bytes transport_bytes(const Frame& frame);
Bytes ip_bytes(const Frame& frame);
Bytes frame_bytes(const Frame& frame);

// The datagram of `frame` in fragments whose IP packets have at most `mtu` bytes.
std::vector<Frame> fragments(const Frame& frame, std::size_t mtu);

// RFC 1071 and RFC 9260 appendix A, the slow way.
std::uint16_t slow_sum(const std::uint8_t* bytes, std::size_t size, std::uint32_t start = 0);
std::uint32_t slow_crc32c(const std::uint8_t* bytes, std::size_t size);

// What is wrong with lengths and checksums of an IPv4 or IPv6 frame, in tunnels too; empty:
// nothing. `partial`: the innermost transport checksum is the pseudo-header's sum.
std::string faults(const Bytes& frame, bool partial);

std::string hex(const Bytes& bytes);

}  // namespace podwire::test
