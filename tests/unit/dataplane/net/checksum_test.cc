#include "dataplane/net/checksum.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace podwire::net {
namespace {

// RFC 1071 written down word by word, in network order: shares nothing with what it checks.
std::uint16_t slow_checksum(const std::vector<std::uint8_t>& bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); i += 2) {
    const unsigned low = i + 1 < bytes.size() ? bytes[i + 1] : 0U;
    sum += static_cast<std::uint32_t>(bytes[i] << 8U) + low;
    if (sum > 0xffff) sum -= 0xffff;
  }
  return static_cast<std::uint16_t>(~sum);
}

std::vector<std::uint8_t> random_bytes(std::mt19937& random, std::size_t size) {
  std::vector<std::uint8_t> bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
  return bytes;
}

TEST(Checksum, MatchesTheExampleOfRfc1071) {
  const std::vector<std::uint8_t> bytes{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  EXPECT_EQ(checksum_of(add_sum(0, bytes.data(), bytes.size())).host(), 0x220d);
}

TEST(Checksum, MatchesWordByWordSumForEveryLength) {
  std::mt19937 random(1);
  for (std::size_t size = 0; size < 200; ++size) {
    const auto bytes = random_bytes(random, size);
    EXPECT_EQ(checksum_of(add_sum(0, bytes.data(), size)).host(), slow_checksum(bytes)) << size;
  }
}

TEST(Checksum, AddsUpOverPartsAtEvenOffsets) {
  std::mt19937 random(2);
  const auto bytes = random_bytes(random, 65535);
  std::uint64_t sum = add_sum(0, bytes.data(), 1000);
  sum = add_sum(sum, bytes.data() + 1000, bytes.size() - 1000);
  EXPECT_EQ(checksum_of(sum).host(), slow_checksum(bytes));
}

TEST(Checksum, UpdateByIncrementEqualsWholeSum) {
  std::mt19937 random(3);
  for (int round = 0; round < 20000; ++round) {
    auto bytes = random_bytes(random, 40);
    // Words of all zeros and all ones are where increments go wrong (RFC 1624 section 3).
    for (std::size_t at = 0; at < 40; at += 2) {
      const auto draw = random() % 4;
      if (draw < 2) bytes[at] = bytes[at + 1] = draw == 0 ? 0x00 : 0xff;
    }
    bytes[39] |= 1;  // a header is never all zeros
    const be16 before(slow_checksum(bytes));
    auto changed = bytes;
    const auto words = random_bytes(random, 6);
    const auto draw = random() % 3;
    for (std::size_t i = 0; i < 6; ++i) {
      changed[12 + i] = draw == 0 ? words[i] : (draw == 1 ? 0x00 : 0xff);
    }
    Delta delta;
    std::uint32_t old32, new32;
    std::memcpy(&old32, &bytes[12], 4);
    std::memcpy(&new32, &changed[12], 4);
    std::uint16_t old16, new16;
    std::memcpy(&old16, &bytes[16], 2);
    std::memcpy(&new16, &changed[16], 2);
    delta.change(be32::from_raw(old32), be32::from_raw(new32));
    delta.change(be16::from_raw(old16), be16::from_raw(new16));
    EXPECT_EQ(updated_checksum(before, delta.folded()).host(), slow_checksum(changed));
    EXPECT_EQ(updated_sum(be16::from_raw(static_cast<std::uint16_t>(~before.raw())), delta.folded())
                  .host(),
              static_cast<std::uint16_t>(~slow_checksum(changed)));
  }
}

TEST(Checksum, DeltaOfAnIpv6AddressEqualsThatOfItsWords) {
  std::mt19937 random(4);
  const auto before = random_bytes(random, 16), after = random_bytes(random, 16);
  Delta whole, words;
  whole.change(before.data(), after.data(), 16);
  for (std::size_t i = 0; i < 16; i += 2) {
    std::uint16_t a, b;
    std::memcpy(&a, &before[i], 2);
    std::memcpy(&b, &after[i], 2);
    words.change(be16::from_raw(a), be16::from_raw(b));
  }
  EXPECT_EQ(whole.folded(), words.folded());
}

TEST(Checksum, UdpWithoutChecksumStaysWithout) {
  EXPECT_EQ(updated_udp_checksum(be16{}, 0x1234).raw(), 0);
}

TEST(Checksum, UdpNeverBecomesZeroByIncrement) {
  // ~HC + delta = 0xffff gives zero, which would mean "no checksum".
  const be16 before = be16::from_raw(0x1234);
  const auto delta = static_cast<std::uint16_t>(0xffff - static_cast<std::uint16_t>(~0x1234));
  EXPECT_EQ(updated_checksum(before, delta).raw(), 0);
  EXPECT_EQ(updated_udp_checksum(before, delta).raw(), 0xffff);
}

TEST(Checksum, PseudoHeaderSumsLengthAndProtocol) {
  const std::vector<std::uint8_t> source{10, 0, 0, 1}, destination{10, 0, 0, 2};
  const std::vector<std::uint8_t> whole{10, 0, 0, 1, 10, 0, 0, 2, 0, 17, 0x12, 0x34};
  const auto sum = pseudo_header_sum(source.data(), destination.data(), 4, 17, 0x1234);
  EXPECT_EQ(checksum_of(sum).host(), slow_checksum(whole));
}

}  // namespace
}  // namespace podwire::net
