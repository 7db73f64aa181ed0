// Sends as fast as it can into one vhost-user socket and takes what comes out of another: the
// guest's side of both. Its rings are full of frames and buffers that never change: a round moves
// indices only, so that whoever forwards between the sockets sets the rate.
//
//   vhost_generator --in SOCKET --out SOCKET [--size 64] [--seconds 2] [--check]
//
// Listens, waits for whoever forwards to connect, and sends UDP of pod a to the Service
// 10.96.0.10:53, one flow for each place of the ring. Prints one line of JSON; with --check every
// frame that lies in the last buffers must have been translated to the backend, 10.244.1.3:5300.
// Sources: QEMU docs/interop/vhost-user.rst, virtio 1.2 section 2.7.
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

constexpr unsigned kEntries = 1024, kBuffer = 2048, kHeader = 12;
constexpr std::uint64_t kGuest = 0x100000000, kUser = 0x7f0000000000;
constexpr std::size_t kRing = 0x10000, kBuffers = 2 * kRing;
constexpr std::size_t kBytes = kBuffers + 2 * std::size_t{kEntries} * kBuffer;
constexpr std::uint64_t kFeatures = 1ULL << 15 | 1ULL << 30 | 1ULL << 32;

[[noreturn]] void stop(const std::string& sentence) {
  std::fprintf(stderr, "vhost_generator: %s\n", sentence.c_str());
  std::exit(2);
}

struct [[gnu::packed]] Descriptor {
  std::uint64_t address;
  std::uint32_t length;
  std::uint16_t flags, next;
};

// Ring 0 is what the guest receives, ring 1 what it sends.
class Guest {
 public:
  explicit Guest(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) stop(path + ": longer than a socket's path may be");
    std::memcpy(address.sun_path, path.c_str(), path.size());
    listener_ = socket(AF_UNIX, SOCK_STREAM, 0);
    unlink(path.c_str());
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        listen(listener_, 1) != 0) {
      stop(path + ": cannot listen");
    }
    memory_ = memfd_create("generator", 0);
    if (ftruncate(memory_, kBytes) != 0) stop("no memory");
    base_ = static_cast<std::uint8_t*>(
        mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memory_, 0));
    if (base_ == MAP_FAILED) stop("no memory");
  }

  // `length` is what a descriptor offers to send, or to receive into.
  void fill_ring(unsigned ring, unsigned length) {
    auto* descriptors = reinterpret_cast<Descriptor*>(base_ + ring * kRing);
    for (std::uint16_t i = 0; i < kEntries; ++i) {
      descriptors[i] = {kGuest + static_cast<std::uint64_t>(buffer(ring, i) - base_), length,
                        static_cast<std::uint16_t>(ring == 0 ? 2 : 0), 0};
      avail(ring)[2 + i] = i;
    }
  }
  void connect() {
    connection_ = accept(listener_, nullptr, nullptr);
    if (connection_ < 0) stop("nobody connects");
    ask(1);
    send(3, {});
    ask(15);
    send_number(16, 1);
    send_number(2, kFeatures);
    const std::uint64_t table[] = {1, kGuest, kBytes, kUser, 0};
    send(5, {table, sizeof table}, memory_);
    for (std::uint32_t ring = 0; ring < 2; ++ring) set_ring(ring);
  }

  [[nodiscard]] std::uint8_t* buffer(unsigned ring, unsigned number) const {
    return base_ + kBuffers + (std::size_t{ring} * kEntries + number) * kBuffer;
  }
  // Offers all places that came back; how many.
  unsigned turn(unsigned ring) {
    auto* used = reinterpret_cast<std::uint16_t*>(base_ + ring * kRing + 0x6000);
    const std::uint16_t index = __atomic_load_n(&used[1], __ATOMIC_ACQUIRE);
    const auto count = static_cast<std::uint16_t>(index - seen_[ring]);
    if (count == 0) return 0;
    seen_[ring] = index;
    offer(ring, count);
    return count;
  }
  void offer(unsigned ring, std::uint16_t count) {
    offered_[ring] = static_cast<std::uint16_t>(offered_[ring] + count);
    __atomic_store_n(&avail(ring)[1], offered_[ring], __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    const auto* used = reinterpret_cast<std::uint16_t*>(base_ + ring * kRing + 0x6000);
    if ((__atomic_load_n(&used[0], __ATOMIC_RELAXED) & 1) == 0) eventfd_write(kicks_[ring], 1);
  }

 private:
  struct Bytes {
    const void* data = nullptr;
    std::size_t size = 0;
  };
  std::uint16_t* avail(unsigned ring) {
    return reinterpret_cast<std::uint16_t*>(base_ + ring * kRing + 0x4000);
  }
  void set_ring(std::uint32_t ring) {
    const std::uint64_t at = kUser + ring * kRing;
    send_number(8, ring | std::uint64_t{kEntries} << 32U);
    send_number(10, ring);
    const std::uint64_t where[] = {ring, at, at + 0x6000, at + 0x4000, 0};
    send(9, {where, sizeof where});
    avail(ring)[0] = 1;  // no calls: we poll
    kicks_[ring] = eventfd(0, EFD_NONBLOCK);
    const std::uint64_t number = ring;
    send(13, {&number, sizeof number}, eventfd(0, EFD_NONBLOCK));
    send(12, {&number, sizeof number}, kicks_[ring]);
    send_number(18, ring | 1ULL << 32U);
  }
  void send_number(std::uint32_t request, std::uint64_t number) {
    send(request, {&number, sizeof number});
  }
  void send(std::uint32_t request, Bytes payload, int descriptor = -1) {
    std::uint32_t head[] = {request, 1, static_cast<std::uint32_t>(payload.size)};
    iovec parts[] = {{head, sizeof head}, {const_cast<void*>(payload.data), payload.size}};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    if (descriptor >= 0) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* part = CMSG_FIRSTHDR(&message);
      *part = {
          .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
      std::memcpy(CMSG_DATA(part), &descriptor, sizeof descriptor);
    }
    if (sendmsg(connection_, &message, MSG_NOSIGNAL) < 0) stop("the forwarder hung up");
  }
  void ask(std::uint32_t request) {
    send(request, {});
    std::array<char, 20> answer;
    if (recv(connection_, answer.data(), answer.size(), MSG_WAITALL) != 20) stop("no answer");
  }

  int listener_ = -1, connection_ = -1, memory_ = -1;
  std::array<int, 2> kicks_{-1, -1};
  std::array<std::uint16_t, 2> seen_{}, offered_{};
  std::uint8_t* base_ = nullptr;
};

void put16(std::uint8_t* at, unsigned value) {
  at[0] = static_cast<std::uint8_t>(value >> 8);
  at[1] = static_cast<std::uint8_t>(value);
}

// UDP without a checksum, as IPv4 allows.
void write_frame(std::uint8_t* frame, unsigned size, unsigned flow) {
  std::memcpy(frame, "\xee\xee\xee\xee\xee\xee\x0a\0\0\0\0\x02\x08\0", 14);
  std::memcpy(frame + 14, "\x45\0\0\0\0\0\x40\0\x40\x11\0\0\x0a\xf4\x01\x02\x0a\x60\0\x0a", 20);
  put16(frame + 16, size - 14);
  unsigned sum = 0;
  for (unsigned i = 14; i < 34; i += 2) sum += frame[i] * 256U + frame[i + 1];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16U);
  put16(frame + 24, 0xffff - sum);
  put16(frame + 34, 20000 + flow);
  put16(frame + 36, 53);
  put16(frame + 38, size - 34);
  put16(frame + 40, 0);
}

bool translated(const std::uint8_t* frame) {
  return std::memcmp(frame + 30, "\x0a\xf4\x01\x03", 4) == 0 && frame[36] * 256 + frame[37] == 5300;
}

struct Options {
  std::string in, out;
  unsigned size = 64;
  double seconds = 2;
  bool check = false;
};

Options read_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (word == "--check") {
      options.check = true;
      continue;
    }
    ++i;
    if (word == "--in") {
      options.in = value;
    } else if (word == "--out") {
      options.out = value;
    } else if (word == "--size") {
      options.size = static_cast<unsigned>(std::atoi(value));
    } else if (word == "--seconds") {
      options.seconds = std::atof(value);
    } else {
      stop("what is " + word + "?");
    }
  }
  if (options.in.empty() || options.out.empty() || options.size < 60 ||
      options.size > kBuffer - kHeader) {
    stop("needs --in, --out, and a --size of 60 to 2036");
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = read_options(argc, argv);
  Guest sender(options.in), receiver(options.out);
  sender.fill_ring(1, kHeader + options.size);
  sender.fill_ring(0, kBuffer);
  receiver.fill_ring(0, kBuffer);
  for (unsigned i = 0; i < kEntries; ++i)
    write_frame(sender.buffer(1, i) + kHeader, options.size, i);
  sender.connect();
  receiver.connect();
  receiver.offer(0, kEntries);
  sender.offer(0, kEntries);
  sender.offer(1, kEntries);

  using Clock = std::chrono::steady_clock;
  const auto limit = Clock::now() + std::chrono::seconds(20);
  const std::chrono::duration<double> length(options.seconds);
  std::uint64_t count = 0, started_at = 0;
  Clock::time_point started{};
  // Measured from the fourth ring on: by then every flow is known.
  for (unsigned round = 0;; ++round) {
    sender.turn(1);
    sender.turn(0);
    count += receiver.turn(0);
    if (round % 256 != 0) continue;
    const auto now = Clock::now();
    if (started_at == 0 && count > 4 * std::uint64_t{kEntries}) {
      started_at = count;
      started = now;
    }
    if (started_at != 0 && now - started >= length) break;
    if (started_at == 0 && now > limit) stop("nothing comes out");
  }
  const std::chrono::duration<double> took = Clock::now() - started;
  unsigned wrong = 0;
  for (unsigned i = 0; options.check && i < kEntries; ++i) {
    wrong += translated(receiver.buffer(0, i) + kHeader) ? 0 : 1;
  }
  std::printf("{\"mpps\": %.3f, \"wrong\": %u}\n",
              static_cast<double>(count - started_at) / took.count() / 1e6, wrong);
}
