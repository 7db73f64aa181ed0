// A vhost-user peer that may say and write anything: the shipped port and the real librte_vhost
// behind a real socket, messages with descriptors of every kind, then virtqueues, virtio-net
// headers and memory while frames go both ways, and memory that is cut. Nothing crashes or hangs,
// who is hung up on for what it did is told why, and every buffer and descriptor comes back.
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/io/sigbus_guard.h"
#include "dataplane/io/vhost_user.h"
#include "tests/fuzz/hostile_peer.h"

namespace podwire::test {
namespace {

using io::Descriptor;
using Request = io::VhostMessage;

constexpr std::size_t kRegion = 1U << 16U;
constexpr unsigned kRing = 8, kPairs = 2;
constexpr std::uint64_t kGuest = 0x100000, kUser = 0x7f0000000000;
// Of ring r, in the region: its descriptors here, available and used ring behind. Buffers follow.
constexpr unsigned kRingBytes = 0x400, kAvail = 0x100, kUsed = 0x200;
constexpr std::uint32_t kAcknowledged = 1 | Request::kNeedReply;  // of version 1
constexpr int kPatienceMs = 20'000;                               // a busy machine is no hang

std::string socket_path() {
  static const std::string path = "/tmp/fuzz-vhost-" + std::to_string(getpid());
  return path;
}

int listener() {
  static const Descriptor made = [] {
    Descriptor fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un name{.sun_family = AF_UNIX, .sun_path = {}};
    socket_path().copy(name.sun_path, sizeof name.sun_path - 1);
    unlink(name.sun_path);
    require(bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0 &&
                listen(fd.get(), 8) == 0,
            "no socket to listen on");
    std::atexit([] { unlink(socket_path().c_str()); });
    return fd;
  }();
  return made.get();
}

bool readable(int fd) {
  pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
  int ready = 0;
  do {
    ready = poll(&wait, 1, kPatienceMs);
  } while (ready < 0 && errno == EINTR);
  return ready == 1;
}

// Sockets, eventfds and memory; not pipes, since libFuzzer's symbolizer has some.
unsigned open_descriptors() {
  DIR* folder = opendir("/proc/self/fd");
  require(folder != nullptr, "no /proc/self/fd");
  unsigned count = 0;
  while (const dirent* entry = readdir(folder)) {
    std::array<char, 64> target{};
    if (readlinkat(dirfd(folder), entry->d_name, target.data(), target.size() - 1) <= 0) continue;
    const std::string_view what = target.data();
    if (what.starts_with("socket:") || what.starts_with("anon_inode:") ||
        what.starts_with("/memfd:fuzz")) {
      ++count;
    }
  }
  closedir(folder);
  return count;
}

class Peer {
 public:
  Peer() : file_(memfd_create("fuzz", MFD_CLOEXEC)) {
    require(ftruncate(file_.get(), kRegion) == 0, "no memory for a region");
    const int served = listener();
    auto port = io::VhostUserPort::open({.path = socket_path(), .queues = kPairs}, *pools().packets,
                                        *pools().large);
    require(port.has_value(), "the port does not open");
    port_ = std::move(*port);
    require(readable(served), "the port does not connect");
    connection_ = Descriptor(accept4(served, nullptr, nullptr, SOCK_CLOEXEC));
    require(static_cast<bool>(connection_), "no connection");
  }

  // The right words, so that the rings are reached; what is in them is the input's.
  void shake_hands(std::uint8_t what) {
    std::uint64_t features = 1ULL << 30U;
    if ((what & 1U) != 0) features |= io::virtio_feature::mrg_rxbuf;
    if ((what & 2U) != 0) features |= io::virtio_feature::version_1;
    if ((what & 4U) != 0) features |= io::kVhostFeatures & 0xfff;
    say(Request::set_owner, 1, 0, nullptr, 0, {});
    say_right(Request::set_features, features);
    say_right(Request::set_protocol_features, io::kVhostProtocolFeatures);
    share_memory((what & 8U) != 0);
    const unsigned rings = (what & 16U) != 0 ? 2 * kPairs : 2;
    for (unsigned ring = 0; ring < rings; ++ring) set_up(ring, what >> 5U);
    await();
  }

  void act(Input& input) {
    switch (input.byte() % 10) {
      case 0:
        return say_anything(input);
      case 1:
        return shake_hands(input.byte());
      case 2:
        return write_memory(input);
      case 3:
        return receive(input.byte(), input.byte());
      case 4:
        return send(input.byte(), input.take<std::uint16_t>(), input.byte());
      case 5:
        return write_ring(input);
      case 6:
        static_cast<void>(port_->rest(input.byte() % kPairs));
        return;
      case 7:
      case 8:
        return offer(input);
      default:
        static_cast<void>(ftruncate(file_.get(), input.byte() * 512));
    }
  }

 private:
  // `fds` go with it.
  void say(std::uint32_t request, std::uint32_t flags, std::uint32_t size, const void* payload,
           std::size_t bytes, const std::vector<int>& fds) {
    if (!connection_) return;
    std::array<std::uint32_t, 3> header{request, flags, size};
    std::array<iovec, 2> parts{
        {{header.data(), sizeof header}, {const_cast<void*>(payload), bytes}}};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * Request::kMaxFds)> control{};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    if (!fds.empty()) {
      message.msg_control = control.data();
      message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
      cmsghdr* rights = CMSG_FIRSTHDR(&message);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
      std::memcpy(CMSG_DATA(rights), fds.data(), sizeof(int) * fds.size());
    }
    if (sendmsg(connection_.get(), &message, MSG_NOSIGNAL) < 0) return over();
    if (request == Request::set_owner && (flags & Request::kNeedReply) != 0) ++unanswered_;
  }

  // After what was said the owner is set, which changes nothing, with the wish to hear of it: the
  // acknowledgement comes when all is done with and the rings given back, or the connection ends.
  void await() {
    if (!connection_) return;
    const std::array<std::uint32_t, 3> question{Request::set_owner, kAcknowledged, 0};
    if (::send(connection_.get(), question.data(), sizeof question, MSG_NOSIGNAL) < 0) {
      return over();
    }
    for (++unanswered_; unanswered_ > 0;) {
      std::array<std::uint32_t, 3> header{};
      std::array<std::uint8_t, 4096> payload{};
      if (!read_whole(header.data(), sizeof header)) return over();
      require(header[2] <= payload.size(), "an answer is longer than any can be");
      if (!read_whole(payload.data(), header[2])) return over();
      if (header[0] == Request::set_owner) --unanswered_;
    }
  }

  bool read_whole(void* to, std::size_t bytes) {
    auto* at = static_cast<std::uint8_t*>(to);
    while (bytes > 0) {
      require(readable(connection_.get()), "a message is neither answered nor refused");
      const ssize_t count = recv(connection_.get(), at, bytes, 0);
      if (count <= 0) return false;
      at += count;
      bytes -= static_cast<std::size_t>(count);
    }
    return true;
  }

  void over() {
    connection_ = Descriptor();
    require(!port_->up() || !port_->down_reason().empty(), "hung up without a word");
  }

  void say_anything(Input& input) {
    const std::uint32_t request = input.byte() % 44;
    const std::uint8_t kinds = input.byte();
    std::array<std::uint8_t, 640> payload{};
    std::size_t bytes = input.byte();
    input.copy(payload.data(), bytes);
    // A size that is not what follows costs the library's patience: now and then only.
    const std::uint32_t size = (kinds & 0xfcU) == 0xfcU ? input.take<std::uint32_t>() : bytes;
    const Descriptor event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    std::vector<int> fds;
    for (unsigned i = 0; i < (kinds & 3U); ++i) {
      fds.push_back((kinds & 4U) != 0 ? event.get() : file_.get());
    }
    say(request, (kinds & 8U) != 0 ? kAcknowledged : 1, size, payload.data(), bytes, fds);
    await();
  }

  template <typename Payload>
  void say_right(std::uint32_t request, const Payload& payload, const std::vector<int>& fds = {}) {
    say(request, 1, sizeof payload, &payload, sizeof payload, fds);
  }

  void share_memory(bool in_two) {
    struct {
      std::uint32_t regions, padding;
      std::array<Request::Region, 2> region;
    } table{};
    const std::uint64_t size = in_two ? kRegion / 2 : kRegion;
    table.regions = in_two ? 2 : 1;
    for (unsigned i = 0; i < table.regions; ++i) {
      table.region[i] = {kGuest + i * size, size, kUser + i * size, i * size};
    }
    const auto bytes = static_cast<std::uint32_t>(8 + table.regions * sizeof(Request::Region));
    say(Request::set_mem_table, 1, bytes, &table, bytes,
        std::vector<int>(table.regions, file_.get()));
  }

  void set_up(unsigned ring, unsigned odd) {
    const std::uint64_t at = kUser + std::uint64_t{ring} * kRingBytes;
    Request::VringState state{ring, odd == 1 ? kRing / 2 : kRing};
    say_right(Request::set_vring_num, state);
    state.number = odd == 2 ? 0xfffe : 0;
    say_right(Request::set_vring_base, state);
    say_right(Request::set_vring_addr,
              Request::VringAddress{ring, 0, at, at + kUsed, at + kAvail, 0});
    const Descriptor event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    const std::uint64_t index = ring;
    say_right(Request::set_vring_call, index, {event.get()});
    say_right(Request::set_vring_kick, index, {event.get()});
    state.number = 1;
    say_right(Request::set_vring_enable, state);
  }

  void write_memory(Input& input) {
    const auto at = input.take<std::uint16_t>();
    std::array<std::uint8_t, 80> bytes{};
    const std::size_t count = input.byte() % bytes.size();
    input.copy(bytes.data(), count);
    write_at(at, bytes.data(), count);
  }

  // A mapping of its own would be cut as podwire's is; a write() brings no SIGBUS here.
  void write_at(unsigned at, const void* bytes, std::size_t count) {
    static_cast<void>(!pwrite(file_.get(), bytes, count, at));
  }

  // Where a fuzzer would need long to get by itself: a descriptor in its place, and buffers
  // offered.
  void write_ring(Input& input) {
    const std::uint8_t what = input.byte();
    const unsigned ring = what % (2 * kPairs), base = ring * kRingBytes;
    const unsigned place = (what >> 2U) % kRing;
    if ((what & 0x80U) != 0) {
      const std::uint8_t at = input.byte();
      const std::uint16_t head = far_or_near(at), index = input.byte();
      write_at(base + kAvail + 4 + 2 * place, &head, sizeof head);
      write_at(base + kAvail + 2, &index, sizeof index);
      return;
    }
    write_descriptor(base, place, input);
  }

  void write_descriptor(unsigned base, unsigned place, Input& input) {
    struct {
      std::uint64_t address;
      std::uint32_t length;
      std::uint16_t flags, next;
    } descriptor{};
    descriptor.flags = input.byte() & 7U;
    descriptor.next = far_or_near(input.byte());
    descriptor.length = input.take<std::uint16_t>();
    descriptor.address = kGuest + input.take<std::uint16_t>();
    write_at(base + 16 * place, &descriptor, sizeof descriptor);
  }

  // In the ring, just behind it, or out of sight.
  static std::uint16_t far_or_near(std::uint8_t byte) {
    return byte < 0xf0 ? byte & 15U : static_cast<std::uint16_t>(byte << 8U);
  }

  // The next buffer in its turn, and podwire's look at it.
  void offer(Input& input) {
    const std::uint8_t what = input.byte();
    const unsigned ring = what & 3U, base = ring * kRingBytes, place = offered_[ring] % kRing;
    write_descriptor(base, place, input);
    const std::uint16_t head = what < 0xf0 ? place : far_or_near(what);
    write_at(base + kAvail + 4 + 2 * place, &head, sizeof head);
    ++offered_[ring];
    write_at(base + kAvail + 2, &offered_[ring], sizeof offered_[ring]);
    if (ring % 2 == 1) {
      receive(32, static_cast<std::uint8_t>(ring / 2 | (what & 0x80U)));
    } else {
      send(1, static_cast<std::uint16_t>(what << 4U), static_cast<std::uint8_t>(ring / 2));
    }
  }

  // Some of what comes goes back, as it came: what a guest left to offloads is left to another.
  void receive(std::uint8_t most, std::uint8_t queue) {
    std::array<rte_mbuf*, 64> out;
    const unsigned count = port_->receive(queue % kPairs, std::span(out).first(most % 65U));
    for (unsigned i = 0; i < count; ++i) check_received(*out[i]);
    const unsigned taken =
        (queue & 0x80U) != 0 ? port_->transmit(queue, std::span(out).first(count)) : 0;
    require(taken <= count, "more were taken than there were");
    for (unsigned i = taken; i < count; ++i) rte_pktmbuf_free(out[i]);
  }

  void send(std::uint8_t count, std::uint16_t length, std::uint8_t worker) {
    std::vector<rte_mbuf*> frames;
    for (unsigned i = 0; i < count % 16U; ++i) {
      rte_mbuf* first = rte_pktmbuf_alloc(pools().packets);
      const auto bytes = std::min<std::uint16_t>(length % 4096U + 14U, io::kPacketBytes);
      std::memset(rte_pktmbuf_append(first, bytes), 0, bytes);
      if (length % 3 == 0) first->ol_flags = RTE_MBUF_F_TX_UDP_CKSUM;
      frames.push_back(first);
    }
    const unsigned taken = port_->transmit(worker, frames);
    require(taken <= frames.size(), "more were taken than there were");
    for (std::size_t i = taken; i < frames.size(); ++i) rte_pktmbuf_free(frames[i]);
  }

  Descriptor file_;
  std::shared_ptr<io::VhostUserPort> port_;
  Descriptor connection_;
  unsigned unanswered_ = 0;
  std::array<std::uint16_t, 2 * kPairs> offered_{};
};

}  // namespace
}  // namespace podwire::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace podwire::test;
  // What is opened once and lives as long as the process.
  [[maybe_unused]] static const bool warm = (static_cast<void>(Peer()), true);
  const unsigned buffers = buffers_held(), descriptors = open_descriptors();
  {
    Input input(data, size);
    Peer peer;
    if (const std::uint8_t how = input.byte(); how != 0) peer.shake_hands(how);
    while (!input.empty()) peer.act(input);
  }
  require(buffers_held() == buffers, "a buffer did not come back");
  require(podwire::io::watched_ranges() == 0, "a region is still watched");
  require(open_descriptors() == descriptors, "a descriptor did not come back");
  return 0;
}
