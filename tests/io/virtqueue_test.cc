#include "dataplane/io/virtqueue.h"

#include <gtest/gtest.h>
#include <rte_mempool.h>

#include <cstring>
#include <vector>

#include "dataplane/io/virtio_header.h"
#include "tests/lib/world.h"

namespace podwire::test {
namespace {

using io::GuestMemory;
using io::Virtqueue;

constexpr std::uint16_t kNext = 1, kWrite = 2, kIndirect = 4;
constexpr std::uint64_t kGuest = 0x100000000;
constexpr unsigned kSize = 16, kBytes = 1U << 20U, kBuffers = 0x1000, kRoom = 2048;

rte_mempool& packets() {
  start_eal();
  static rte_mempool* made =
      rte_pktmbuf_pool_create("vq_packets", 255, 0, 0, 2048 + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
  return *made;
}
rte_mempool& large() {
  start_eal();
  static rte_mempool* made = rte_pktmbuf_pool_create("vq_large", 7, 0, 0, 65535, SOCKET_ID_ANY);
  return *made;
}

// The driver's side of one queue.
class Driver {
 public:
  explicit Driver(bool mergeable = true, unsigned header_bytes = 12) : memory_(kBytes + 4096) {
    auto* start = reinterpret_cast<std::uint8_t*>(
        (reinterpret_cast<std::uintptr_t>(memory_.data()) + 4095) & ~std::uintptr_t{4095});
    base_ = start;
    guest_.regions[0] = {kGuest, kBytes, start};
    guest_.count = 1;
    setup_ = {.descriptors = start,
              .avail = start + 0x400,
              .used = start + 0x800,
              .size = kSize,
              .header_bytes = header_bytes,
              .mergeable = mergeable};
    EXPECT_TRUE(queue.attach(setup_, guest_));
  }
  ~Driver() {
    EXPECT_EQ(rte_mempool_in_use_count(&packets()), 0U);
    EXPECT_EQ(rte_mempool_in_use_count(&large()), 0U);
  }
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  void descriptor(unsigned index, std::uint64_t address, std::uint32_t length,
                  std::uint16_t flags = 0, std::uint16_t next = 0) {
    std::uint8_t* at = base_ + 16 * std::size_t{index};
    std::memcpy(at, &address, 8);
    std::memcpy(at + 8, &length, 4);
    std::memcpy(at + 12, &flags, 2);
    std::memcpy(at + 14, &next, 2);
  }
  void offer(std::uint16_t head) {
    avail()[2 + (avail()[1] % kSize)] = head;
    ++avail()[1];
  }
  std::uint16_t* avail() { return reinterpret_cast<std::uint16_t*>(base_ + 0x400); }
  std::uint16_t* used() { return reinterpret_cast<std::uint16_t*>(base_ + 0x800); }
  std::pair<std::uint32_t, std::uint32_t> used_at(unsigned place) {
    std::uint32_t words[2];
    std::memcpy(words, base_ + 0x804 + 8 * std::size_t{place}, 8);
    return {words[0], words[1]};
  }
  std::uint8_t* buffer(unsigned index) { return base_ + kBuffers + index * std::size_t{kRoom}; }
  static std::uint64_t guest_buffer(unsigned index) { return kGuest + kBuffers + index * kRoom; }

  // Frames as bytes; their buffers are freed.
  std::vector<Bytes> pull(unsigned most = 64) {
    std::vector<rte_mbuf*> got(most);
    got.resize(queue.pull(got, packets(), large(), refused));
    std::vector<Bytes> frames;
    for (rte_mbuf* mbuf : got) {
      frames.push_back(bytes_of(*mbuf));
      rte_pktmbuf_free(mbuf);
    }
    return frames;
  }
  unsigned push(const std::vector<Bytes>& frames) {
    std::vector<rte_mbuf*> mbufs;
    for (const Bytes& bytes : frames) {
      rte_mbuf* first = rte_pktmbuf_alloc(&packets());
      const auto head = std::min<std::size_t>(bytes.size(), 2048);
      std::memcpy(rte_pktmbuf_append(first, static_cast<std::uint16_t>(head)), bytes.data(), head);
      if (bytes.size() > head) {
        rte_mbuf* second = rte_pktmbuf_alloc(&large());
        second->data_off = 0;
        const auto rest = static_cast<std::uint16_t>(bytes.size() - head);
        std::memcpy(rte_pktmbuf_append(second, rest), bytes.data() + head, rest);
        rte_pktmbuf_chain(first, second);
      }
      mbufs.push_back(first);
    }
    const unsigned taken = queue.push(mbufs, impossible);
    rte_pktmbuf_free_bulk(mbufs.data(), static_cast<unsigned>(mbufs.size()));
    return taken;
  }

  Virtqueue queue;
  GuestMemory guest_;
  Virtqueue::Setup setup_;
  std::uint64_t refused = 0, impossible = 0;

 private:
  std::vector<std::uint8_t> memory_;
  std::uint8_t* base_ = nullptr;
};

Bytes pattern(std::size_t size) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(i * 7 + i / 251);
  return bytes;
}

TEST(VirtqueuePull, FramesInOneBufferAndInMany) {
  Driver driver;
  const Bytes frame = pattern(100);
  std::memcpy(driver.buffer(0) + 12, frame.data(), frame.size());
  driver.descriptor(0, Driver::guest_buffer(0), 112);
  driver.offer(0);
  // The header in pieces, then the frame in pieces, an empty one among them.
  std::memcpy(driver.buffer(1), frame.data(), frame.size());
  driver.descriptor(1, Driver::guest_buffer(2), 5, kNext, 2);
  driver.descriptor(2, Driver::guest_buffer(2), 7, kNext, 3);
  driver.descriptor(3, Driver::guest_buffer(1), 1, kNext, 4);
  driver.descriptor(4, 0, 0, kNext, 5);
  driver.descriptor(5, Driver::guest_buffer(1) + 1, 99);
  driver.offer(1);
  EXPECT_EQ(driver.pull(), (std::vector<Bytes>{frame, frame}));
  EXPECT_EQ(driver.used()[1], 2);
  EXPECT_EQ(driver.used_at(0), (std::pair{0U, 0U}));
  EXPECT_EQ(driver.used_at(1), (std::pair{1U, 0U}));
  EXPECT_EQ(driver.refused, 0U);
}

TEST(VirtqueuePull, LargeFrameTakesASecondBuffer) {
  Driver driver;
  const Bytes frame = pattern(Virtqueue::kMaxFrame);
  std::memcpy(driver.buffer(1), frame.data(), frame.size());
  driver.descriptor(0, Driver::guest_buffer(0), 12, kNext, 1);
  driver.descriptor(1, Driver::guest_buffer(1), static_cast<std::uint32_t>(frame.size()));
  driver.offer(0);
  EXPECT_EQ(driver.pull(), (std::vector<Bytes>{frame}));
  driver.descriptor(1, Driver::guest_buffer(1), static_cast<std::uint32_t>(frame.size() + 1));
  driver.offer(0);
  EXPECT_TRUE(driver.pull().empty());
  EXPECT_EQ(driver.refused, 1U);
  EXPECT_EQ(driver.queue.fault(), Virtqueue::Fault::none);
}

TEST(VirtqueuePull, RuntsAreRefusedAndGivenBack) {
  Driver driver;
  for (unsigned length = 0; length < 26; ++length) {
    driver.descriptor(0, Driver::guest_buffer(0), length);
    driver.offer(0);
    EXPECT_TRUE(driver.pull().empty());
    EXPECT_EQ(driver.refused, length + 1);
    EXPECT_EQ(driver.used()[1], length + 1);
  }
}

TEST(VirtqueuePull, WithoutBuffersFramesWait) {
  Driver driver;
  std::vector<rte_mbuf*> all(255);
  ASSERT_EQ(rte_pktmbuf_alloc_bulk(&packets(), all.data(), 255), 0);
  driver.descriptor(0, Driver::guest_buffer(0), 112);
  driver.offer(0);
  EXPECT_TRUE(driver.pull().empty());
  rte_pktmbuf_free_bulk(all.data(), 255);
  EXPECT_EQ(driver.pull().size(), 1U);
}

// Frames in one buffer take a short way; one in two, one that asks for a checksum and one that is
// too short stand between them.
TEST(VirtqueuePull, PlainFramesAndOthersKeepTheirOrder) {
  Driver driver;
  std::vector<Bytes> sent;
  const auto plain = [&](unsigned at, std::size_t size) {
    sent.push_back(pattern(size));
    std::memcpy(driver.buffer(at) + 12, sent.back().data(), size);
    driver.descriptor(at, Driver::guest_buffer(at), static_cast<std::uint32_t>(12 + size));
    driver.offer(static_cast<std::uint16_t>(at));
  };
  plain(0, 60);
  plain(1, 14);
  plain(2, 90);
  const std::uint8_t header[] = {1, 0, 0, 0, 0, 0, 20, 0, 0, 0};  // a checksum at 20, from 20
  std::memcpy(driver.buffer(2), header, sizeof header);
  sent.back()[20] = sent.back()[21] = 0;
  std::memcpy(driver.buffer(2) + 12, sent.back().data(), 90);
  plain(3, 61);
  plain(4, 13);  // refused
  sent.pop_back();
  plain(5, 62);
  driver.descriptor(5, Driver::guest_buffer(5), 40, kNext, 6);
  driver.descriptor(6, Driver::guest_buffer(5) + 40, 34);
  plain(7, 2036);
  const auto frames = driver.pull();
  ASSERT_EQ(frames.size(), 6U);
  EXPECT_NE(frames[2][20] | frames[2][21], 0);
  sent[2][20] = frames[2][20];
  sent[2][21] = frames[2][21];
  EXPECT_EQ(frames, sent);
  EXPECT_EQ(driver.refused, 1U);
  EXPECT_EQ(driver.used()[1], 7);
  for (unsigned i = 0; i < 6; ++i) EXPECT_EQ(driver.used_at(i), (std::pair{i, 0U}));
  EXPECT_EQ(driver.used_at(6), (std::pair{7U, 0U}));
}

TEST(VirtqueuePull, FaultsEndTheQueueButNotWhatCameBefore) {
  using Fault = Virtqueue::Fault;
  const struct {
    Fault fault;
    std::function<void(Driver&)> break_it;
  } cases[] = {
      {Fault::address, [](Driver& d) { d.descriptor(1, kGuest + kBytes - 63, 64); }},
      {Fault::address, [](Driver& d) { d.descriptor(1, kGuest - 1, 64); }},
      {Fault::address, [](Driver& d) { d.descriptor(1, ~std::uint64_t{0} - 10, 64); }},
      {Fault::address, [](Driver& d) { d.descriptor(1, kGuest + 1, 0xffffffff); }},
      {Fault::direction, [](Driver& d) { d.descriptor(1, kGuest, 64, kWrite); }},
      {Fault::indirect, [](Driver& d) { d.descriptor(1, kGuest, 64, kIndirect); }},
      {Fault::chain_length, [](Driver& d) { d.descriptor(1, kGuest, 1, kNext, 1); }},
      {Fault::chain_length, [](Driver& d) { d.descriptor(1, kGuest, 0, kNext, 1); }},
      {Fault::chain_index, [](Driver& d) { d.descriptor(1, kGuest, 64, kNext, kSize); }},
      {Fault::head_index, [](Driver& d) { d.avail()[3] = kSize; }},
  };
  for (const auto& c : cases) {
    Driver driver;
    SCOPED_TRACE(Virtqueue::sentence(c.fault));
    driver.descriptor(0, Driver::guest_buffer(0), 112);
    driver.offer(0);
    driver.offer(1);
    c.break_it(driver);
    EXPECT_EQ(driver.pull().size(), 1U);
    EXPECT_EQ(driver.queue.fault(), c.fault);
    EXPECT_EQ(driver.used()[1], 1);
    driver.offer(0);
    EXPECT_TRUE(driver.pull().empty());
  }
}

TEST(VirtqueuePull, IndexRunaway) {
  Driver driver;
  driver.avail()[1] = kSize + 1;
  EXPECT_TRUE(driver.pull().empty());
  EXPECT_EQ(driver.queue.fault(), Virtqueue::Fault::avail_index);
}

TEST(VirtqueuePush, MergesSmallBuffersIntoALargeFrame) {
  Driver driver;
  for (std::uint16_t i = 0; i < 4; ++i) {
    driver.descriptor(i, Driver::guest_buffer(i), kRoom, kWrite);
    driver.offer(i);
  }
  const Bytes frame = pattern(5000);
  EXPECT_EQ(driver.push({frame, frame}), 1U);  // the second does not fit
  EXPECT_EQ(driver.used()[1], 3);
  EXPECT_EQ(driver.used_at(2), (std::pair{2U, 5012U - 2 * kRoom}));
  Bytes got(driver.buffer(0) + 12, driver.buffer(0) + 12 + 5000);
  EXPECT_EQ(got, frame);
  EXPECT_EQ(driver.buffer(0)[10], 3);
  EXPECT_EQ(driver.queue.next_avail(), 3);
}

TEST(VirtqueuePush, PlainFramesAndOthersKeepTheirOrder) {
  for (const unsigned header_bytes : {12U, 10U}) {
    Driver driver(header_bytes == 12, header_bytes);
    for (std::uint16_t i = 0; i < 4; ++i) {
      driver.descriptor(i, Driver::guest_buffer(i), i == 2 ? 30 : kRoom, kWrite | kNext, 8);
      std::memset(driver.buffer(i), 0xff, kRoom);
    }
    driver.descriptor(8, Driver::guest_buffer(8), kRoom, kWrite);
    for (std::uint16_t i = 0; i < 4; ++i) driver.offer(i);
    const std::vector<Bytes> frames{pattern(14), pattern(kRoom - header_bytes), pattern(60),
                                    pattern(100), pattern(20)};
    EXPECT_EQ(driver.push(frames), 4U);  // as many as buffers are offered
    EXPECT_EQ(driver.used()[1], 4);
    for (unsigned i = 0; i < 4; ++i) {
      SCOPED_TRACE(i);
      const auto size = static_cast<std::uint32_t>(frames[i].size());
      EXPECT_EQ(driver.used_at(i), (std::pair{i, header_bytes + size}));
      const unsigned here = i == 2 ? 30 - header_bytes : size;
      const std::uint8_t* at = driver.buffer(i);
      Bytes got(at + header_bytes, at + header_bytes + here);
      got.insert(got.end(), driver.buffer(8), driver.buffer(8) + size - here);
      EXPECT_EQ(got, frames[i]);
      EXPECT_EQ(Bytes(at, at + 10), Bytes(10));
      if (header_bytes == 12) {
        EXPECT_EQ(at[10] | at[11] << 8, 1);
      }
      if (header_bytes + size < kRoom && i != 2) {
        EXPECT_EQ(at[header_bytes + size], 0xff);
      }
    }
    EXPECT_EQ(driver.impossible, 0U);
  }
}

TEST(VirtqueuePush, OneChainPerFrameWithoutMergeableBuffers) {
  Driver driver(false, 10);
  driver.descriptor(0, Driver::guest_buffer(0), 10, kWrite | kNext, 1);
  driver.descriptor(1, Driver::guest_buffer(1), 1000, kWrite);
  driver.offer(0);
  EXPECT_EQ(driver.push({pattern(1001)}), 1U);
  EXPECT_EQ(driver.impossible, 1U);
  EXPECT_EQ(driver.used()[1], 0);
  EXPECT_EQ(driver.push({pattern(1000)}), 1U);
  EXPECT_EQ(driver.used_at(0), (std::pair{0U, 1010U}));
}

TEST(VirtqueuePush, FaultsGiveNothingAway) {
  using Fault = Virtqueue::Fault;
  const struct {
    Fault fault;
    std::uint64_t address;
    std::uint32_t length;
    std::uint16_t flags, next;
  } cases[] = {{Fault::address, kGuest + kBytes, 2048, kWrite, 0},
               {Fault::direction, kGuest, 2048, 0, 0},
               {Fault::indirect, kGuest, 2048, kWrite | kIndirect, 0},
               {Fault::short_buffer, kGuest + kBuffers, 11, kWrite, 0},
               {Fault::chain_index, kGuest + kBuffers, 20, kWrite | kNext, 99},
               {Fault::chain_length, kGuest + kBuffers, 12, kWrite | kNext, 1}};
  for (const auto& c : cases) {
    Driver driver;
    SCOPED_TRACE(Virtqueue::sentence(c.fault));
    driver.descriptor(0, c.address, c.length, c.flags, c.next);
    driver.descriptor(1, kGuest, 0, kWrite | kNext, 1);
    driver.offer(0);
    EXPECT_EQ(driver.push({pattern(100)}), 0U);
    EXPECT_EQ(driver.queue.fault(), c.fault);
    EXPECT_EQ(driver.used()[1], 0);
  }
}

TEST(Virtqueue, KicksAndCalls) {
  Driver driver;
  EXPECT_TRUE(driver.queue.peer_waits());  // once, for what a former owner may have left unsaid
  EXPECT_FALSE(driver.queue.peer_waits());
  EXPECT_EQ(driver.used()[0], 1);
  EXPECT_TRUE(driver.queue.ask_for_kicks());
  EXPECT_EQ(driver.used()[0], 0);
  driver.descriptor(0, Driver::guest_buffer(0), 112);
  driver.offer(0);
  EXPECT_FALSE(driver.queue.ask_for_kicks());
  EXPECT_EQ(driver.used()[0], 1);
  EXPECT_EQ(driver.pull().size(), 1U);
  EXPECT_TRUE(driver.queue.peer_waits());
  driver.avail()[0] = 1;
  driver.offer(0);
  EXPECT_EQ(driver.pull().size(), 1U);
  EXPECT_FALSE(driver.queue.peer_waits());
}

TEST(Virtqueue, RingsThatCannotBe) {
  Driver driver;
  const auto refused = [&](auto change) {
    Virtqueue::Setup setup = driver.setup_;
    change(setup);
    Virtqueue queue;
    return !queue.attach(setup, driver.guest_) && !queue.attached() &&
           queue.fault() == Virtqueue::Fault::rings;
  };
  const auto* start = static_cast<const std::uint8_t*>(driver.setup_.descriptors);
  EXPECT_TRUE(refused([](auto& s) { s.size = 0; }));
  EXPECT_TRUE(refused([](auto& s) { s.size = 12; }));
  EXPECT_TRUE(refused([](auto& s) { s.size = 8192; }));
  EXPECT_TRUE(refused([](auto& s) { s.descriptors = nullptr; }));
  EXPECT_TRUE(refused([&](auto& s) { s.descriptors = start + 8; }));
  EXPECT_TRUE(refused([&](auto& s) { s.descriptors = start + kBytes - 16; }));
  EXPECT_TRUE(refused([&](auto& s) { s.avail = start + 1; }));
  EXPECT_TRUE(refused([&](auto& s) { s.avail = start + kBytes - 34; }));
  EXPECT_TRUE(refused([&](auto& s) { s.used = const_cast<std::uint8_t*>(start) + kBytes - 128; }));
}

}  // namespace
}  // namespace podwire::test
