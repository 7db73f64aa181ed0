#include "bench/taps/pod.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "bench/lib/record.h"
#include "dataplane/io/virtio_header.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"

namespace podwire::bench {
namespace {

constexpr unsigned kMessages = 256;
constexpr std::uint16_t kPort = 9;
constexpr int kBuffer = 64 << 20;
constexpr net::Mac kNeighbour{{2, 0, 0, 0, 0, 2}}, kOther{{2, 0, 0, 0, 0, 3}};

[[noreturn]] void refused(const std::string& what) {
  stop("taps", what + ": " + std::strerror(errno));
}

net::be32 address(unsigned number, unsigned host) {
  return net::be32(0x0a000000 + (number << 8) + host);
}

sockaddr_in socket_address(unsigned number, unsigned host) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_port = htons(kPort);
  in.sin_addr.s_addr = address(number, host).raw();
  return in;
}

void write_ip(std::vector<std::uint8_t>& frame, std::uint8_t protocol, net::be32 source,
              net::be32 destination) {
  frame[12] = 8;
  auto& ip = *reinterpret_cast<net::Ipv4*>(frame.data() + 14);
  ip.version_ihl = 0x45;
  ip.total_length = net::be16(static_cast<std::uint16_t>(frame.size() - 14));
  ip.ttl = 64;
  ip.protocol = protocol;
  ip.source = source;
  ip.destination = destination;
  ip.checksum = net::checksum_of(net::add_sum(0, reinterpret_cast<std::uint8_t*>(&ip), 20));
}

}  // namespace

void run_command(const std::string& command) {
  if (std::system(command.c_str()) != 0) stop("taps", "this failed: " + command);
}

Pod::Pod(std::string device, unsigned number)
    : device_(std::move(device)),
      number_(number),
      scratch_(65536),
      messages_(kMessages),
      parts_(kMessages) {
  const std::string net = "10.0." + std::to_string(number) + ".";
  run_command("ip link set " + device_ + " txqueuelen 4096 up && ip addr add " + net + "1/24 dev " +
              device_ + " && ip neigh replace " + net + "2 lladdr " + kNeighbour.to_string() +
              " dev " + device_ + " nud permanent");
  ifreq request{};
  device_.copy(request.ifr_name, IFNAMSIZ - 1);
  open_sockets();
  if (ioctl(datagrams_, SIOCGIFHWADDR, &request) != 0) refused(device_);
  std::memcpy(mac_.bytes.data(), request.ifr_hwaddr.sa_data, mac_.bytes.size());
  const auto frame = tcp_frame(kNeighbour, mac_, 1, 2);
  io::VirtioHeader header;
  header.flags = io::VirtioHeader::kNeedsChecksum;
  header.gso_type = io::VirtioHeader::kTcpV4;
  header.hdr_len = kTcpHeaders;
  header.gso_size = kSegmentBytes;
  header.csum_start = 34;
  header.csum_offset = offsetof(net::Tcp, checksum);
  super_.resize(sizeof header + frame.size());
  std::memcpy(super_.data(), &header, sizeof header);
  std::memcpy(super_.data() + sizeof header, frame.data(), frame.size());
}

void Pod::open_sockets() {
  datagrams_ = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const sockaddr_in here = socket_address(number_, 1), there = socket_address(number_, 2);
  if (datagrams_ < 0 || bind(datagrams_, reinterpret_cast<const sockaddr*>(&here), sizeof here) ||
      connect(datagrams_, reinterpret_cast<const sockaddr*>(&there), sizeof there)) {
    refused("a UDP socket at " + device_);
  }
  if (setsockopt(datagrams_, SOL_SOCKET, SO_RCVBUFFORCE, &kBuffer, sizeof kBuffer) != 0 ||
      setsockopt(datagrams_, SOL_SOCKET, SO_SNDBUFFORCE, &kBuffer, sizeof kBuffer) != 0) {
    refused("larger buffers for a socket");
  }
  frames_ = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  sockaddr_ll at{};
  at.sll_family = AF_PACKET;
  at.sll_ifindex = static_cast<int>(if_nametoindex(device_.c_str()));
  const int on = 1;
  if (frames_ < 0 || bind(frames_, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 ||
      setsockopt(frames_, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) != 0 ||
      setsockopt(frames_, SOL_SOCKET, SO_SNDBUFFORCE, &kBuffer, sizeof kBuffer) != 0) {
    refused("a packet socket at " + device_);
  }
}

Pod::~Pod() {
  close(datagrams_);
  close(frames_);
}

void Pod::send_datagrams(unsigned frame_bytes, unsigned count) {
  for (unsigned sent = 0; sent < count;) {
    const unsigned now = std::min(count - sent, kMessages);
    for (unsigned i = 0; i < now; ++i) {
      parts_[i] = {scratch_.data(), frame_bytes - 42};
      messages_[i].msg_hdr = {};
      messages_[i].msg_hdr.msg_iov = &parts_[i];
      messages_[i].msg_hdr.msg_iovlen = 1;
    }
    const int done = sendmmsg(datagrams_, messages_.data(), now, 0);
    if (done <= 0) refused("sending from " + device_);
    sent += static_cast<unsigned>(done);
  }
}

void Pod::send_super_frames(unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    if (send(frames_, super_.data(), super_.size(), 0) < 0) refused("sending from " + device_);
  }
}

unsigned Pod::take_datagrams() {
  unsigned taken = 0;
  while (true) {
    for (unsigned i = 0; i < kMessages; ++i) {
      parts_[i] = {scratch_.data(), scratch_.size()};
      messages_[i].msg_hdr = {};
      messages_[i].msg_hdr.msg_iov = &parts_[i];
      messages_[i].msg_hdr.msg_iovlen = 1;
    }
    const int done = recvmmsg(datagrams_, messages_.data(), kMessages, 0, nullptr);
    if (done <= 0) return taken;
    taken += static_cast<unsigned>(done);
  }
}

std::vector<std::uint8_t> Pod::datagram_frame(unsigned frame_bytes) const {
  std::vector<std::uint8_t> frame(frame_bytes);
  std::memcpy(frame.data(), mac_.bytes.data(), 6);
  std::memcpy(frame.data() + 6, kNeighbour.bytes.data(), 6);
  write_ip(frame, net::protocol::udp, address(number_, 2), address(number_, 1));
  auto& udp = *reinterpret_cast<net::Udp*>(frame.data() + 34);
  udp.source_port = udp.destination_port = net::be16(kPort);
  udp.length = net::be16(static_cast<std::uint16_t>(frame_bytes - 34));
  return frame;
}

std::vector<std::uint8_t> Pod::super_frame() const {
  return tcp_frame(kOther, kNeighbour, 2, 1);
}

std::vector<std::uint8_t> Pod::tcp_frame(const net::Mac& destination, const net::Mac& source,
                                         unsigned from, unsigned to) const {
  std::vector<std::uint8_t> frame(kSuperFrame);
  std::memcpy(frame.data(), destination.bytes.data(), 6);
  std::memcpy(frame.data() + 6, source.bytes.data(), 6);
  write_ip(frame, net::protocol::tcp, address(number_, from), address(number_, to));
  auto& tcp = *reinterpret_cast<net::Tcp*>(frame.data() + 34);
  tcp.source_port = tcp.destination_port = net::be16(kPort);
  tcp.data_offset = 0x50;
  tcp.flags = net::Tcp::ack;
  // A partial checksum holds the pseudo-header's sum.
  const auto sum = net::pseudo_header_sum(frame.data() + 26, frame.data() + 30, 4,
                                          net::protocol::tcp, kSuperFrame - 34);
  tcp.checksum = net::be16::from_raw(net::fold(sum));
  return frame;
}

std::uint64_t Pod::received_bytes() const {
  std::ifstream devices("/proc/thread-self/net/dev");
  for (std::string line; std::getline(devices, line);) {
    const auto colon = line.find(device_ + ":");
    if (colon == std::string::npos) continue;
    return std::strtoull(line.c_str() + colon + device_.size() + 1, nullptr, 10);
  }
  stop("taps", "/proc/net/dev does not know " + device_);
}

}  // namespace podwire::bench
