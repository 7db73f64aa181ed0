// TapPort's way with frames, without a device: the other end of a socket that keeps messages apart
// plays the kernel, so that it can say what a kernel would not. Each test runs twice: a system call
// a frame, and through io_uring.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "dataplane/io/call_batch.h"
#include "dataplane/io/segment.h"
#include "dataplane/io/tap.h"
#include "dataplane/io/virtio_header.h"
#include "tests/io/frames.h"

namespace podwire::test {
namespace {

using io::VirtioHeader;

class TapFrames : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    buffers_ = pool_buffers_in_use();
    int both[2] = {-1, -1};
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both), 0);
    kernel_ = both[1];
    // The kernel's queue is long; it takes some hundred frames.
    constexpr int kQueue = 8 << 20, kTaken = 200 << 10;
    setsockopt(kernel_, SOL_SOCKET, SO_SNDBUFFORCE, &kQueue, sizeof kQueue);
    setsockopt(both[0], SOL_SOCKET, SO_SNDBUFFORCE, &kTaken, sizeof kTaken);
    port_ = std::make_unique<io::TapPort>(std::vector<int>{both[0]}, packets(), large(), "tap");
    if (!GetParam()) return;
    calls_ = open_batch();
    if (calls_ == nullptr) GTEST_SKIP();
    io::CallBatch::use(calls_.get());
  }
  void TearDown() override {
    calls_.reset();
    port_.reset();
    close(kernel_);
    EXPECT_EQ(pool_buffers_in_use(), buffers_);
  }

  // What the kernel would queue.
  void queue(const VirtioHeader& header, const Bytes& frame) const {
    Bytes message(sizeof header + frame.size());
    std::memcpy(message.data(), &header, sizeof header);
    std::copy(frame.begin(), frame.end(), message.begin() + sizeof header);
    ASSERT_EQ(write(kernel_, message.data(), message.size()), ssize_t(message.size()));
  }
  // What the port has sent, with its header; empty when there is no more.
  Bytes sent() const {
    Bytes message(70000);
    const ssize_t length = read(kernel_, message.data(), message.size());
    message.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
    return message;
  }
  static Bytes without_header(const Bytes& message) {
    return {message.begin() + sizeof(VirtioHeader), message.end()};
  }
  // Everything that is queued, in bursts of at most `most`; frames are freed.
  std::vector<Bytes> receive_all(unsigned most = 64) const {
    std::vector<Bytes> out;
    std::vector<rte_mbuf*> frames(most);
    while (const unsigned count = port_->receive(0, frames)) {
      for (unsigned i = 0; i < count; ++i) {
        out.push_back(bytes_of_mbuf(*frames[i]));
        rte_pktmbuf_free(frames[i]);
      }
    }
    return out;
  }
  // Two bursts, after which many are expected: only then reads are batched.
  void expect_many() const {
    for (unsigned burst = 0; burst < 2; ++burst) {
      for (unsigned i = 0; i < 64; ++i) queue({}, numbered(i, 60));
      EXPECT_EQ(receive_all().size(), 64U);
    }
  }
  static Bytes numbered(unsigned number, std::size_t bytes) {
    Frame frame = addressed(udp("10.1.0.1", 1000, "10.1.0.2", 53)).with_payload(bytes - 42);
    frame.source_port = static_cast<std::uint16_t>(number + 1);
    return frame_bytes(frame);
  }

  int kernel_ = -1;
  unsigned buffers_ = 0;
  std::unique_ptr<io::TapPort> port_;
  std::unique_ptr<io::CallBatch> calls_;
};
INSTANTIATE_TEST_SUITE_P(Taps, TapFrames, testing::Bool(), [](const auto& info) {
  return std::string(info.param ? "Batched" : "OneByOne");
});

TEST_P(TapFrames, ComeWholeAndInOrderWhateverTheBurst) {
  constexpr std::size_t kSizes[] = {60, 1514, 2048, 2049, 2100, 9000, 61454};
  for (const unsigned count : {1, 3, 4, 5, 8, 9, 31, 64, 65, 100, 64, 64, 7, 64, 2, 40}) {
    std::vector<Bytes> expected;
    for (unsigned i = 0; i < count; ++i) {
      expected.push_back(numbered(i, i % 9 == 0 ? kSizes[(i / 9 + count) % 7] : 60 + i));
      queue({}, expected.back());
    }
    EXPECT_EQ(receive_all(), expected) << count;
  }
  EXPECT_EQ(port_->extra().missed, 0U);
}

TEST_P(TapFrames, ThatContradictTheirHeaderAreLostAlone) {
  expect_many();
  const Bytes stream = frame_bytes(addressed(tcp("10.1.0.1", 1, "10.1.0.2", 80, "A"))
                                       .with_payload(5000)
                                       .with_partial_checksum());
  VirtioHeader wrong;
  wrong.flags = VirtioHeader::kNeedsChecksum;
  wrong.gso_type = VirtioHeader::kTcpV4;
  wrong.csum_start = 34;
  wrong.csum_offset = 16;
  wrong.gso_size = 1;  // thousands of segments
  std::vector<Bytes> expected;
  unsigned missed = 0;
  for (unsigned i = 0; i < 64; ++i) {
    if (i % 5 == 0) {
      queue(wrong, stream);
      ++missed;
    } else if (i % 7 == 0) {  // no frame behind the header, or not even one
      queue({}, {});
      ++missed;
    } else {
      expected.push_back(numbered(i, 100));
      queue({}, expected.back());
    }
  }
  const char runt[5] = {};
  ASSERT_EQ(write(kernel_, runt, sizeof runt), ssize_t(sizeof runt));
  EXPECT_EQ(receive_all(), expected);
  EXPECT_EQ(port_->extra().missed, missed + 1);
}

TEST_P(TapFrames, WaitInTheKernelWhileThereAreNoBuffers) {
  expect_many();
  std::vector<rte_mbuf*> taken;
  while (rte_mbuf* buffer = rte_pktmbuf_alloc(&large())) taken.push_back(buffer);
  std::vector<Bytes> expected;
  for (unsigned i = 0; i < 48; ++i) {
    expected.push_back(numbered(i, i % 6 == 0 ? 5000 : 80));
    queue({}, expected.back());
  }
  std::array<rte_mbuf*, 64> frames;
  EXPECT_EQ(port_->receive(0, frames), 0U);
  for (unsigned i = 0; i < 6; ++i) {  // fewer than are wanted
    rte_pktmbuf_free(taken.back());
    taken.pop_back();
  }
  EXPECT_EQ(receive_all(), expected);
  rte_pktmbuf_free_bulk(taken.data(), static_cast<unsigned>(taken.size()));
  EXPECT_EQ(port_->extra().missed, 0U);
}

TEST_P(TapFrames, LeaveWithTheirHeaderInOrder) {
  for (const unsigned count : {1, 3, 4, 5, 32, 33, 64}) {
    std::vector<rte_mbuf*> frames;
    std::vector<Bytes> expected;
    for (unsigned i = 0; i < count; ++i) {
      expected.push_back(numbered(i, i % 6 == 2 ? 5000 : 80 + i));
      frames.push_back(mbuf_of(expected.back()).release());
      // No room for the header in front: as after many headers were put there.
      if (i % 5 == 1) {
        rte_mbuf& frame = *frames.back();
        std::memmove(frame.buf_addr, rte_pktmbuf_mtod(&frame, void*), frame.data_len);
        frame.data_off = 0;
      }
    }
    EXPECT_EQ(port_->transmit(0, frames), count);
    for (unsigned i = 0; i < count; ++i) {
      const Bytes message = sent();
      VirtioHeader header, none;
      ASSERT_GT(message.size(), sizeof header);
      std::memcpy(&header, message.data(), sizeof header);
      EXPECT_EQ(std::memcmp(&header, &none, sizeof header), 0);
      EXPECT_EQ(without_header(message), expected[i]) << i << " of " << count;
    }
    EXPECT_TRUE(sent().empty());
  }
  EXPECT_EQ(port_->extra().unsent, 0U);
}

TEST_P(TapFrames, ThatCannotBeSentAreCountedAndHoldUpNobody) {
  std::vector<rte_mbuf*> frames;
  std::vector<Bytes> expected;
  for (unsigned i = 0; i < 40; ++i) {
    const Bytes bytes = numbered(i, 80);
    frames.push_back(mbuf_of(bytes).release());
    if (i % 3 == 0) {
      frames.back()->ol_flags = RTE_MBUF_F_TX_TCP_CKSUM;  // a datagram
    } else {
      expected.push_back(bytes);
    }
  }
  EXPECT_EQ(port_->transmit(0, frames), 40U);
  EXPECT_EQ(port_->extra().unsent, 14U);
  for (const Bytes& each : expected) EXPECT_EQ(without_header(sent()), each);
  EXPECT_TRUE(sent().empty());
}

TEST_P(TapFrames, SegmentsOfOneStreamLeaveAsOneBetweenOthers) {
  Frame stream = addressed(tcp("10.1.0.1", 40000, "10.1.0.2", 80, "A")).with_payload(20000);
  const Mbuf whole = mbuf_of(frame_bytes(stream.with_partial_checksum()));
  whole->tso_segsz = 1400;
  io::Segmentation segments(*whole, packets());
  std::vector<rte_mbuf*> frames{mbuf_of(numbered(1, 80)).release()};
  while (segments.left() > 0) frames.push_back(segments.next());
  for (unsigned i = 2; i < 6; ++i) frames.push_back(mbuf_of(numbered(i, 80)).release());
  EXPECT_EQ(port_->transmit(0, frames), frames.size());
  EXPECT_EQ(without_header(sent()), numbered(1, 80));
  const Bytes merged = sent();
  VirtioHeader header;
  std::memcpy(&header, merged.data(), sizeof header);
  EXPECT_EQ(header.gso_size, 1400);
  EXPECT_EQ(without_header(merged), frame_bytes(stream.with_partial_checksum()));
  for (unsigned i = 2; i < 6; ++i) EXPECT_EQ(without_header(sent()), numbered(i, 80));
  EXPECT_EQ(port_->extra().unsent, 0U);
}

TEST_P(TapFrames, StayWithTheCallerWhileThePeerIsFull) {
  // Until the socket is full; then more than it takes at once, again and again.
  std::vector<rte_mbuf*> frames;
  constexpr unsigned kFrames = 600;
  for (unsigned i = 0; i < kFrames; ++i) {
    frames.push_back(mbuf_of(numbered(i, 1000)).release());
  }
  unsigned taken = 0, seen = 0, refusals = 0;
  while (seen < kFrames) {
    while (taken < kFrames) {
      const auto burst = std::span(frames).subspan(taken, std::min(48U, kFrames - taken));
      const unsigned now = port_->transmit(0, burst);
      taken += now;
      if (now == burst.size()) continue;
      ++refusals;
      break;
    }
    for (unsigned i = 0; i < 7 && seen < taken; ++i, ++seen) {
      EXPECT_EQ(without_header(sent()), numbered(seen, 1000));
    }
  }
  EXPECT_GT(refusals, 10U);
  EXPECT_TRUE(sent().empty());
  EXPECT_EQ(port_->extra().unsent, 0U);
}

}  // namespace
}  // namespace podwire::test
