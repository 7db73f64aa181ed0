#include "bench/ports/frame_maker.h"

#include <gtest/gtest.h>

#include "bench/ports/frame_reader.h"
#include "tests/lib/frame.h"

namespace podwire::ports {
namespace {

using net::Family;

struct Case {
  Family family;
  std::uint8_t protocol;
  unsigned size;
};

FlowTuple tuple_of(Family family) {
  const bool v4 = family == Family::v4;
  return {*net::Address::parse(v4 ? "198.18.0.7" : "fd00:198:18::7"),
          *net::Address::parse(v4 ? "203.0.113.9" : "fd00:203:113::9"), net::be16(40001),
          net::be16(80)};
}

// As a buffer of the transmit pool: padding everywhere.
test::Bytes made(const Case& c, const Stamp& stamp) {
  test::Bytes frame(c.size - kFcs, kPadding);
  const FrameMaker maker({c.family, c.protocol}, net::Mac{{2, 0, 0, 0, 0, 2}},
                         net::Mac{{2, 0, 0, 0, 0, 1}});
  maker.make(frame.data(), c.size - kFcs, tuple_of(c.family), stamp);
  return frame;
}

class FrameMakerEach : public testing::TestWithParam<Case> {};

INSTANTIATE_TEST_SUITE_P(All, FrameMakerEach,
                         testing::Values(Case{Family::v4, 17, 64}, Case{Family::v4, 17, 65},
                                         Case{Family::v4, 17, 1518}, Case{Family::v4, 6, 76},
                                         Case{Family::v4, 6, 1517}, Case{Family::v6, 17, 84},
                                         Case{Family::v6, 17, 9000}, Case{Family::v6, 6, 96},
                                         Case{Family::v6, 6, 571}),
                         [](const auto& info) {
                           return std::string(info.param.protocol == 17 ? "udp" : "tcp") +
                                  (info.param.family == Family::v4 ? "4_" : "6_") +
                                  std::to_string(info.param.size);
                         });

// The checksums are computed a second time by the tests' own slow code.
TEST_P(FrameMakerEach, HasRightLengthsAndChecksums) {
  for (std::uint32_t i = 0; i < 500; ++i) {
    const Stamp stamp{Stamp::kMark, static_cast<std::uint8_t>(i), i * 2654435761U, i,
                      0x0123456789abcdefULL * (i + 1)};
    EXPECT_EQ(test::faults(made(GetParam(), stamp), false), "") << "stamp " << i;
  }
}

TEST_P(FrameMakerEach, ReaderFindsWhatWasWritten) {
  const Stamp stamp{Stamp::kMark, 5, 77, 123456, 987654321};
  const auto frame = made(GetParam(), stamp);
  const Received received = read_frame(frame.data(), static_cast<unsigned>(frame.size()));
  ASSERT_EQ(received.seen, Seen::test);
  EXPECT_FALSE(received.tunnelled);
  EXPECT_EQ(received.tuple, tuple_of(GetParam().family));
  EXPECT_EQ(received.stamp.flow, 77U);
  EXPECT_EQ(received.stamp.sequence, 123456U);
  EXPECT_EQ(received.stamp.sent_at, 987654321U);
}

TEST_P(FrameMakerEach, ReaderSeesEveryBitThatIsWrong) {
  const auto whole = made(GetParam(), {});
  for (std::size_t at = sizeof(net::Ethernet); at < std::min<std::size_t>(whole.size(), 120);
       ++at) {
    auto frame = whole;
    frame[at] ^= 0x10;
    const auto length = static_cast<unsigned>(frame.size());
    EXPECT_TRUE(read_frame(frame.data(), length).seen != Seen::test ||
                // Traffic class, flow label and hop limit have no checksum.
                (GetParam().family == Family::v6 && (at < 18 || at == 21)))
        << "byte " << at;
  }
}

TEST(FrameMaker, NeverSendsUdpWithoutChecksum) {
  // Among 200,000 stamps some sum up to what a checksum of zero would be.
  unsigned all_ones = 0;
  for (std::uint32_t i = 0; i < 200'000; ++i) {
    const auto frame = made({Family::v4, 17, 64}, {Stamp::kMark, 0, 0, i, 0});
    EXPECT_FALSE(frame[40] == 0 && frame[41] == 0);
    all_ones += frame[40] == 0xff && frame[41] == 0xff;
  }
  EXPECT_GT(all_ones, 0U);
}

TEST(FrameMaker, LeastSizesHoldTheStamp) {
  EXPECT_EQ((FrameShape{Family::v4, 17}.least_size()), 64U);
  EXPECT_EQ((FrameShape{Family::v4, 6}.least_size()), 76U);
  EXPECT_EQ((FrameShape{Family::v6, 17}.least_size()), 84U);
  EXPECT_EQ((FrameShape{Family::v6, 6}.least_size()), 96U);
}

TEST(FrameReader, ReadsThroughOneTunnel) {
  const auto inner = made({Family::v4, 17, 64}, {Stamp::kMark, 1, 2, 3, 4});
  auto frame =
      test::udp("198.18.0.7", 40001, "203.0.113.9", 80).through("172.18.0.11", "172.18.0.12");
  const test::Bytes packet(inner.begin() + sizeof(net::Ethernet) + sizeof(net::Ipv4), inner.end());
  frame.raw = packet;
  const auto bytes = test::frame_bytes(frame);
  const Received received = read_frame(bytes.data(), static_cast<unsigned>(bytes.size()));
  EXPECT_EQ(received.seen, Seen::test);
  EXPECT_TRUE(received.tunnelled);
  EXPECT_EQ(received.tuple, tuple_of(Family::v4));
  EXPECT_EQ(received.stamp.sequence, 3U);
}

TEST(FrameReader, SurvivesEveryTruncation) {
  for (const Case& c : {Case{Family::v4, 17, 128}, Case{Family::v6, 6, 128}}) {
    const auto whole = made(c, {});
    for (std::size_t length = 0; length < whole.size(); ++length) {
      const test::Bytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
      EXPECT_NE(read_frame(part.data(), static_cast<unsigned>(length)).seen, Seen::test);
    }
  }
}

TEST(FrameReader, CallsOtherTrafficForeign) {
  const auto ping = test::frame_bytes(test::ping("198.18.0.7", "203.0.113.9", 1));
  EXPECT_EQ(read_frame(ping.data(), static_cast<unsigned>(ping.size())).seen, Seen::foreign);
  const auto other =
      test::frame_bytes(test::udp("198.18.0.7", 1, "203.0.113.9", 2).with_payload(100));
  EXPECT_EQ(read_frame(other.data(), static_cast<unsigned>(other.size())).seen, Seen::foreign);
}

}  // namespace
}  // namespace podwire::ports
