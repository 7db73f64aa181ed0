#include "dataplane/io/merge.h"

#include <gtest/gtest.h>

#include "dataplane/io/segment.h"
#include "tests/io/frames.h"

namespace podwire::test {
namespace {

using Frames = std::vector<rte_mbuf*>;

const Frame kV4 = addressed(tcp("10.1.0.1", 40000, "10.1.0.2", 80, "A"));
const Frame kV6 = addressed(tcp("fd00::1", 40000, "fd00::2", 80, "A"));

// The frame cut into segments of `size`; complete ones, as from a wire.
Frames cut(const Frame& frame, std::uint16_t size) {
  const Mbuf whole = mbuf_of(frame_bytes(frame.with_partial_checksum()));
  whole->tso_segsz = size;
  io::Segmentation segments(*whole, packets());
  Frames out;
  while (segments.left() > 0) out.push_back(segments.next());
  return out;
}

unsigned in_use() {
  return rte_mempool_in_use_count(&packets());
}

// Merges all of it, group by group; how many frames went into each.
std::vector<unsigned> merge_all(Frames frames) {
  std::vector<unsigned> groups;
  for (std::size_t i = 0; i < frames.size();) {
    const unsigned merged = io::merge_front(std::span(frames).subspan(i));
    groups.push_back(merged);
    EXPECT_EQ(frames[i]->nb_segs, merged);
    rte_pktmbuf_free(frames[i]);
    i += merged;
  }
  return groups;
}

TEST(MergeFront, UndoesSegmentation) {
  const unsigned before = in_use();
  for (const Frame& each : {kV4, kV4.with_id(65530), kV4.with_dont_fragment(), kV6}) {
    for (const std::size_t payload : {1401, 2800, 30001, 60000}) {
      Frame frame = each.with_payload(payload);
      frame.tcp_flags |= 8;  // PSH on the last
      Frames segments = cut(frame, 1400);
      const unsigned merged = io::merge_front(segments);
      ASSERT_EQ(merged, segments.size());
      const rte_mbuf& whole = *segments[0];
      EXPECT_EQ(whole.tso_segsz, 1400);
      EXPECT_EQ(whole.ol_flags, RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM |
                                    (frame.v4() ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6));
      EXPECT_EQ(whole.pkt_len, bytes_of_mbuf(whole).size());
      EXPECT_EQ(bytes_of_mbuf(whole), frame_bytes(frame.with_partial_checksum()));
      rte_pktmbuf_free(segments[0]);
    }
  }
  EXPECT_EQ(in_use(), before);
}

TEST(MergeFront, StaysBelowTheLargestFrame) {
  Frames segments = cut(kV4.with_payload(60000), 1400);
  const Frame behind = [] {
    Frame frame = kV4.with_payload(30 * 1400);
    frame.sequence += 60000;
    return frame;
  }();
  rte_pktmbuf_free(segments.back());  // so that all have 1,400 bytes
  segments.pop_back();
  for (rte_mbuf* segment : cut(behind, 1400)) segments.push_back(segment);
  const auto groups = merge_all(segments);
  EXPECT_LE(groups[0] * 1400 + 40, 61440U);
  EXPECT_GT(groups[0], 40U);
}

// Each case changes the second of three segments; what may still be merged is said.
TEST(MergeFront, KeepsApartWhatIsNotOneStream) {
  const struct {
    const char* name;
    std::size_t at;  // byte of the frame, changed by `by`; checksums are made right again
    std::uint8_t by;
    std::vector<unsigned> groups;
  } cases[] = {
      {"nothing", 0, 0, {3}},
      {"Ethernet source", 11, 1, {1, 1, 1}},
      {"tos", 15, 4, {1, 1, 1}},
      {"ttl", 22, 1, {1, 1, 1}},
      {"source address", 29, 1, {1, 1, 1}},
      {"destination address", 33, 1, {1, 1, 1}},
      {"source port", 35, 1, {1, 1, 1}},
      {"destination port", 37, 1, {1, 1, 1}},
      {"sequence", 41, 1, {1, 1, 1}},
      {"acknowledgement", 45, 1, {1, 1, 1}},
      {"FIN", 47, 1, {1, 1, 1}},
      {"SYN", 47, 2, {1, 1, 1}},
      {"RST", 47, 4, {1, 1, 1}},
      {"PSH", 47, 8, {2, 1}},
      {"URG", 47, 32, {1, 1, 1}},
      {"CWR", 47, 128, {1, 1, 1}},
      {"window", 48, 1, {1, 1, 1}},
      {"identification", 18, 1, {1, 1, 1}},
  };
  for (const auto& c : cases) {
    Frames segments = cut(kV4.with_payload(3000), 1000);
    ASSERT_EQ(segments.size(), 3U);
    auto* bytes = rte_pktmbuf_mtod(segments[1], std::uint8_t*);
    bytes[c.at] = static_cast<std::uint8_t>(bytes[c.at] + c.by);
    segments[1]->ol_flags = RTE_MBUF_F_TX_TCP_CKSUM;
    ASSERT_TRUE(io::complete_checksum(*segments[1]));
    EXPECT_EQ(merge_all(segments), c.groups) << c.name;
  }
}

TEST(MergeFront, EndsWithAShortSegmentAndBeforeALongerOne) {
  const auto behind = [](std::uint32_t offset, std::size_t payload) {
    Frame frame = kV4.with_dont_fragment().with_payload(payload);
    frame.sequence += offset;
    return mbuf_of(frame_bytes(frame)).release();
  };
  EXPECT_EQ(merge_all({behind(0, 1000), behind(1000, 500), behind(1500, 500), behind(2000, 1000)}),
            (std::vector<unsigned>{2, 1, 1}));
}

TEST(MergeFront, NeverHidesAWrongChecksum) {
  for (unsigned wrong = 0; wrong < 3; ++wrong) {
    Frames segments = cut(kV4.with_payload(3000), 1000);
    *rte_pktmbuf_mtod_offset(segments[wrong], std::uint8_t*, 500) ^= 1;
    const Bytes damaged = bytes_of_mbuf(*segments[wrong]);
    std::vector<Bytes> alone;
    for (std::size_t i = 0; i < 3;) {
      const unsigned merged = io::merge_front(std::span(segments).subspan(i));
      if (merged == 1) alone.push_back(bytes_of_mbuf(*segments[i]));
      rte_pktmbuf_free(segments[i]);
      i += merged;
    }
    EXPECT_NE(std::find(alone.begin(), alone.end(), damaged), alone.end());
  }
}

TEST(MergeFront, LeavesOtherFramesAsTheyAre) {
  const std::vector<Frame> frames{kV4, addressed(udp("10.1.0.1", 1, "10.1.0.2", 2)).with_payload(9),
                                  addressed(ping("10.1.0.1", "10.1.0.2", 1)),
                                  kV4.with_payload(90).through("192.0.2.1", "192.0.2.2")};
  for (const Frame& frame : frames) {
    const Bytes bytes = frame_bytes(frame);
    Mbuf a = mbuf_of(bytes), b = mbuf_of(bytes);
    Frames both{a.get(), b.get()};
    EXPECT_EQ(io::merge_front(both), 1U);
    EXPECT_EQ(bytes_of_mbuf(*a), bytes);
    EXPECT_EQ(a->ol_flags, 0U);
  }
  // Ethernet padding behind the packet is no payload.
  Bytes padded = frame_bytes(kV4.with_payload(2));
  padded.resize(padded.size() + 4);
  Mbuf a = mbuf_of(padded), b = mbuf_of(padded);
  Frames both{a.get(), b.get()};
  EXPECT_EQ(io::merge_front(both), 1U);
}

}  // namespace
}  // namespace podwire::test
