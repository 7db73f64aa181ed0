#include "dataplane/io/segment.h"

#include <gtest/gtest.h>

#include "dataplane/io/mempool.h"
#include "dataplane/net/headers.h"
#include "tests/io/frames.h"

namespace podwire::test {
namespace {

constexpr std::uint8_t kCwr = 0x80, kFin = 1, kPsh = 8, kAck = 16;

struct Shape {
  const char* name;
  Frame frame;
  unsigned l3, header;  // of the innermost IP header, and all headers together
};

std::vector<Shape> shapes() {
  const Frame v4 = addressed(tcp("10.1.0.1", 40000, "10.1.0.2", 80, "A").with_id(65530));
  const Frame v6 = addressed(tcp("fd00::1", 40000, "fd00::2", 80, "A"));
  return {{"v4", v4, 14, 14 + 20 + 20},
          {"v6", v6, 14, 14 + 40 + 20},
          {"ipip", v4.through("192.0.2.1", "192.0.2.2"), 34, 14 + 20 + 20 + 20}};
}

Mbuf super_frame(const Frame& frame, std::uint16_t size, std::size_t first = 0) {
  Mbuf mbuf = mbuf_of(frame_bytes(frame.with_partial_checksum()), first);
  mbuf->ol_flags = RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM |
                   (frame.v4() ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6);
  mbuf->tso_segsz = size;
  return mbuf;
}

std::vector<Bytes> cut(const rte_mbuf& frame) {
  io::Segmentation segments(frame, packets());
  std::vector<Bytes> out;
  if (!segments.valid()) return out;
  const unsigned announced = segments.left();
  while (segments.left() > 0) {
    const Mbuf segment(segments.next());
    if (segment == nullptr) {
      ADD_FAILURE() << "no buffer";
      break;
    }
    EXPECT_EQ(segment->nb_segs, (segment->pkt_len + io::kPacketBytes - 1) / io::kPacketBytes);
    EXPECT_EQ(segment->ol_flags, 0U);
    out.push_back(bytes_of_mbuf(*segment));
  }
  EXPECT_EQ(out.size(), announced);
  return out;
}

std::uint32_t read32(const Bytes& bytes, std::size_t at) {
  return std::uint32_t{bytes[at]} << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3];
}
std::uint16_t read16(const Bytes& bytes, std::size_t at) {
  return static_cast<std::uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}

// Zeroes what may differ between the segments of one frame, so that the rest can be compared.
Bytes without_varying(Bytes header, const Shape& shape) {
  const auto clear = [&](std::size_t at, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) header[at + i] = 0;
  };
  if (shape.l3 != 14) {
    clear(14 + 2, 4);   // outer length, id
    clear(14 + 10, 2);  // outer checksum
  }
  if (shape.frame.v4()) {
    clear(shape.l3 + 2, 4);
    clear(shape.l3 + 10, 2);
  } else {
    clear(shape.l3 + 4, 2);
  }
  clear(shape.header - 20 + 4, 4);   // sequence
  clear(shape.header - 20 + 13, 1);  // flags
  clear(shape.header - 20 + 16, 2);  // checksum
  return header;
}

TEST(Segmentation, GivesBackThePayloadInOrderWithRightHeaders) {
  for (const Shape& shape : shapes()) {
    for (const std::size_t payload : {1449, 2896, 5000, 30001, 61000}) {
      for (const std::uint16_t size : {48, 536, 1440, 8900, 16001}) {
        SCOPED_TRACE(std::string(shape.name) + " " + std::to_string(payload) + "/" +
                     std::to_string(size));
        if (payload / size > 1300) continue;
        const Frame frame = shape.frame.with_payload(payload);
        const Bytes whole = frame_bytes(frame.with_partial_checksum());
        // An odd first segment makes the copies and sums straddle the buffers.
        const Mbuf mbuf = super_frame(frame, size, shape.header + 333);
        const auto segments = cut(*mbuf);
        ASSERT_EQ(segments.size(), (payload + size - 1) / size);
        Bytes joined;
        for (std::size_t i = 0; i < segments.size(); ++i) {
          const Bytes& segment = segments[i];
          ASSERT_EQ(faults(segment, false), "");
          ASSERT_EQ(read32(segment, shape.header - 16),
                    read32(whole, shape.header - 16) + i * size);
          const Bytes header(segment.begin(), segment.begin() + shape.header);
          ASSERT_EQ(without_varying(header, shape),
                    without_varying({whole.begin(), whole.begin() + shape.header}, shape));
          if (frame.v4()) {
            ASSERT_EQ(read16(segment, shape.l3 + 4),
                      static_cast<std::uint16_t>(read16(whole, shape.l3 + 4) + i));
          }
          joined.insert(joined.end(), segment.begin() + shape.header, segment.end());
        }
        ASSERT_EQ(joined, frame.payload);
      }
    }
  }
}

TEST(Segmentation, SetsFinAndPushOnTheLastAndCwrOnTheFirstOnly) {
  for (const Shape& shape : shapes()) {
    Frame frame = shape.frame.with_payload(3000);
    frame.tcp_flags = kAck | kPsh | kFin | kCwr;
    const auto segments = cut(*super_frame(frame, 1000));
    ASSERT_EQ(segments.size(), 3U);
    const std::size_t flags = shape.header - 20 + 13;
    EXPECT_EQ(segments[0][flags], kAck | kCwr);
    EXPECT_EQ(segments[1][flags], kAck);
    EXPECT_EQ(segments[2][flags], kAck | kPsh | kFin);
  }
}

TEST(Segmentation, RefusesWhatCannotBeCut) {
  const Frame frame = addressed(tcp("10.1.0.1", 1, "10.1.0.2", 2, "A")).with_payload(5000);
  EXPECT_FALSE(io::Segmentation(*super_frame(frame, 0), packets()).valid()) << "no segment size";
  EXPECT_FALSE(io::Segmentation(*super_frame(frame.with_payload(0), 1000), packets()).valid());
  const Frame other = addressed(udp("10.1.0.1", 1, "10.1.0.2", 2)).with_payload(5000);
  EXPECT_FALSE(io::Segmentation(*super_frame(other, 1000), packets()).valid()) << "not TCP";
  // The headers end beyond the first buffer.
  EXPECT_FALSE(io::Segmentation(*super_frame(frame, 1000, 40), packets()).valid());
}

TEST(Segmentation, StopsWithoutLeakWhenBuffersRunOut) {
  const Mbuf frame =
      super_frame(addressed(tcp("10.1.0.1", 1, "10.1.0.2", 2, "A")).with_payload(5000), 1000);
  std::vector<Mbuf> hoard;
  while (rte_mempool_avail_count(&packets()) > 2) hoard.emplace_back(rte_pktmbuf_alloc(&packets()));
  io::Segmentation segments(*frame, packets());
  ASSERT_TRUE(segments.valid());
  const Mbuf first(segments.next()), second(segments.next());
  EXPECT_NE(second, nullptr);
  EXPECT_EQ(segments.next(), nullptr);
  EXPECT_EQ(segments.left(), 3U);
}

TEST(Segmentation, KeepsNoBufferOfASegmentThatIsNotWhole) {
  const Mbuf frame =
      super_frame(addressed(tcp("10.1.0.1", 1, "10.1.0.2", 2, "A")).with_payload(9000), 8900);
  std::vector<Mbuf> hoard;
  while (rte_mempool_avail_count(&packets()) > 2) hoard.emplace_back(rte_pktmbuf_alloc(&packets()));
  io::Segmentation segments(*frame, packets());
  ASSERT_TRUE(segments.valid());
  EXPECT_EQ(segments.next(), nullptr);
  EXPECT_EQ(segments.left(), 2U);
  EXPECT_EQ(rte_mempool_avail_count(&packets()), 2U);
}

TEST(CompleteChecksum, IsRightForEveryProtocolFamilyAndSplit) {
  const std::vector<Frame> frames{
      addressed(tcp("10.1.0.1", 1, "10.1.0.2", 2, "SA")),
      addressed(tcp("fd00::1", 1, "fd00::2", 2, "A")),
      addressed(udp("10.1.0.1", 1, "10.1.0.2", 2)),
      addressed(udp("fd00::1", 1, "fd00::2", 2)),
      addressed(tcp("10.1.0.1", 1, "10.1.0.2", 2, "A")).through("192.0.2.1", "192.0.2.2"),
      addressed(udp("10.1.0.1", 1, "10.1.0.2", 2)).through("192.0.2.1", "192.0.2.2")};
  for (const Frame& each : frames) {
    for (const std::size_t payload : {0, 1, 2, 777, 1400}) {
      for (const std::size_t first : {0, 99, 100}) {
        const Frame frame = each.with_payload(payload);
        const Mbuf mbuf = mbuf_of(frame_bytes(frame.with_partial_checksum()), first);
        mbuf->ol_flags = each.protocol == 6 ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM;
        ASSERT_TRUE(io::complete_checksum(*mbuf));
        EXPECT_EQ(mbuf->ol_flags & RTE_MBUF_F_TX_L4_MASK, 0U);
        EXPECT_EQ(faults(bytes_of_mbuf(*mbuf), false), "");
        const auto layout = io::layout_of(*mbuf);
        ASSERT_TRUE(layout);
        EXPECT_TRUE(io::checksum_holds(*mbuf, *layout));
        if (payload == 0) continue;
        auto* last = rte_pktmbuf_lastseg(mbuf.get());
        *rte_pktmbuf_mtod_offset(last, std::uint8_t*, last->data_len - 1) ^= 1;
        EXPECT_FALSE(io::checksum_holds(*mbuf, *layout));
      }
    }
  }
}

TEST(CompleteChecksum, RefusesAProtocolThatTheFrameIsNot) {
  const Mbuf mbuf = mbuf_of(frame_bytes(addressed(tcp("10.1.0.1", 1, "10.1.0.2", 2, "A"))));
  mbuf->ol_flags = RTE_MBUF_F_TX_UDP_CKSUM;
  EXPECT_FALSE(io::complete_checksum(*mbuf));
  const Mbuf ping_mbuf = mbuf_of(frame_bytes(addressed(ping("10.1.0.1", "10.1.0.2", 1))));
  ping_mbuf->ol_flags = RTE_MBUF_F_TX_TCP_CKSUM;
  EXPECT_FALSE(io::complete_checksum(*ping_mbuf));
}

TEST(CompleteChecksum, NeverSendsAUdpChecksumOfZero) {
  // Among 65,536 payloads one has the sum that would come out as zero (RFC 768).
  Frame frame = addressed(udp("10.1.0.1", 1, "10.1.0.2", 2)).with_payload(2);
  unsigned all_ones = 0;
  for (unsigned value = 0; value < 0x10000; ++value) {
    frame.payload = {static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)};
    const Mbuf mbuf = mbuf_of(frame_bytes(frame.with_partial_checksum()));
    mbuf->ol_flags = RTE_MBUF_F_TX_UDP_CKSUM;
    ASSERT_TRUE(io::complete_checksum(*mbuf));
    const std::uint16_t checksum = read16(bytes_of_mbuf(*mbuf), 14 + 20 + 6);
    ASSERT_NE(checksum, 0);
    if (checksum == 0xffff) ++all_ones;
  }
  EXPECT_EQ(all_ones, 1U);
}

TEST(CopiedIntoOne, KeepsBytesAndFlagsAndRefusesWhatDoesNotFit) {
  const Bytes bytes =
      frame_bytes(addressed(tcp("10.1.0.1", 1, "10.1.0.2", 2, "A")).with_payload(1300));
  const Mbuf chain = mbuf_of(bytes, 100);
  chain->ol_flags = RTE_MBUF_F_TX_TCP_CKSUM;
  const Mbuf copy(io::copied_into_one(*chain, packets()));
  ASSERT_NE(copy, nullptr);
  EXPECT_EQ(copy->nb_segs, 1);
  EXPECT_EQ(copy->ol_flags, chain->ol_flags);
  EXPECT_EQ(bytes_of_mbuf(*copy), bytes);
  const Mbuf big = mbuf_of(Bytes(4000));
  EXPECT_EQ(io::copied_into_one(*big, packets()), nullptr);
}

}  // namespace
}  // namespace podwire::test
