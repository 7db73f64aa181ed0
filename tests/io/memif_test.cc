// Both ends of memif in one process. No root needed: the sockets are abstract.
#include "dataplane/io/memif.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "tests/io/memif_pair.h"

namespace podwire::test {
namespace {

Bytes frame_of(std::size_t size, std::uint8_t first = 0) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(first + i * 7);
  return bytes;
}

bool send(io::Port& port, const Bytes& bytes, unsigned worker = 0) {
  rte_mbuf* mbuf = mbuf_of(bytes).release();
  if (port.transmit(worker, {&mbuf, 1}) == 1) return true;
  rte_pktmbuf_free(mbuf);
  return false;
}

std::vector<Bytes> receive(io::Port& port, unsigned queue = 0) {
  std::array<rte_mbuf*, 64> burst;
  const unsigned count = port.receive(queue, burst);
  std::vector<Bytes> out;
  for (unsigned i = 0; i < count; ++i) {
    out.push_back(bytes_of_mbuf(*burst[i]));
    EXPECT_EQ(burst[i]->pkt_len, out.back().size());
    EXPECT_EQ(burst[i]->ol_flags, 0U);
    rte_pktmbuf_free(burst[i]);
  }
  return out;
}

unsigned buffers_in_use() {
  return rte_mempool_in_use_count(&packets()) + rte_mempool_in_use_count(&large());
}

unsigned open_descriptors() {
  unsigned count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    static_cast<void>(entry);
    ++count;
  }
  return count;
}

bool readable(int fd) {
  pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&wait, 1, 0) == 1;
}

TEST(MemifPort, FramesOfEverySizeCrossBothWays) {
  const MemifPair pair;
  ASSERT_TRUE(pair.connect()) << pair.server->down_reason() << pair.client->down_reason();
  const unsigned before = buffers_in_use();
  for (const std::size_t size : {14, 60, 64, 1514, 2048, 2049, 4096, 9014, 60000, 65535}) {
    for (const bool up : {true, false}) {
      io::Port& from = up ? *pair.client : *pair.server;
      io::Port& to = up ? *pair.server : *pair.client;
      const Bytes sent = frame_of(size, up ? 1 : 2);
      ASSERT_TRUE(send(from, sent)) << size;
      const auto got = receive(to);
      ASSERT_EQ(got.size(), 1U) << size;
      EXPECT_EQ(got[0], sent) << size;
    }
  }
  EXPECT_TRUE(pair.server->up() && pair.client->up());
  EXPECT_EQ(buffers_in_use(), before);
}

TEST(MemifPort, AFullRingTakesAPrefixAndIndicesWrap) {
  const MemifPair pair([](auto& server, auto& client) {
    server.terms.log2_ring_size = client.terms.log2_ring_size = 4;
  });
  ASSERT_TRUE(pair.connect());
  for (const bool up : {true, false}) {
    io::Port& from = up ? *pair.client : *pair.server;
    io::Port& to = up ? *pair.server : *pair.client;
    std::uint8_t sent = 0, expected = 0;
    for (unsigned round = 0; round < 70000 / 16; ++round) {
      std::array<rte_mbuf*, 20> burst;
      for (unsigned i = 0; i < burst.size(); ++i) {
        burst[i] = mbuf_of(frame_of(64, static_cast<std::uint8_t>(sent + i))).release();
      }
      ASSERT_EQ(from.transmit(0, burst), 16U);
      sent = static_cast<std::uint8_t>(sent + 16);
      for (unsigned i = 16; i < burst.size(); ++i) rte_pktmbuf_free(burst[i]);
      const auto got = receive(to);
      ASSERT_EQ(got.size(), 16U);
      for (const Bytes& bytes : got) ASSERT_EQ(bytes, frame_of(64, expected++));
    }
  }
}

TEST(MemifPort, EachWorkerHasItsQueueAndSharesWhereThereAreFewer) {
  const MemifPair pair(
      [](auto& server, auto& client) {
        server.terms.queues = 2;
        client.terms.queues = 3;
      },
      3);
  ASSERT_TRUE(pair.connect());
  for (unsigned worker = 0; worker < 3; ++worker) {
    ASSERT_TRUE(send(*pair.client, frame_of(100, static_cast<std::uint8_t>(worker)), worker));
    const auto got = receive(*pair.server, worker % 2);
    ASSERT_EQ(got.size(), 1U);
    EXPECT_EQ(got[0][0], worker);
  }
  EXPECT_EQ(pair.client->queues(), 3U);
  EXPECT_TRUE(receive(*pair.client, 2).empty());  // the server took two only
}

TEST(MemifPort, WorkersShareARingWithoutLoss) {
  const MemifPair pair(nullptr, 4);
  ASSERT_TRUE(pair.connect());
  constexpr unsigned kEach = 5000;
  std::vector<std::thread> workers;
  for (unsigned worker = 0; worker < 4; ++worker) {
    workers.emplace_back([&, worker] {
      const Bytes bytes = frame_of(64, static_cast<std::uint8_t>(worker));
      for (unsigned i = 0; i < kEach;) {
        if (send(*pair.client, bytes, worker)) {
          ++i;
        } else {
          std::this_thread::yield();
        }
      }
    });
  }
  std::array<unsigned, 4> got{};
  EXPECT_TRUE(eventually([&] {
    for (const Bytes& bytes : receive(*pair.server)) {
      EXPECT_EQ(bytes, frame_of(64, bytes[0]));
      ++got[bytes[0] % 4];
    }
    return got[0] + got[1] + got[2] + got[3] == 4 * kEach;
  }));
  for (auto& worker : workers) worker.join();
  EXPECT_EQ(got, (std::array{kEach, kEach, kEach, kEach}));
}

TEST(MemifPort, OffloadsAreFinishedInSoftware) {
  const MemifPair pair;
  ASSERT_TRUE(pair.connect());
  const Frame frame = addressed(tcp("10.1.0.1", 40000, "10.1.0.2", 80, "A").with_payload(5000));
  rte_mbuf* mbuf = mbuf_of(frame_bytes(frame.with_partial_checksum())).release();
  mbuf->ol_flags = RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4;
  mbuf->tso_segsz = 1400;
  ASSERT_EQ(pair.server->transmit(0, {&mbuf, 1}), 1U);
  EXPECT_EQ(pair.server->extra().originated, 3U);
  EXPECT_EQ(receive(*pair.client).size(), 4U);

  const Frame small = frame.with_payload(100);
  mbuf = mbuf_of(frame_bytes(small.with_partial_checksum())).release();
  mbuf->ol_flags = RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4;
  ASSERT_EQ(pair.server->transmit(0, {&mbuf, 1}), 1U);
  const auto got = receive(*pair.client);
  ASSERT_EQ(got.size(), 1U);
  EXPECT_EQ(got[0], frame_bytes(small));

  mbuf = mbuf_of(frame_of(100)).release();  // flags that contradict the frame
  mbuf->ol_flags = RTE_MBUF_F_TX_UDP_CKSUM;
  ASSERT_EQ(pair.server->transmit(0, {&mbuf, 1}), 1U);
  EXPECT_EQ(pair.server->extra().unsent, 1U);
}

TEST(MemifPort, AnIdleQueueIsWokenByItsDescriptor) {
  const MemifPair pair;
  ASSERT_TRUE(pair.connect());
  for (const bool up : {true, false}) {
    io::Port& from = up ? *pair.client : *pair.server;
    io::Port& to = up ? *pair.server : *pair.client;
    receive(to);  // takes note that the peer has come
    ASSERT_TRUE(to.rest(0));
    for (int round = 0; round < 3; ++round) {
      EXPECT_FALSE(readable(to.wait_descriptor(0)));
      ASSERT_TRUE(send(from, frame_of(64)));
      EXPECT_TRUE(readable(to.wait_descriptor(0)));
      EXPECT_EQ(receive(to).size(), 1U);
      EXPECT_FALSE(readable(to.wait_descriptor(0)));
      ASSERT_TRUE(send(from, frame_of(64)));  // while it polls: no call
      EXPECT_FALSE(readable(to.wait_descriptor(0)));
      EXPECT_FALSE(to.rest(0)) << "a frame is there";
      EXPECT_EQ(receive(to).size(), 1U);
      ASSERT_TRUE(to.rest(0));
    }
  }
}

TEST(MemifPort, PeersComeAndGoAndLeaveNothing) {
  MemifPair pair;
  ASSERT_TRUE(pair.connect());
  pair.client.reset();
  ASSERT_TRUE(eventually([&] { return !pair.server->up(); }));
  EXPECT_EQ(pair.server->down_reason(), "it said goodbye: the port is removed");
  EXPECT_EQ(pair.server->transmit(0, {}), 0U);
  const unsigned descriptors = open_descriptors(), buffers = buffers_in_use();
  const std::size_t ranges = io::watched_ranges();
  for (int round = 0; round < 20; ++round) {
    pair.client = pair.open(pair.client_spec);
    ASSERT_TRUE(pair.connect()) << pair.server->down_reason();
    EXPECT_EQ(pair.server->down_reason(), "");
    ASSERT_TRUE(send(*pair.client, frame_of(64)));
    ASSERT_TRUE(send(*pair.server, frame_of(64)));
    if (round % 2 == 0) {
      EXPECT_EQ(receive(*pair.server).size(), 1U);
    }
    pair.client.reset();
    ASSERT_TRUE(eventually([&] { return !pair.server->up(); }));
  }
  EXPECT_TRUE(eventually([&] {
    return open_descriptors() == descriptors && io::watched_ranges() == ranges;
  })) << open_descriptors()
      << " descriptors, " << descriptors << " before";
  EXPECT_EQ(buffers_in_use(), buffers);
}

TEST(MemifPort, OneThatDoesNotFitIsRefusedBySentence) {
  const std::vector<std::pair<MemifPair::Change, std::string>> cases = {
      {[](auto& server, auto& client) { server.terms.secret = "a", client.terms.secret = "b"; },
       "wrong secret"},
      {[](auto& server, auto&) { server.terms.secret = "a"; }, "wrong secret"},
      {[](auto&, auto& client) { client.terms.id = 7; }, "interface id 7"},
  };
  for (const auto& [change, reason] : cases) {
    const MemifPair pair(change);
    const std::string& wanted = reason;
    EXPECT_TRUE(eventually([&] { return pair.server->down_reason() == wanted; }))
        << pair.server->down_reason();
    EXPECT_FALSE(pair.server->up() || pair.client->up());
  }
}

TEST(MemifService, SpecsThatMakeNoSenseAreRefused) {
  const MemifPair pair;
  const auto refused = [&](const std::function<void(io::MemifSpec&)>& change) {
    io::MemifSpec spec;
    spec.address.socket = own_socket("refused");
    change(spec);
    const auto port = pair.service->open(spec, 1, packets(), large());
    return port ? "taken" : port.error().message;
  };
  using Spec = io::MemifSpec;
  EXPECT_EQ(refused([](Spec& s) { s.address.socket = "run/x"; }),
            "memif socket \"run/x\": give \"@name\" or an absolute path");
  EXPECT_TRUE(refused([](Spec& s) {
                s.address.socket = "/" + std::string(107, 'a');
              }).ends_with("108 bytes, at most 107 fit"));
  EXPECT_EQ(refused([](Spec& s) {
              s.address.socket = "/" + std::string(107, 'a') + "/..";
            }).substr(0, 14),
            "memif socket \"");
  EXPECT_TRUE(refused([](Spec& s) { s.terms.queues = 17; }).ends_with("1 to 16 are possible"));
  EXPECT_TRUE(refused([](Spec& s) { s.terms.log2_ring_size = 15; }).ends_with("2^14 is possible"));
  EXPECT_EQ(refused([](Spec& s) { s.address.netns = "/run/netns/nowhere"; }),
            "network namespace /run/netns/nowhere: No such file or directory");
  EXPECT_EQ(refused([](Spec& s) { s.address.socket = "/run/podwire-nowhere/x"; }),
            "memif socket /run/podwire-nowhere/x: bind: No such file or directory");
  EXPECT_EQ(refused([&](Spec& s) { s.address.socket = pair.server_spec.address.socket; }),
            "memif socket " + pair.server_spec.address.socket + ": bind: Address already in use");
}

TEST(MemifService, FileSystemSocketsAreTightAndStaleOnesMakeWay) {
  char folder[] = "/tmp/podwire-memif-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string path = std::string(folder) + "/m.sock";
  {  // left by a process that died: bound, and nobody listens
    const int stale = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(bind(stale, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    close(stale);
  }
  {
    const MemifPair pair([&](auto& server, auto& client) {
      server.address.socket = client.address.socket = path;
      server.address.owner = geteuid();
      server.address.group = getegid();
      server.address.mode = 0640;
    });
    ASSERT_TRUE(pair.connect()) << pair.server->down_reason();
    struct stat info {};
    ASSERT_EQ(stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode, S_IFSOCK | 0640U);
    EXPECT_EQ(info.st_uid, geteuid());
    // A pod may put a link where its socket should be: to whatever podwired can reach.
    const std::string link = std::string(folder) + "/link";
    ASSERT_EQ(symlink(path.c_str(), link.c_str()), 0);
    const auto followed = io::connect_memif({.netns = "", .socket = link});
    ASSERT_FALSE(followed);
    EXPECT_EQ(followed.error().message,
              "memif socket " + link + ": a file that is no socket is there");
    ASSERT_EQ(unlink(link.c_str()), 0);
    const auto again = pair.service->open(pair.server_spec, 1, packets(), large());
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().message, "memif socket " + path + ": another process serves it");
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  std::ofstream(path) << "a file";
  const MemifPair other;
  io::MemifSpec spec;
  spec.address.socket = path;
  EXPECT_FALSE(other.service->open(spec, 1, packets(), large()));
  EXPECT_TRUE(std::filesystem::exists(path));
  std::filesystem::remove_all(folder);
}

TEST(EventSignal, NeverWaitsForAPeerThatFilledItsCounter) {
  auto signal = io::EventSignal::make();
  ASSERT_TRUE(signal) << signal.error().message;
  const io::Descriptor event(eventfd(0, EFD_CLOEXEC));  // blocking, as a peer may make it
  for (int i = 0; i < 1000; ++i) signal->send(event.get());
  std::uint64_t times = 0;
  ASSERT_EQ(read(event.get(), &times, sizeof times), 8);
  EXPECT_EQ(times, 1000U);
  const std::uint64_t full = 0xfffffffffffffffe;
  ASSERT_EQ(write(event.get(), &full, sizeof full), 8);
  for (int i = 0; i < 10; ++i) signal->send(event.get());  // write(2) would wait for ever
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  signal->send(ends[1]);
  EXPECT_FALSE(readable(ends[0]));
  EXPECT_TRUE(io::is_eventfd(event.get()));
  EXPECT_FALSE(io::is_eventfd(ends[0]));
  EXPECT_FALSE(io::is_eventfd(-1));
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace podwire::test
