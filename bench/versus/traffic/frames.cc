#include "bench/versus/traffic/frames.h"

#include <cstring>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"

namespace podwire::versus {
namespace {

constexpr std::uint32_t kMagic = 0x76657273;

struct Frame {
  net::Ethernet ethernet;
  net::Ipv4 ip;
  net::Udp udp;
  net::be32 magic, flow;
  std::uint8_t filler[10];
};
static_assert(sizeof(Frame) == kFrameSize);

constexpr std::size_t kUdpSize = kFrameSize - offsetof(Frame, udp);

struct Ends {
  std::uint32_t source, destination;
  std::uint16_t source_port, destination_port;
};

std::uint64_t transport_sum(const Frame& f) {
  const std::uint64_t pseudo =
      net::pseudo_header_sum(&f.ip.source, &f.ip.destination, 4, net::protocol::udp, kUdpSize);
  return net::add_sum(pseudo, &f.udp, kUdpSize);
}

void write(std::uint8_t* out, const Scene& scene, std::uint32_t flow, const Ends& ends) {
  Frame f{};
  f.ethernet = {scene.router_mac, scene.own_mac, net::be16(net::ether_type::ipv4)};
  f.ip.version_ihl = 0x45;
  f.ip.total_length = net::be16(kFrameSize - sizeof(net::Ethernet));
  f.ip.fragment = net::be16(net::Ipv4::kDontFragment);
  f.ip.ttl = kTtl;
  f.ip.protocol = net::protocol::udp;
  f.ip.source = net::be32(ends.source);
  f.ip.destination = net::be32(ends.destination);
  f.ip.checksum = net::checksum_of(net::add_sum(0, &f.ip, sizeof f.ip));
  f.udp.source_port = net::be16(ends.source_port);
  f.udp.destination_port = net::be16(ends.destination_port);
  f.udp.length = net::be16(kUdpSize);
  f.magic = net::be32(kMagic);
  f.flow = net::be32(flow);
  f.udp.checksum = net::checksum_of(transport_sum(f));
  // RFC 768: a sum of zero is sent as all ones.
  if (f.udp.checksum.raw() == 0) f.udp.checksum = net::be16::from_raw(0xffff);
  std::memcpy(out, &f, sizeof f);
}

const char* fault_of(const Frame& f, const Scene& scene) {
  if (f.ethernet.destination != scene.own_mac) return "is for another Ethernet address";
  if (f.ip.version_ihl != 0x45 || f.ip.total_length.host() != kFrameSize - sizeof(net::Ethernet)) {
    return "has another length";
  }
  if (f.ip.ttl != kTtl - 1) return "has not exactly one hop less";
  return nullptr;
}

const char* sum_fault_of(const Frame& f) {
  if (net::fold(net::add_sum(0, &f.ip, sizeof f.ip)) != 0xffff) {
    return "has a wrong IPv4 checksum";
  }
  return net::fold(transport_sum(f)) == 0xffff ? nullptr : "has a wrong UDP checksum";
}

}  // namespace

void write_request(std::uint8_t* out, const Scene& scene, std::uint32_t flow) {
  write(out, scene, flow,
        {scene.client(flow), scene.service(flow), scene.client_port(flow), scene.service_port});
}

void write_reply(std::uint8_t* out, const Scene& scene, std::uint32_t flow, std::uint32_t backend) {
  write(out, scene, flow,
        {backend, scene.client(flow), scene.backend_port, scene.client_port(flow)});
}

Seen examine(const std::uint8_t* frame, std::size_t size, const Scene& scene, bool thorough) {
  Frame f;
  if (size < sizeof f) return {Seen::Kind::foreign, 0, 0, nullptr};
  std::memcpy(&f, frame, sizeof f);
  if (f.ethernet.type.host() != net::ether_type::ipv4 || f.magic.host() != kMagic) {
    return {Seen::Kind::foreign, 0, 0, nullptr};
  }
  Seen seen{Seen::Kind::wrong, f.flow.host(), f.ip.destination.host(), fault_of(f, scene)};
  if (seen.fault == nullptr && thorough) seen.fault = sum_fault_of(f);
  if (seen.fault != nullptr) return seen;
  const std::uint32_t source = f.ip.source.host(), destination = f.ip.destination.host();
  const std::uint16_t from = f.udp.source_port.host(), to = f.udp.destination_port.host();
  const std::uint32_t client = scene.client(seen.flow);
  const std::uint16_t port = scene.client_port(seen.flow);
  if (source == client && from == port) {
    seen.kind = Seen::Kind::request;
    if (!scene.serves(destination, seen.flow)) seen.fault = "goes to no backend of its Service";
    if (to != scene.backend_port) seen.fault = "goes to another port than the backend's";
  } else if (destination == client && to == port) {
    seen.kind = Seen::Kind::reply;
    if (source != scene.service(seen.flow)) seen.fault = "answers from another address";
    if (from != scene.service_port) seen.fault = "answers from another port";
  } else {
    seen.fault = "is neither from nor to its client";
  }
  if (seen.fault != nullptr) seen.kind = Seen::Kind::wrong;
  return seen;
}

}  // namespace podwire::versus
