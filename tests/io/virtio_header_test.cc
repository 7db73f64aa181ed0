#include "dataplane/io/virtio_header.h"

#include <gtest/gtest.h>

#include "tests/io/frames.h"

namespace podwire::test {
namespace {

using io::VirtioHeader;

constexpr std::uint16_t kL4V4 = 34, kL4V6 = 54, kTcpField = 16, kUdpField = 6;

const Frame kTcp4 = addressed(tcp("10.1.0.1", 1, "10.1.0.2", 2, "A")).with_partial_checksum();
const Frame kTcp6 = addressed(tcp("fd00::1", 1, "fd00::2", 2, "A")).with_partial_checksum();
const Frame kUdp4 = addressed(udp("10.1.0.1", 1, "10.1.0.2", 2)).with_partial_checksum();

VirtioHeader partial(std::uint16_t start, std::uint16_t offset) {
  return {.flags = VirtioHeader::kNeedsChecksum, .csum_start = start, .csum_offset = offset};
}
VirtioHeader super(std::uint8_t type, std::uint16_t start, std::uint16_t size) {
  return {.flags = VirtioHeader::kNeedsChecksum,
          .gso_type = type,
          .hdr_len = 54,
          .gso_size = size,
          .csum_start = start,
          .csum_offset = kTcpField};
}

TEST(TakeVirtioHeader, TranslatesWhatTheKernelSends) {
  const struct {
    const char* name;
    VirtioHeader header;
    Frame frame;
    std::uint64_t flags;
    std::uint16_t segment;
  } cases[] = {
      {"nothing", {}, kTcp4, 0, 0},
      {"tcp4", partial(kL4V4, kTcpField), kTcp4, RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4, 0},
      {"tcp6", partial(kL4V6, kTcpField), kTcp6, RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV6, 0},
      {"udp4", partial(kL4V4, kUdpField), kUdp4, RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_IPV4, 0},
      {"tso4", super(VirtioHeader::kTcpV4, kL4V4, 1400), kTcp4.with_payload(9000),
       RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4, 1400},
      {"tso6 with ECN", super(VirtioHeader::kTcpV6 | VirtioHeader::kEcn, kL4V6, 1400),
       kTcp6.with_payload(9000),
       RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV6, 1400},
      {"one segment's worth", super(VirtioHeader::kTcpV4, kL4V4, 1400), kTcp4.with_payload(1400),
       RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4, 0},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const Bytes bytes = frame_bytes(c.frame);
    const Mbuf mbuf = mbuf_of(bytes);
    ASSERT_TRUE(io::take_virtio_header(c.header, *mbuf));
    // IPv4 and IPv6 flags share no bit with the others; TCP_SEG implies a checksum.
    EXPECT_EQ(mbuf->ol_flags, c.flags);
    EXPECT_EQ(mbuf->tso_segsz, c.segment);
    EXPECT_EQ(bytes_of_mbuf(*mbuf), bytes);
  }
}

TEST(TakeVirtioHeader, RefusesWhatContradictsTheFrame) {
  VirtioHeader without_checksum = super(VirtioHeader::kTcpV4, kL4V4, 1400);
  without_checksum.flags = 0;
  const struct {
    const char* name;
    VirtioHeader header;
    Frame frame;
  } cases[] = {
      {"checksum behind the end", partial(60000, 16), kTcp4},
      {"start and offset overflow", partial(0xffff, 0xffff), kTcp4},
      {"field half outside", partial(kL4V4, 19), kTcp4},
      {"super-frame without checksum", without_checksum, kTcp4.with_payload(9000)},
      {"unknown type", super(2, kL4V4, 1400), kTcp4.with_payload(9000)},
      {"UDP fragmentation offload", super(3, kL4V4, 1400), kUdp4.with_payload(9000)},
      {"UDP segmentation", super(5, kL4V4, 1400), kUdp4.with_payload(9000)},
      {"ECN alone", super(VirtioHeader::kEcn, kL4V4, 1400), kTcp4.with_payload(9000)},
      {"v6 type on v4", super(VirtioHeader::kTcpV6, kL4V4, 1400), kTcp4.with_payload(9000)},
      {"v4 type on v6", super(VirtioHeader::kTcpV4, kL4V6, 1400), kTcp6.with_payload(9000)},
      {"TCP type on UDP", super(VirtioHeader::kTcpV4, kL4V4, 1400), kUdp4.with_payload(9000)},
      {"segment size 0", super(VirtioHeader::kTcpV4, kL4V4, 0), kTcp4.with_payload(9000)},
      {"segment size 1", super(VirtioHeader::kTcpV4, kL4V4, 1), kTcp4.with_payload(9000)},
      {"checksum elsewhere", super(VirtioHeader::kTcpV4, 35, 1400), kTcp4.with_payload(9000)},
      {"in a tunnel", super(VirtioHeader::kTcpV4, 54, 1400),
       kTcp4.with_payload(9000).through("192.0.2.1", "192.0.2.2")},
  };
  for (const auto& c : cases) {
    const Mbuf mbuf = mbuf_of(frame_bytes(c.frame));
    EXPECT_FALSE(io::take_virtio_header(c.header, *mbuf)) << c.name;
  }
}

TEST(TakeVirtioHeader, RefusesEveryFrameTooShortForItsHeaders) {
  const Bytes whole = frame_bytes(kTcp4.with_payload(100));
  for (std::size_t size = 1; size < 54; ++size) {
    const Mbuf mbuf = mbuf_of(Bytes(whole.begin(), whole.begin() + static_cast<long>(size)));
    EXPECT_FALSE(io::take_virtio_header(super(VirtioHeader::kTcpV4, kL4V4, 1400), *mbuf)) << size;
  }
}

TEST(TakeVirtioHeader, CompletesAPartialChecksumOfAnotherProtocolItself) {
  // UDP-Lite, GRE or a tunnel of the pod's own: the field is summed wherever the header says.
  Bytes bytes = frame_bytes(kTcp4.with_payload(40).through("192.0.2.1", "192.0.2.2"));
  const Mbuf mbuf = mbuf_of(bytes);
  ASSERT_TRUE(io::take_virtio_header(partial(54, kTcpField), *mbuf));
  EXPECT_EQ(mbuf->ol_flags, 0U);
  EXPECT_EQ(faults(bytes_of_mbuf(*mbuf), false), "");
}

TEST(MakeVirtioHeader, IsWhatTakeUnderstands) {
  for (const Frame& each : {kTcp4, kTcp6, kUdp4}) {
    for (const std::uint16_t segment : {0, 1400}) {
      if (segment != 0 && each.protocol != 6) continue;
      const Frame frame = each.with_payload(segment == 0 ? 100 : 9000);
      const Mbuf sent = mbuf_of(frame_bytes(frame));
      sent->ol_flags = (each.protocol == 6 ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM) |
                       (each.v4() ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6) |
                       (segment != 0 ? RTE_MBUF_F_TX_TCP_SEG : 0);
      sent->tso_segsz = segment;
      VirtioHeader header;
      ASSERT_TRUE(io::make_virtio_header(*sent, header));
      const Mbuf received = mbuf_of(frame_bytes(frame));
      ASSERT_TRUE(io::take_virtio_header(header, *received));
      EXPECT_EQ(received->ol_flags, sent->ol_flags);
      EXPECT_EQ(received->tso_segsz, sent->tso_segsz);
      EXPECT_EQ(header.hdr_len, segment == 0 ? 0 : (each.v4() ? 54 : 74));
    }
  }
}

TEST(MakeVirtioHeader, RefusesFlagsThatTheFrameCannotCarry) {
  VirtioHeader header;
  const Mbuf tcp_mbuf = mbuf_of(frame_bytes(kTcp4.with_payload(9000)));
  tcp_mbuf->ol_flags = RTE_MBUF_F_TX_UDP_CKSUM;
  EXPECT_FALSE(io::make_virtio_header(*tcp_mbuf, header));
  tcp_mbuf->ol_flags = RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM;
  tcp_mbuf->tso_segsz = 0;
  EXPECT_FALSE(io::make_virtio_header(*tcp_mbuf, header));
  const Mbuf udp_mbuf = mbuf_of(frame_bytes(kUdp4.with_payload(9000)));
  udp_mbuf->ol_flags = RTE_MBUF_F_TX_TCP_SEG;
  udp_mbuf->tso_segsz = 1400;
  EXPECT_FALSE(io::make_virtio_header(*udp_mbuf, header));
}

}  // namespace
}  // namespace podwire::test
