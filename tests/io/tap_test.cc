// Real taps in real namespaces: needs root.
#include "dataplane/io/tap.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <future>
#include <thread>

#include "dataplane/io/call_batch.h"
#include "dataplane/io/namespace.h"
#include "dataplane/poll_list.h"
#include "tests/io/frames.h"

namespace podwire::test {
namespace {

// A network namespace that lives as long as this.
class Namespace {
 public:
  Namespace() {
    std::promise<std::string> made;
    auto path = made.get_future();
    thread_ = std::thread([this, &made] {
      if (unshare(CLONE_NEWNET) != 0) {
        made.set_value("");
        return;
      }
      made.set_value("/proc/self/task/" + std::to_string(syscall(SYS_gettid)) + "/ns/net");
      end_.get_future().wait();
    });
    path_ = path.get();
  }
  ~Namespace() {
    end_.set_value();
    thread_.join();
  }
  [[nodiscard]] const std::string& path() const { return path_; }
  void run(const std::function<void()>& work) const {
    const auto entered = io::in_namespace(path_, work);
    ASSERT_TRUE(entered) << entered.error().message;
  }
  // A shell command inside; children inherit the thread's namespace.
  void shell(const std::string& command) const {
    run([&] { EXPECT_EQ(std::system(command.c_str()), 0) << command; });
  }
  [[nodiscard]] unsigned index_of(const std::string& interface) const {
    unsigned index = 0;
    run([&] { index = if_nametoindex(interface.c_str()); });
    return index;
  }

 private:
  std::string path_;
  std::promise<void> end_;
  std::thread thread_;
};

class TapDevice : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() == 0) return;
    std::fprintf(stderr, "\n*** SKIPPED: tap tests need root ***\n\n");
    GTEST_SKIP();
  }
  static io::TapSpec spec(const Namespace& ns, const std::string& name, unsigned last = 1) {
    return {.netns = ns.path(),
            .interface = name,
            .mac = net::Mac{{2, 0, 0, 0, static_cast<std::uint8_t>(last >> 8),
                             static_cast<std::uint8_t>(last)}},
            .mtu = 1480};
  }
  static std::shared_ptr<io::TapPort> open(const io::TapSpec& spec) {
    auto port = io::TapPort::open(spec, packets(), large(), "tap");
    EXPECT_TRUE(port) << port.error().message;
    return port ? *port : nullptr;
  }
  static unsigned open_descriptors() {
    unsigned count = 0;
    DIR* folder = opendir("/proc/self/fd");
    while (readdir(folder) != nullptr) ++count;
    closedir(folder);
    return count;
  }
};

// With a system call a frame, and through io_uring.
class Tap : public TapDevice, public testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    TapDevice::SetUp();
    if (IsSkipped() || !GetParam()) return;
    calls_ = open_batch();
    if (calls_ == nullptr) GTEST_SKIP();
    io::CallBatch::use(calls_.get());
  }

 private:
  std::unique_ptr<io::CallBatch> calls_;
};
INSTANTIATE_TEST_SUITE_P(Devices, Tap, testing::Bool(), [](const auto& info) {
  return std::string(info.param ? "Batched" : "OneByOne");
});

void bring_up(const Namespace& ns, const std::string& address) {
  ns.shell("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 && ip link set eth0 up && ip addr add " +
           address + "/24 dev eth0");
}

TEST_P(Tap, CarriesATcpStreamUnsegmented) {
  constexpr std::size_t kStream = 8 << 20;
  const Namespace a, b;
  const auto port_a = open(spec(a, "eth0", 1)), port_b = open(spec(b, "eth0", 2));
  ASSERT_TRUE(port_a && port_b);
  bring_up(a, "10.1.0.1");
  bring_up(b, "10.1.0.2");
  const auto at = [](const char* address) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(7000);
    inet_pton(AF_INET, address, &in.sin_addr);
    return in;
  };
  int listener = -1, client = -1;
  const sockaddr_in server_address = at("10.1.0.2");
  const auto* server = reinterpret_cast<const sockaddr*>(&server_address);
  b.run([&] {
    listener = socket(AF_INET, SOCK_STREAM, 0);
    ASSERT_EQ(bind(listener, server, sizeof server_address), 0);
    ASSERT_EQ(listen(listener, 1), 0);
  });
  a.run([&] { client = socket(AF_INET, SOCK_STREAM, 0); });
  auto sent = std::async(std::launch::async, [&] {
    Bytes bytes(kStream);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i * i >> 7);
    if (connect(client, server, sizeof server_address) != 0) return Bytes{};
    for (std::size_t done = 0; done < bytes.size();) {
      const ssize_t n = write(client, bytes.data() + done, bytes.size() - done);
      if (n <= 0) break;
      done += static_cast<std::size_t>(n);
    }
    close(client);
    return bytes;
  });
  std::atomic<bool> through{false};
  auto received = std::async(std::launch::async, [&] {
    const int connection = accept(listener, nullptr, nullptr);
    Bytes bytes;
    Bytes part(1 << 16);
    ssize_t n = 0;
    while ((n = read(connection, part.data(), part.size())) > 0) {
      bytes.insert(bytes.end(), part.begin(), part.begin() + n);
    }
    close(connection);
    through = true;
    return bytes;
  });
  // What podwire does between them, without its pipeline: a wire.
  std::uint32_t largest = 0;
  std::array<rte_mbuf*, 64> frames;
  const std::array<io::Port*, 2> ports{port_a.get(), port_b.get()};
  while (!through) {
    std::array<pollfd, 2> wait{
        {{port_a->wait_descriptor(0), POLLIN, 0}, {port_b->wait_descriptor(0), POLLIN, 0}}};
    poll(wait.data(), wait.size(), 100);
    for (unsigned i = 0; i < 2; ++i) {
      const unsigned count = ports[i]->receive(0, frames);
      for (unsigned f = 0; f < count; ++f) largest = std::max(largest, frames[f]->pkt_len);
      const unsigned taken = ports[1 - i]->transmit(0, std::span(frames).first(count));
      EXPECT_EQ(taken, count);
      for (unsigned f = taken; f < count; ++f) rte_pktmbuf_free(frames[f]);
    }
  }
  close(listener);
  EXPECT_EQ(received.get(), sent.get());
  EXPECT_GT(largest, 16 * 1480U) << "the stream was cut to the MTU";
  EXPECT_LE(largest, io::kMaxSuperFrame + 14U);
  EXPECT_EQ(pool_buffers_in_use(), 0U);
}

TEST_F(TapDevice, FiveHundredOpenAndCloseWithoutRemainder) {
  const Namespace ns;
  open(spec(ns, "first"));  // what the process sets up once
  const unsigned descriptors = open_descriptors(), buffers = pool_buffers_in_use();
  {
    std::vector<std::shared_ptr<io::TapPort>> ports;
    for (unsigned i = 0; i < 500; ++i) {
      io::TapSpec each = spec(ns, "tap" + std::to_string(i), i);
      each.persistent = false;
      ports.push_back(open(each));
      ASSERT_NE(ports.back(), nullptr);
    }
    EXPECT_EQ(open_descriptors(), descriptors + 500);
    std::array<rte_mbuf*, 8> frames;
    for (const auto& port : ports) EXPECT_EQ(port->receive(0, frames), 0U);
  }
  EXPECT_EQ(open_descriptors(), descriptors);
  EXPECT_EQ(pool_buffers_in_use(), buffers);
  EXPECT_EQ(ns.index_of("tap499"), 0U);
}

TEST_F(TapDevice, StaysWithItsAddressWhenPersistentAndIsOpenedAgain) {
  const Namespace ns;
  io::TapSpec first = spec(ns, "eth0");
  first.queues = 2;
  auto port = open(first);
  bring_up(ns, "10.1.0.1");
  ns.shell("ip link show dev eth0 | grep -q 'qdisc noqueue'");
  ns.shell("tc qdisc replace dev eth0 root handle 7: pfifo");  // what a pod chooses stays
  const unsigned index = ns.index_of("eth0");
  port.reset();
  EXPECT_EQ(ns.index_of("eth0"), index);
  io::TapSpec again = spec(ns, "eth0");
  again.queues = 1;
  port = open(again);
  ASSERT_NE(port, nullptr);
  EXPECT_TRUE(port->up());
  EXPECT_EQ(ns.index_of("eth0"), index);
  ns.shell("ip addr show dev eth0 | grep -q 10.1.0.1/24");
  ns.shell("ip -d link show dev eth0 | grep -q 'gso_max_size " +
           std::to_string(io::kMaxSuperFrame) + "'");
  ns.shell("ip link show dev eth0 | grep -q 'mtu 1480.*'");
  ns.shell("tc qdisc show dev eth0 root | grep -q 'pfifo 7:'");
  EXPECT_TRUE(io::remove_tap_device(ns.path(), "eth0"));
  EXPECT_EQ(ns.index_of("eth0"), 0U);
}

TEST_P(Tap, IsDownOnceItsDeviceIsGone) {
  const Namespace ns;
  const auto port = open(spec(ns, "eth0"));
  EXPECT_TRUE(io::remove_tap_device(ns.path(), "eth0"));
  EXPECT_TRUE(io::remove_tap_device(ns.path(), "eth0")) << "twice is no error";
  std::array<rte_mbuf*, 8> frames;
  EXPECT_EQ(port->receive(0, frames), 0U);
  EXPECT_FALSE(port->up());
  Mbuf mbuf = mbuf_of(frame_bytes(addressed(udp("10.1.0.1", 1, "10.1.0.2", 2))));
  rte_mbuf* frame = mbuf.get();
  EXPECT_EQ(port->transmit(0, std::span(&frame, 1)), 0U) << "the caller keeps it";
  std::vector<Mbuf> many;
  std::vector<rte_mbuf*> frames_out;
  for (unsigned i = 0; i < 40; ++i) {
    many.push_back(mbuf_of(frame_bytes(addressed(udp("10.1.0.1", 1, "10.1.0.2", 2)))));
    frames_out.push_back(many.back().get());
  }
  EXPECT_EQ(port->transmit(0, frames_out), 0U) << "all of them";
  EXPECT_EQ(port->extra().unsent, 0U);
}

TEST_F(TapDevice, SaysInOneSentenceWhatStandsInTheWay) {
  const Namespace ns;
  ns.shell("ip link add eth0 type veth peer name other");
  const auto taken = io::open_tap_device(spec(ns, "eth0"));
  ASSERT_FALSE(taken);
  EXPECT_NE(taken.error().message.find("eth0"), std::string::npos) << taken.error().message;
  EXPECT_FALSE(io::remove_tap_device(ns.path(), "eth0")) << "not ours to remove";
  EXPECT_NE(ns.index_of("eth0"), 0U);

  io::TapSpec nowhere = spec(ns, "eth0");
  nowhere.netns = "/run/netns/podwire-no-such";
  const auto missing = io::open_tap_device(nowhere);
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("podwire-no-such"), std::string::npos);
  EXPECT_TRUE(io::remove_tap_device(nowhere.netns, "eth0")) << "gone with its namespace";
  nowhere.netns = "/dev/null";
  EXPECT_FALSE(io::open_tap_device(nowhere));
  EXPECT_FALSE(io::open_tap_device(spec(ns, "a-name-of-16-ch.")));
  EXPECT_FALSE(io::open_tap_device(spec(ns, "")));
}

// Workers look at an idle port only when epoll names it.
TEST_P(Tap, ColdQueuesAreFoundByWaiting) {
  const Namespace ns;
  const auto port = open(spec(ns, "eth0"));
  bring_up(ns, "10.1.0.1");
  tables::PortTable table;
  table.ports.resize(3);
  table.ports[2].role = tables::PortRole::pod;
  table.ports[2].port = port;
  PollList polls(0, 1, -1);
  polls.rebuild(table);
  Burst batch;
  unsigned batches = 0;
  const auto process = [&](Burst& frames) {
    ++batches;
    for (unsigned i = 0; i < frames.size(); ++i) {
      EXPECT_EQ(frames[i].in_port, 2);
      rte_pktmbuf_free(frames[i].mbuf);
    }
    frames.clear();
  };
  while (!polls.quiet()) polls.receive(batch, process);
  EXPECT_EQ(polls.receive(batch, process), 0U);
  const unsigned before = batches;
  ns.shell("ping -c1 -W1 10.1.0.2 >/dev/null || true");  // asks by ARP
  EXPECT_EQ(polls.receive(batch, process), 0U) << "cold: not polled";
  polls.wait(1000000);
  EXPECT_FALSE(polls.quiet());
  EXPECT_GT(polls.receive(batch, process), 0U);
  EXPECT_GT(batches, before);
}

}  // namespace
}  // namespace podwire::test
