#include "dataplane/io/call_batch.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>

#include "tests/io/frames.h"

namespace podwire::test {
namespace {

struct Ends {
  Ends() {
    int both[2] = {-1, -1};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both), 0);
    ours = io::Descriptor(both[0]);
    peers = io::Descriptor(both[1]);
  }
  io::Descriptor ours, peers;
};

class Calls : public testing::Test {
 protected:
  void SetUp() override {
    batch = open_batch();
    if (batch == nullptr) GTEST_SKIP();
  }
  std::unique_ptr<io::CallBatch> batch;
};

iovec part(void* start, std::size_t bytes) {
  return {start, bytes};
}

TEST_F(Calls, AreMadeInTheirOrderAndEachHasItsResult) {
  const Ends ends;
  for (unsigned round = 0; round < 200; ++round) {  // the ring goes round
    const unsigned count = round % io::CallBatch::kCalls + 1;
    std::vector<std::string> words;
    for (unsigned i = 0; i < count; ++i) words.push_back(std::string(i + 1, 'a' + i % 26));
    for (auto& word : words) {
      const std::size_t head = word.size() / 2;
      const std::array<iovec, 2> parts{part(word.data(), head),
                                       part(word.data() + head, word.size() - head)};
      if (head > 0) {
        batch->write(ends.ours.get(), parts);
      } else {
        batch->write(ends.ours.get(), std::span(parts).last(1));
      }
    }
    const auto written = batch->run();
    ASSERT_EQ(written.size(), count);
    for (unsigned i = 0; i < count; ++i) EXPECT_EQ(written[i], int(words[i].size()));
    std::array<std::array<char, 64>, io::CallBatch::kCalls> buffers{};
    for (unsigned i = 0; i < count; ++i) {
      const std::array<iovec, 2> parts{part(buffers[i].data(), 3), part(buffers[i].data() + 3, 61)};
      batch->read(ends.peers.get(), parts);
    }
    const auto read = batch->run();
    ASSERT_EQ(read.size(), count);
    for (unsigned i = 0; i < count; ++i) {
      EXPECT_EQ(std::string(buffers[i].data(), static_cast<unsigned>(read[i])), words[i]);
    }
  }
}

TEST_F(Calls, NeverWaitAndSayWhyTheyFail) {
  Ends ends;
  char byte = 'x';
  const iovec one = part(&byte, 1);
  batch->read(ends.peers.get(), {&one, 1});
  batch->write(-1, {&one, 1});
  batch->write(ends.ours.get(), {&one, 1});
  batch->read(ends.peers.get(), {&one, 1});
  batch->read(ends.peers.get(), {&one, 1});
  const auto results = batch->run();
  ASSERT_EQ(results.size(), 5U);
  EXPECT_EQ(results[0], -EAGAIN);
  EXPECT_EQ(results[1], -EBADF) << "one that fails stops none behind it";
  EXPECT_EQ(results[2], 1);
  EXPECT_EQ(results[3], 1);
  EXPECT_EQ(results[4], -EAGAIN);
  EXPECT_TRUE(batch->run().empty());
}

TEST_F(Calls, HaveRoomForSoManyAndNoMore) {
  const Ends ends;
  char byte = 'x';
  const std::vector<iovec> two(2, part(&byte, 1)), most(io::CallBatch::kParts, part(&byte, 1));
  EXPECT_TRUE(batch->has_room(most.size()));
  EXPECT_FALSE(batch->has_room(most.size() + 1));
  for (unsigned i = 0; i < io::CallBatch::kCalls; ++i) {
    ASSERT_TRUE(batch->has_room(2));
    batch->write(ends.ours.get(), two);
  }
  EXPECT_FALSE(batch->has_room(0));
  EXPECT_EQ(batch->run().size(), io::CallBatch::kCalls);
  batch->write(ends.ours.get(), most);
  EXPECT_FALSE(batch->has_room(1));
  const auto results = batch->run();
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0], int(most.size()));
}

TEST_F(Calls, AreTheThreadsOwn) {
  EXPECT_EQ(io::CallBatch::mine(), nullptr);
  io::CallBatch::use(batch.get());
  EXPECT_EQ(io::CallBatch::mine(), batch.get());
  std::thread([] { EXPECT_EQ(io::CallBatch::mine(), nullptr); }).join();
  batch.reset();
  EXPECT_EQ(io::CallBatch::mine(), nullptr);
}

// As in a container: this thread's io_uring_setup fails with `error`.
void forbid_io_uring(int error) {
  sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{.len = 4, .filter = rules};
  ASSERT_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  ASSERT_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

TEST(CallBatch, SaysWhyItCannotBe) {
  const auto refused_with = [](int error) {
    std::string message;
    std::thread([&] {
      forbid_io_uring(error);
      const auto batch = io::CallBatch::open();
      message = batch ? "" : batch.error().message;
    }).join();
    return message;
  };
  EXPECT_NE(refused_with(EPERM).find("seccomp"), std::string::npos);
  EXPECT_NE(refused_with(ENOSYS).find("Linux 6.1"), std::string::npos);
}

}  // namespace
}  // namespace podwire::test
