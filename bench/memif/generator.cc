// Sends as fast as it can into one memif socket and takes what comes out of another, a client on
// both. Its ring is full of frames that never change: a round moves indices only, so that whoever
// forwards between the sockets sets the rate.
//
//   generator --in SOCKET --out SOCKET [--size 64] [--ring 10] [--seconds 2] [--check]
//
// Frames are UDP of pod a to the Service 10.96.0.10:53, one flow for each place of the ring. Prints
// one line of JSON; with --check every frame's destination and port are looked at, which must be
// the backend's.
#include <rte_cycles.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "bench/lib/record.h"
#include "dataplane/io/memif_handshake.h"
#include "dataplane/io/memif_socket.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"

namespace podwire::bench {
namespace {

constexpr unsigned kBurst = 64;

struct Options {
  std::string in, out;
  unsigned size = 64, log2_ring_size = 10;
  double seconds = 2;
  bool check = false;
};

// A client's end of a socket, with one ring each way; the memory's layout is MemifHandshake's.
class End {
 public:
  // Again and again for a minute: testpmd serves a socket before it knows its interface.
  End(const std::string& socket, unsigned log2_ring_size) {
    std::string why;
    for (unsigned tries = 0; link_ == nullptr; ++tries) {
      if (tries == 600) stop("generator", socket + ": " + why);
      if (tries > 0) usleep(100000);
      why = connect(socket, log2_ring_size);
    }
  }
  [[nodiscard]] io::MemifRing& to_server() { return link_->send[0]->queue.ring(); }
  [[nodiscard]] io::MemifRing& to_client() { return link_->receive[0]->queue.ring(); }
  [[nodiscard]] std::uint32_t offset(bool up, unsigned place) {
    const unsigned size = to_server().size();
    const auto rings = 2 * (sizeof(io::memif::Ring) + sizeof(io::memif::Descriptor) * size);
    return static_cast<std::uint32_t>(rings + ((up ? 0 : size) + place % size) *
                                                  std::size_t{io::kMemifBufferBytes});
  }
  [[nodiscard]] std::uint8_t* buffer(bool up, unsigned place) {
    return link_->memory.region(0)->start() + offset(up, place);
  }

 private:
  // Empty when it stands, else why not.
  std::string connect(const std::string& socket, unsigned log2_ring_size) {
    io::MemifAddress address;
    address.socket = socket;
    auto connection = io::connect_memif(address);
    if (!connection) return connection.error().message;
    connection_ = std::move(*connection);
    io::MemifTerms terms;
    terms.role = io::MemifRole::client;
    terms.log2_ring_size = log2_ring_size;
    io::MemifHandshake handshake(terms);
    while (!handshake.connected()) {
      if (auto done = step(handshake); !done) return done.error().message;
    }
    link_ = handshake.take_link();
    return {};
  }
  Result<void> step(io::MemifHandshake& handshake) {
    auto received = io::receive_memif(connection_.get());
    if (!received) return tl::unexpected(received.error());
    if (!*received) {
      usleep(1000);
      return {};
    }
    auto taken = handshake.take((*received)->message, std::move((*received)->passed));
    while (taken && !handshake.outgoing.empty()) {
      const auto out = std::move(handshake.outgoing.front());
      handshake.outgoing.pop_front();
      taken = io::send_memif(connection_.get(), out.message, out.passed.get());
    }
    return taken;
  }

  io::Descriptor connection_;
  std::unique_ptr<io::MemifLink> link_;
};

void write_frame(std::uint8_t* at, unsigned size, unsigned flow) {
  std::memset(at, 0, size);
  std::memcpy(at, net::kGatewayMac.bytes.data(), 6);
  constexpr std::uint8_t kPodMac[] = {0x0a, 0, 0, 0, 0, 2};
  std::memcpy(at + 6, kPodMac, sizeof kPodMac);
  at[12] = 8;
  auto& ip = *reinterpret_cast<net::Ipv4*>(at + 14);
  ip.version_ihl = 0x45;
  ip.total_length = net::be16(static_cast<std::uint16_t>(size - 14));
  ip.ttl = 64;
  ip.protocol = net::protocol::udp;
  ip.source = net::Address::parse("10.244.1.2")->v4();
  ip.destination = net::Address::parse("10.96.0.10")->v4();
  ip.checksum = net::checksum_of(net::add_sum(0, reinterpret_cast<std::uint8_t*>(&ip), 20));
  auto& udp = *reinterpret_cast<net::Udp*>(at + 34);
  udp.source_port = net::be16(static_cast<std::uint16_t>(1024 + flow));
  udp.destination_port = net::be16(53);
  udp.length = net::be16(static_cast<std::uint16_t>(size - 34));
}

// Translated to the Service's backend, 10.244.1.3:5300.
bool is_translated(const std::uint8_t* at) {
  constexpr std::uint8_t kBackend[] = {10, 244, 1, 3};
  return std::memcmp(at + 30, kBackend, 4) == 0 && at[36] == 5300 >> 8 && at[37] == (5300 & 0xff);
}

class Generator {
 public:
  explicit Generator(const Options& options)
      : options_(options),
        in_(options.in, options.log2_ring_size),
        out_(options.out, options.log2_ring_size) {
    for (unsigned i = 0; i < in_.to_server().size(); ++i) {
      write_frame(in_.buffer(true, i), options.size, i);
      in_.to_server().write(static_cast<std::uint16_t>(i), {.flags = 0,
                                                            .region = 0,
                                                            .length = options.size,
                                                            .offset = in_.offset(true, i),
                                                            .metadata = 0});
    }
    in_.to_client().mask_interrupt(true);
    out_.to_client().mask_interrupt(true);
    taken_ = out_.to_client().tail();
  }

  // Frames a second that came out, over `seconds`.
  double run(double seconds) {
    const std::uint64_t start = rte_rdtsc();
    const auto length = static_cast<std::uint64_t>(seconds * hz());
    const std::uint64_t before = received_;
    std::uint64_t now = start;
    while (now - start < length) {
      for (unsigned i = 0; i < 64; ++i) {
        push();
        pull();
      }
      now = rte_rdtsc();
    }
    return static_cast<double>(received_ - before) * hz() / static_cast<double>(now - start);
  }
  [[nodiscard]] std::uint64_t wrong() const { return wrong_; }

 private:
  static double hz() {
    static const double measured = [] {
      timespec a{}, b{};
      clock_gettime(CLOCK_MONOTONIC_RAW, &a);
      const std::uint64_t start = rte_rdtsc();
      usleep(100000);
      const std::uint64_t cycles = rte_rdtsc() - start;
      clock_gettime(CLOCK_MONOTONIC_RAW, &b);
      const double ns = static_cast<double>(b.tv_sec - a.tv_sec) * 1e9 +
                        static_cast<double>(b.tv_nsec - a.tv_nsec);
      return static_cast<double>(cycles) * 1e9 / ns;
    }();
    return measured;
  }

  // At most half a ring under way: a full one would have both sides fight for its lines.
  void push() {
    io::MemifRing& ring = in_.to_server();
    const auto under_way = static_cast<std::uint16_t>(sent_ - ring.tail());
    if (under_way + kBurst > ring.size() / 2) return;
    sent_ = static_cast<std::uint16_t>(sent_ + kBurst);
    ring.set_head(sent_);
  }
  void pull() {
    io::MemifRing& ring = out_.to_client();
    const std::uint16_t end = ring.tail();
    if (end == taken_) return;
    for (; taken_ != end; ++taken_) {
      if (options_.check && !is_translated(out_.buffer(false, taken_))) ++wrong_;
      ring.write(taken_, {.flags = 0,
                          .region = 0,
                          .length = io::kMemifBufferBytes,
                          .offset = out_.offset(false, taken_),
                          .metadata = 0});
      ++received_;
    }
    ring.set_head(static_cast<std::uint16_t>(end + ring.size()));
  }

  const Options options_;
  End in_, out_;
  std::uint16_t sent_ = 0, taken_ = 0;
  std::uint64_t received_ = 0, wrong_ = 0;
};

Options read_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--check") {
      options.check = true;
      continue;
    }
    if (i + 1 == argc) stop("generator", word + " needs a value", 2);
    const char* value = argv[++i];
    if (word == "--in") {
      options.in = value;
    } else if (word == "--out") {
      options.out = value;
    } else if (word == "--size") {
      options.size = static_cast<unsigned>(std::strtoul(value, nullptr, 10));
    } else if (word == "--ring") {
      options.log2_ring_size = static_cast<unsigned>(std::strtoul(value, nullptr, 10));
    } else if (word == "--seconds") {
      options.seconds = std::strtod(value, nullptr);
    } else {
      stop("generator", "no option " + word, 2);
    }
  }
  if (options.in.empty() || options.out.empty()) stop("generator", "say --in and --out", 2);
  if (options.size < 42 || options.size > io::kMemifBufferBytes || options.log2_ring_size < 8 ||
      options.log2_ring_size > io::memif::kMaxLog2Size) {
    stop("generator", "--size is 42 to 2048, --ring 8 to 14", 2);
  }
  return options;
}

}  // namespace
}  // namespace podwire::bench

int main(int argc, char** argv) {
  const auto options = podwire::bench::read_options(argc, argv);
  podwire::bench::Generator generator(options);
  // Until it flows: testpmd offers its buffers some time after it has connected.
  double rate = 0;
  for (unsigned i = 0; i < 600 && rate == 0; ++i) rate = generator.run(0.1);
  rate = generator.run(options.seconds);
  std::printf("{\"size\":%u,\"mpps\":%.3f,\"wrong\":%llu}\n", options.size, rate / 1e6,
              static_cast<unsigned long long>(generator.wrong()));
  return rate > 0 ? 0 : 1;
}
