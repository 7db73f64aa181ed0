#include "bench/new_flows/traffic.h"

#include "bench/lib/record.h"
#include "dataplane/flow/flows.h"
#include "dataplane/net/checksum.h"

namespace podwire::bench {
namespace {

using test::Bytes;
using test::Frame;
using test::World;

constexpr std::uint8_t kTcp = net::protocol::tcp;
constexpr const char* kClient = "10.244.1.2";
constexpr std::uint32_t kClientV4 = 0x0af40102, kFirstService = 0x0a600101;
constexpr std::uint16_t kServicePort = 80, kFirstPort = 1024, kFirstEndpoint = 2000;

// Services that differ by this many have the same endpoints, and never a connection from one port.
constexpr std::uint32_t kEndpointSets = 1000;

std::uint32_t ports_apart(std::uint32_t services) {
  return std::min(services, kEndpointSets);
}
std::uint32_t service_v4(std::uint32_t service) {
  return kFirstService + service / 250 * 256 + service % 250;
}
// Endpoint n of a Service: pods b and c in turn. No two connections have one reply.
std::uint16_t endpoint_port(std::uint32_t service, unsigned n) {
  return static_cast<std::uint16_t>(kFirstEndpoint + service % kEndpointSets * 5 + n / 2);
}
std::string endpoint_address(std::uint32_t service, unsigned n) {
  return (service + n) % 2 == 0 ? "10.244.1.3" : "10.244.1.4";
}
std::string with_port(const std::string& address, std::uint16_t port) {
  return address + ":" + std::to_string(port);
}
std::string text_of(std::uint32_t v4) {
  return net::Address::from_v4(net::be32(v4)).to_string();
}

void add_services(World& world, const ClientOptions& options) {
  for (std::uint32_t s = 0; s < options.services + options.other_services; ++s) {
    std::vector<std::string> endpoints;
    for (unsigned n = 0; n < options.endpoints; ++n) {
      endpoints.push_back(with_port(endpoint_address(s, n), endpoint_port(s, n)));
    }
    world.add_cluster_ip(options.protocol, with_port(text_of(service_v4(s)), kServicePort),
                         endpoints);
  }
}

void add_policies(World& world, std::uint8_t protocol) {
  // Ports beside the peers, so that the judgement has both halves to do.
  std::vector<std::uint16_t> ports;
  for (std::uint32_t s = 0; s < kEndpointSets; ++s) {
    for (unsigned n = 0; n < 10; n += 2) ports.push_back(endpoint_port(s, n));
  }
  world.isolate("a", false,
                {{.peers = {"10.244.1.3", "10.244.1.4"}, .ports = ports, .protocol = protocol}});
  for (const char* pod : {"b", "c"}) {
    world.isolate(pod, true, {{.peers = {kClient}, .ports = ports, .protocol = protocol}});
  }
}

std::size_t l4_checksum_of(std::uint8_t protocol) {
  return 34 + (protocol == kTcp ? 16 : 6);
}

Frame with_payload_of(Client::Kind kind, Frame frame) {
  using Kind = Client::Kind;
  if (kind == Kind::udp) return frame.with_payload(18);
  return kind == Kind::data || kind == Kind::data_back ? frame.with_payload(64) : frame;
}

std::string_view flags_of(Client::Kind kind) {
  switch (kind) {
    case Client::Kind::udp:
      return "";
    case Client::Kind::syn:
      return "S";
    case Client::Kind::syn_ack:
      return "SA";
    case Client::Kind::ack:
      return "A";
    case Client::Kind::data:
    case Client::Kind::data_back:
      return "PA";
    case Client::Kind::fin:
    case Client::Kind::fin_back:
      return "FA";
  }
  return "";
}

bool from_server(Client::Kind kind) {
  using Kind = Client::Kind;
  return kind == Kind::syn_ack || kind == Kind::data_back || kind == Kind::fin_back;
}

template <typename T>
T read(const Bytes& bytes, std::size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

}  // namespace

PacketForm::PacketForm(World& world, std::string_view port, const Frame& frame)
    : bytes_(frame_bytes(world.addressed_in(std::string(port), frame))),
      port_(world.port_id(std::string(port))),
      l4_checksum_(l4_checksum_of(frame.protocol)) {}

void PacketForm::append(Burst& batch, rte_mempool* pool, const Tuple& tuple) const {
  rte_mbuf* mbuf = rte_pktmbuf_alloc(pool);
  char* room = mbuf == nullptr
                   ? nullptr
                   : rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(bytes_.size()));
  if (room == nullptr) stop("new_flows", "no packet buffers left");
  auto* to = reinterpret_cast<std::uint8_t*>(room);
  std::memcpy(to, bytes_.data(), bytes_.size());
  net::Delta addresses, ports;
  addresses.change(read<net::be32>(bytes_, 26), tuple.source)
      .change(read<net::be32>(bytes_, 30), tuple.destination);
  ports.change(read<net::be16>(bytes_, 34), tuple.source_port)
      .change(read<net::be16>(bytes_, 36), tuple.destination_port);
  std::memcpy(to + 26, &tuple, 12);
  const auto update = [&](std::size_t at, std::uint64_t delta) {
    const net::be16 sum = net::updated_checksum(read<net::be16>(bytes_, at), delta);
    std::memcpy(to + at, &sum, sizeof sum);
  };
  update(24, addresses.folded());
  update(l4_checksum_, std::uint64_t{addresses.folded()} + ports.folded());
  batch.append(mbuf, port_);
}

std::uint32_t Client::most() const {
  return ports_apart(options_.services) * 60'000;
}

std::uint32_t Client::service_of(std::uint32_t i) const {
  return i % options_.services;
}

std::uint16_t Client::client_port(std::uint32_t i) const {
  return static_cast<std::uint16_t>(kFirstPort + i / ports_apart(options_.services));
}

Client::Client(const ClientOptions& options)
    : options_(options),
      world_(options.workers, [&](DataplaneConfig& config) { config.flows_v4 = options.limit; }) {
  add_services(world_, options);
  add_policies(world_, options.protocol);
  for (std::size_t id = 0; id < sinks_.size(); ++id) {
    auto& port = world_.ports.ports[id].port;
    sinks_[id] = std::make_shared<Sink>(port->kind());
    port = sinks_[id];
  }
  world_.publish();
  for (unsigned n = 0; n <= static_cast<unsigned>(Kind::fin_back); ++n) {
    const auto kind = static_cast<Kind>(n);
    const auto flags = flags_of(kind);
    const auto form = [&](const char* port, const char* from, const char* to) {
      Frame frame = flags.empty() ? test::udp(from, 1, to, 1) : test::tcp(from, 1, to, 1, flags);
      return PacketForm(world_, port, with_payload_of(kind, frame));
    };
    client_.push_back(form("a", kClient, "10.96.1.1"));
    server_b_.push_back(form("b", "10.244.1.3", kClient));
    server_c_.push_back(form("c", "10.244.1.4", kClient));
  }
}

void Client::append(Burst& batch, std::uint32_t i, Kind kind) const {
  const auto n = static_cast<std::size_t>(kind);
  rte_mempool* pool = world_.shared().packet_pool;
  const std::uint32_t service = service_of(i);
  const net::be32 client(kClientV4);
  const net::be16 port(client_port(i));
  if (!from_server(kind)) {
    client_[n].append(batch, pool,
                      {client, net::be32(service_v4(service)), port, net::be16(kServicePort)});
    return;
  }
  const auto& form = service % 2 == 0 ? server_b_[n] : server_c_[n];
  form.append(
      batch, pool,
      {net::be32(0x0af40103 + service % 2), client, net::be16(endpoint_port(service, 0)), port});
}

flow::V4::Key Client::key(std::uint32_t i) const {
  flow::V4::Key key;
  key.protocol = options_.protocol;
  key.source = net::be32(kClientV4);
  key.destination = net::be32(service_v4(service_of(i)));
  key.source_port = net::be16(client_port(i));
  key.destination_port = net::be16(kServicePort);
  return key;
}

std::uint64_t Client::cycles_per_second() const {
  return world_.shared().cycles_per_second;
}

double Client::bytes_per_connection() const {
  const auto& map = world_.shared().flows->v4;
  return static_cast<double>(map.bytes()) / map.limit();
}

std::size_t Client::discard_sent() {
  std::size_t count = 0;
  for (auto& sink : sinks_) {
    const auto frames = sink->frames();
    count += frames.size();
    rte_pktmbuf_free_bulk(const_cast<rte_mbuf**>(frames.data()),
                          static_cast<unsigned>(frames.size()));
    (void)sink->take();
  }
  return count;
}

void Client::stop_for_loss(const std::string& what) const {
  std::string drops;
  const auto& counters = world_.worker().counters.drops;
  for (std::size_t n = 0; n < counters.size(); ++n) {
    if (const auto count = counters[n].read()) {
      drops += ", " + std::string(kReasonNames[n]) + " " + std::to_string(count);
    }
  }
  stop("new_flows",
       what + " were lost; dropped since the start" + (drops.empty() ? ": none" : drops));
}

test::Frame Client::first_frame(std::uint32_t i) const {
  const std::string service = text_of(service_v4(service_of(i)));
  return options_.protocol == kTcp ? test::tcp(kClient, client_port(i), service, kServicePort, "S")
                                   : test::udp(kClient, client_port(i), service, kServicePort);
}

// Any endpoint of the Service will do; the frame must be right for the one it is.
void Client::verify(std::uint32_t i) {
  Worker& w = world_.worker();
  const auto send = [&](const char* port, const Frame& frame) {
    Burst batch;
    batch.append(world_.make_buffer({port, frame}), world_.port_id(port));
    w.process(batch);
  };
  const auto leaves = [&](const char* port, const Frame& frame) {
    const auto frames = sinks_[world_.port_id(port)]->frames();
    const bool right = frames.size() == 1 &&
                       test::bytes_of(*frames[0]) == frame_bytes(world_.addressed_out(port, frame));
    if (!right) stop("new_flows", "connection " + std::to_string(i) + " leaves wrongly");
    discard_sent();
  };
  const auto created = w.counters.flows_created.read();
  const Frame out = first_frame(i);
  send("a", out);
  const char* pod = sinks_[world_.port_id("b")]->frames().empty() ? "c" : "b";
  const std::string address = *pod == 'b' ? "10.244.1.3" : "10.244.1.4";
  const auto frames = sinks_[world_.port_id(pod)]->frames();
  if (frames.size() != 1) stop("new_flows", "connection " + std::to_string(i) + " is lost");
  const auto endpoint = read<net::be16>(test::bytes_of(*frames[0]), 36).host();
  unsigned n = 0;
  const auto is_nth = [&] {
    return endpoint_port(service_of(i), n) == endpoint &&
           endpoint_address(service_of(i), n) == address;
  };
  while (n < options_.endpoints && !is_nth()) ++n;
  if (n == options_.endpoints) stop("new_flows", "a Service sends to what is not its endpoint");
  leaves(pod, out.to(address, endpoint).one_hop_less());
  const bool tcp = options_.protocol == kTcp;
  const Frame back = tcp ? test::tcp(address, endpoint, kClient, client_port(i), "SA")
                         : test::udp(address, endpoint, kClient, client_port(i));
  send(pod, back);
  leaves("a", back.from(text_of(service_v4(service_of(i))), kServicePort).one_hop_less());
  if (w.counters.flows_created.read() != created + 1) stop("new_flows", "a flow is not counted");
}

void Client::verify(std::uint32_t first, std::uint32_t count) {
  for (std::uint32_t i = first; i < first + count; ++i) verify(i);
}

// A packet of each connection, in bursts. All of them must leave.
void Client::send_all(std::uint32_t first, std::uint32_t count, Kind kind) {
  for (std::uint32_t i = first; i < first + count;) {
    Burst burst;
    for (; i < first + count && !burst.full(); ++i) append(burst, i, kind);
    const unsigned packets = burst.size();
    world_.worker().process(burst);
    world_.shared().quiescence.report(0);
    if (discard_sent() != packets) stop_for_loss("packets of new connections");
  }
}

void Client::open(std::uint32_t first, std::uint32_t count) {
  const auto& created = world_.worker().counters.flows_created;
  const auto before = created.read();
  send_all(first, count, options_.protocol == kTcp ? Kind::syn : Kind::udp);
  if (created.read() - before != count) {
    stop("new_flows", std::to_string(count) + " connections were begun, " +
                          std::to_string(created.read() - before) + " exist");
  }
}

void Client::establish(std::uint32_t first, std::uint32_t count) {
  send_all(first, count, Kind::syn_ack);
  send_all(first, count, Kind::ack);
}

void Client::close(std::uint32_t first, std::uint32_t count) {
  auto& map = world_.shared().flows->v4;
  for (std::uint32_t i = first; i < first + count; ++i) {
    flow::Flow<flow::V4>* flow = map.find(key(i));
    if (flow == nullptr || !map.erase(*flow)) stop("new_flows", "a connection is not in the table");
    if (i % 64 == 0) world_.shared().quiescence.report(0);
  }
  rest();
}

void Client::renew_policies() {
  add_policies(world_, options_.protocol);
}

void Client::rest() {
  auto& map = world_.shared().flows->v4;
  for (int round = 0; round < 3; ++round) {
    for (unsigned w = 0; w < options_.workers; ++w) world_.shared().quiescence.report(w);
    map.sweep(0, 1, map.groups(), world_.worker().now_seconds);
  }
}

}  // namespace podwire::bench
