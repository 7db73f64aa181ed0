#include "tests/lib/world.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <sched.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "dataplane/flow/affinity.h"
#include "dataplane/flow/flows.h"
#include "dataplane/stages/fragments.h"
#include "dataplane/stages/hold.h"
#include "tests/fuzz/conversation.h"

namespace podwire::test {
namespace {

constexpr unsigned kPacketBuffers = 4095, kLargeBuffers = 31;
constexpr std::uint16_t kLargeSize = 65000;

net::Prefix prefix(std::string_view text) {
  const auto parsed = net::Prefix::parse(text);
  if (parsed) return *parsed;
  std::fprintf(stderr, "test: \"%s\" is no prefix\n", std::string(text).c_str());
  std::abort();
}
const net::Mac kUplinkMac = mac("02:00:00:00:00:01");
const net::Mac kNode2Mac = mac("02:00:00:00:00:02");
const net::Mac kRouterMac = mac("02:00:00:00:00:fe");

// "10.96.0.1:80", "[fd00::1]:80", ":30080", "[]:30080"
std::pair<std::string, std::uint16_t> split(const std::string& text) {
  const auto colon = text.rfind(':');
  std::string host = text.substr(0, colon);
  if (!host.empty() && host.front() == '[') host = host.substr(1, host.size() - 2);
  return {host, static_cast<std::uint16_t>(std::stoul(text.substr(colon + 1)))};
}

rte_mempool* pool(const char* name, unsigned buffers, std::uint16_t size) {
  if (rte_mempool* existing = rte_mempool_lookup(name)) return existing;
  rte_mempool* made = rte_pktmbuf_pool_create(
      name, buffers, 0, 0, static_cast<std::uint16_t>(size + RTE_PKTMBUF_HEADROOM), SOCKET_ID_ANY);
  if (made != nullptr) return made;
  std::fprintf(stderr, "test: no memory for %s: %s\n", name, rte_strerror(rte_errno));
  std::exit(1);
}

unsigned buffers_in_use() {
  return rte_mempool_in_use_count(pool("packets", kPacketBuffers, 2048)) +
         rte_mempool_in_use_count(pool("large", kLargeBuffers, kLargeSize));
}

}  // namespace

void start_eal(unsigned memory_mb) {
  static bool started = false;
  if (started) return;
  started = true;
  // The EAL ties the calling thread to a core; a test has no use for that.
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof(cores), &cores) != 0) std::abort();
  unsigned core = 0;
  while (!CPU_ISSET(core, &cores)) ++core;
  std::vector<std::string> arguments{"test",
                                     "--no-huge",
                                     "--no-pci",

                                     "-m",
                                     std::to_string(memory_mb),
                                     "--no-telemetry",
                                     "--no-shconf",
                                     "--log-level=warning",
                                     "-l",
                                     std::to_string(core)};
  std::vector<char*> pointers;
  for (auto& argument : arguments) pointers.push_back(argument.data());
  if (rte_eal_init(static_cast<int>(pointers.size()), pointers.data()) < 0) {
    std::fprintf(stderr, "test: DPDK does not start: %s\n", rte_strerror(rte_errno));
    std::exit(1);
  }
  if (sched_setaffinity(0, sizeof(cores), &cores) != 0) std::abort();
}

MemoryPort::~MemoryPort() {
  for (rte_mbuf* mbuf : sent) rte_pktmbuf_free(mbuf);
}

unsigned MemoryPort::receive(unsigned, std::span<rte_mbuf*>) noexcept {
  return 0;
}

unsigned MemoryPort::transmit(unsigned, std::span<rte_mbuf*> frames) noexcept {
  const auto taken = std::min<unsigned>(room, static_cast<unsigned>(frames.size()));
  sent.insert(sent.end(), frames.begin(), frames.begin() + taken);
  room -= taken;
  return taken;
}

Bytes bytes_of(const rte_mbuf& mbuf) {
  Bytes out;
  for (const rte_mbuf* segment = &mbuf; segment != nullptr; segment = segment->next) {
    const auto* start = rte_pktmbuf_mtod(segment, const std::uint8_t*);
    out.insert(out.end(), start, start + segment->data_len);
  }
  return out;
}

World::World(unsigned workers, const std::function<void(DataplaneConfig&)>& change) {
  start_eal();
  DataplaneConfig config;
  config.worker_count = workers;
  config.flows_v4 = config.flows_v6 = 4096;
  config.fragment_datagrams = 16;
  config.affinity_entries = 256;
  config.spread_flows = false;  // a burst stays with the worker that a test gives it to
  if (change) change(config);
  shared_ = std::make_unique<Shared>(config, workers);
  shared_->packet_pool = pool("packets", kPacketBuffers, 2048);
  shared_->large_pool = pool("large", kLargeBuffers, kLargeSize);
  for (unsigned i = 0; i < workers; ++i) {
    workers_.push_back(std::make_unique<Worker>(*shared_, i));
    // The same choices every time.
    workers_.back()->random_state = workers_.back()->choice_key = 0x9e3779b97f4a7c15ULL + i;
    shared_->quiescence.online(i);
  }

  tables::PortInfo uplink{.role = tables::PortRole::uplink, .name = "uplink", .mac = kUplinkMac};
  add_port(0, uplink, "uplink");
  tables::PortInfo host{.role = tables::PortRole::host, .name = "host", .mac = kUplinkMac};
  add_port(1, host, "host");
  for (unsigned pod = 2; pod <= 4; ++pod) {
    const std::string number = std::to_string(pod);
    tables::PortInfo info{.role = tables::PortRole::pod,
                          .name = std::string(1, static_cast<char>('a' + pod - 2)),
                          .mac = mac("0a:00:00:00:00:0" + number),
                          .mtu = 1480,
                          .v4 = address("10.244.1." + number),
                          .v6 = address("fd00:244:1::" + number),
                          .has_v4 = true,
                          .has_v6 = true};
    add_port(static_cast<PortId>(pod), info, "tap");
  }
  ports.uplink = 0;
  ports.host = 1;
  add_routes();
  services.service_ranges = {prefix("10.96.0.0/16"), prefix("fd00:96::/112")};
  services.node_port_addresses = {address(kNodeV4), address(kNodeV6)};
  next.synced = true;
  next.policy_generation = next.route_generation = 1;
  next.node_addresses = {address(kNodeV4), address(kNodeV6)};
  std::sort(next.node_addresses.begin(), next.node_addresses.end());
  publish();
  buffers_ = buffers_in_use();
}

World::~World() {
  for (unsigned i = 0; i < workers_.size(); ++i) shared_->quiescence.offline(i);
  const char* folder = std::getenv("PODWIRE_SEEDS");
  if (folder == nullptr || conversation_.empty()) return;
  static unsigned number = 0;
  std::ofstream file(std::string(folder) + "/case-" + std::to_string(number++), std::ios::binary);
  file.write(reinterpret_cast<const char*>(conversation_.data()),
             static_cast<std::streamsize>(conversation_.size()));
}

void World::write_down(const Step& step) {
  constexpr std::size_t kLongest = 4000;  // longer ones only slow a fuzzer down
  for (const auto& in : step.in) {
    Event event{.port = static_cast<std::uint8_t>(port_id(in.port)),
                .first_segment = static_cast<std::uint16_t>(in.first_segment),
                .segment_size = in.segment_size,
                .bytes = in.bytes ? *in.bytes : frame_bytes(addressed_in(in.port, in.frame))};
    if (&in != &step.in.back()) event.port |= Event::kSameBurst;
    const bool tcp = in.frame.protocol == 6 && (in.frame.partial || in.offloads != 0);
    if (tcp) event.flags |= Event::kTcpSum;
    if (in.frame.partial && in.frame.protocol == 17) event.flags |= Event::kUdpSum;
    if ((in.offloads & RTE_MBUF_F_TX_TCP_SEG) != 0) event.flags |= Event::kUnsegmented;
    if (event.bytes.size() + conversation_.size() <= kLongest) write_event(conversation_, event);
  }
}

void World::add_port(PortId id, tables::PortInfo info, const char* kind) {
  const bool uplink = info.role == tables::PortRole::uplink;
  auto driver = std::make_shared<MemoryPort>(kind);
  info.port = driver;
  devices_.push_back({.name = info.name,
                      .in_source = uplink ? kNode2Mac : info.mac,
                      .in_destination = uplink ? info.mac : net::kGatewayMac,
                      .out_source = uplink ? info.mac : net::kGatewayMac,
                      .out_destination = uplink ? kNode2Mac : info.mac,
                      .port = driver});
  ports.ports.resize(std::max<std::size_t>(ports.ports.size(), id + 1U));
  ports.ports[id] = std::move(info);
}

void World::add_routes() {
  using tables::NextHop;
  using tables::NextHopKind;
  auto& hops = routes.next_hops;
  hops.resize(1);
  const auto add = [&](std::string_view to, const NextHop& hop) {
    hops.push_back(hop);
    routes.prefixes.set(prefix(to), static_cast<tables::NextHopId>(hops.size() - 1));
    return static_cast<tables::NextHopId>(hops.size() - 1);
  };
  for (PortId id = 2; id < ports.ports.size(); ++id) {
    const auto& pod = ports.ports[id];
    const NextHop hop{.kind = NextHopKind::pod,
                      .port = id,
                      .mtu = pod.mtu,
                      .destination_mac = pod.mac,
                      .source_mac = net::kGatewayMac};
    for (const auto& own : {pod.v4, pod.v6}) add(own.to_string(), hop);
  }
  add("10.244.1.0/24", {.kind = NextHopKind::blackhole});
  add("fd00:244:1::/64", {.kind = NextHopKind::blackhole});
  const NextHop host{.kind = NextHopKind::host,
                     .port = 1,
                     .destination_mac = kUplinkMac,
                     .source_mac = net::kGatewayMac};
  add(kNodeV4, host);
  add(kNodeV6, host);
  const NextHop node2{
      .kind = NextHopKind::link, .port = 0, .destination_mac = kNode2Mac, .source_mac = kUplinkMac};
  NextHop tunnel = node2;
  tunnel.kind = NextHopKind::tunnel;
  tunnel.mtu = 1480;
  tunnel.tunnel_source = address(kNodeV4).v4();
  tunnel.tunnel_destination = address(kNode2V4).v4();
  const auto twin = add("10.244.2.0/24", tunnel);
  add("fd00:244:2::/64", node2);
  NextHop node2_v4 = node2;
  node2_v4.pod_source_twin = twin;
  add(kNode2V4, node2_v4);
  add(kNode2V6, node2);
  NextHop router = node2;
  router.destination_mac = kRouterMac;
  router.gateway = address("192.0.2.254");
  add("0.0.0.0/0", router);
  router.gateway = address("2001:db8:2::fe");
  add("::/0", router);

  routes.pools.set(prefix("10.244.0.0/16"), true);
  routes.pools.set(prefix("fd00:244::/32"), true);
  routes.tunnel_peers = {address(kNode2V4).v4()};
  routes.masquerade_v4 = address(kNodeV4);
  routes.masquerade_v6 = address(kNodeV6);
  routes.has_masquerade_v4 = routes.has_masquerade_v6 = true;
}

void World::publish() {
  ++next.generation;
  next.ports = std::make_shared<tables::PortTable>(ports);
  next.services = std::make_shared<tables::ServiceTable>(services);
  next.policies = std::make_shared<tables::PolicyTable>(policies);
  next.routes = std::make_shared<tables::RouteTable>(routes);
  published_.push_back(std::make_unique<tables::Snapshot>(next));
  shared_->snapshot.store(published_.back().get(), std::memory_order_release);
}

void World::advance(std::uint32_t seconds) {
  write_event(conversation_, {.kind = Event::Kind::pass_seconds,
                              .value = static_cast<std::uint8_t>(std::min(seconds, 255U))});
  shared_->start_cycles -= seconds * shared_->cycles_per_second;
}

std::shared_ptr<tables::Service> World::add_service(
    std::uint8_t protocol, const std::vector<std::string>& cluster_backends,
    const std::vector<std::string>& local_backends) {
  auto service = std::make_shared<tables::Service>();
  service->id = next_service_++;
  service->name = "default/service-" + std::to_string(service->id);
  service->protocol = protocol;
  const auto backend = [](const std::string& text) {
    const auto [host, number] = split(text);
    return tables::Backend{.address = address(host), .port = net::be16(number)};
  };
  for (const auto& text : cluster_backends) service->cluster.push_back(backend(text));
  for (const auto& text : local_backends) service->local.push_back(backend(text));
  service->has_any_endpoint = !cluster_backends.empty() || !local_backends.empty();
  return service;
}

void World::add_frontend(const std::shared_ptr<tables::Service>& service, tables::FrontendKind kind,
                         const std::string& address_and_port) {
  const auto [host, number] = split(address_and_port);
  tables::FrontendKey key{.port = net::be16(number), .protocol = service->protocol};
  if (kind != tables::FrontendKind::node_port) {
    key.address = address(host);
  } else if (address_and_port.front() != '[') {
    key.address = net::Address::from_v4(net::be32{});
  }
  services.frontends.set(key, {.service = service, .kind = kind});
  if (kind == tables::FrontendKind::cluster_ip) services.cluster_ips.set(key.address, true);
}

void World::add_cluster_ip(std::uint8_t protocol, const std::string& address_and_port,
                           const std::vector<std::string>& backends) {
  add_frontend(add_service(protocol, backends, {}), tables::FrontendKind::cluster_ip,
               address_and_port);
}

void World::isolate(const std::string& name, bool ingress, const std::vector<Allowed>& allowed) {
  tables::PolicyRowBuilder builder(0);
  builder.add_tier(tables::PolicyAction::deny);
  std::map<tables::IdentityId, std::vector<unsigned>> peers;
  const auto identity_of = [&](const std::string& peer) {
    const auto net = prefix(peer);
    const auto id = next_identity_++;
    const auto& own = net.address;
    if (net == net::Prefix::host(own) && policies.pod(own)) {
      return policies.pod(own)->identity;
    }
    const bool is_pod = net == net::Prefix::host(own) && routes.pools.find(own) != nullptr;
    if (is_pod) {
      policies.set_pod(own, {.identity = id});
    } else {
      policies.set_prefix(net, id);
    }
    return id;
  };
  for (const auto& rule : allowed) {
    std::vector<tables::PortRange> ranges;
    for (const auto number : rule.ports) ranges.push_back({rule.protocol, number, number});
    const unsigned bit = builder.add_rule(tables::PolicyAction::allow, ranges, rule.peers.empty());
    for (const auto& peer : rule.peers) peers[identity_of(peer)].push_back(bit);
  }
  for (const auto& [identity, bits] : peers) builder.set_peer(identity, bits);
  const auto row = builder.finish();
  const auto& info = ports.ports[port_id(name)];
  for (const auto& own : {info.v4, info.v6}) {
    tables::PolicyTable::Pod pod;
    if (const auto existing = policies.pod(own)) {
      pod = *existing;
    } else {
      pod.identity = next_identity_++;
    }
    (ingress ? pod.ingress : pod.egress) = row;
    policies.set_pod(own, pod);
  }
  policies.set_policy_names(
      std::make_shared<std::vector<std::string>>(std::vector<std::string>{"default/policy"}));
  ++next.policy_generation;
}

const World::Device& World::device(const std::string& name) const {
  for (const auto& device : devices_) {
    if (device.name == name) return device;
  }
  std::fprintf(stderr, "test: no port \"%s\"\n", name.c_str());
  std::abort();
}

PortId World::port_id(const std::string& name) const {
  return static_cast<PortId>(&device(name) - devices_.data());
}

MemoryPort& World::port(const std::string& name) {
  return *device(name).port;
}

Frame World::addressed_in(const std::string& port, const Frame& frame) const {
  Frame f = frame;
  if (f.source_mac.is_zero()) f.source_mac = device(port).in_source;
  if (f.destination_mac.is_zero()) f.destination_mac = device(port).in_destination;
  return f;
}

Frame World::addressed_out(const std::string& port, const Frame& frame) const {
  Frame f = frame;
  if (f.source_mac.is_zero()) f.source_mac = device(port).out_source;
  if (!f.destination_mac.is_zero()) return f;
  f.destination_mac = device(port).out_destination;
  if (port != "uplink" || f.tunnel) return f;
  const auto hop = routes.at(routes.find(f.destination));
  if (hop.kind == tables::NextHopKind::link) f.destination_mac = hop.destination_mac;
  return f;
}

rte_mbuf* World::make_buffer(const In& in) {
  const Bytes bytes = in.bytes ? *in.bytes : frame_bytes(addressed_in(in.port, in.frame));
  rte_mbuf* mbuf = rte_pktmbuf_alloc(shared_->packet_pool);
  const std::size_t first =
      std::min<std::size_t>(in.first_segment == 0 ? bytes.size() : in.first_segment, bytes.size());
  if (mbuf == nullptr || first > rte_pktmbuf_tailroom(mbuf)) std::abort();
  std::copy_n(bytes.data(), first, rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(first)));
  if (first < bytes.size()) {
    rte_mbuf* rest = rte_pktmbuf_alloc(shared_->large_pool);
    if (rest == nullptr) std::abort();
    std::memcpy(rte_pktmbuf_append(rest, static_cast<std::uint16_t>(bytes.size() - first)),
                bytes.data() + first, bytes.size() - first);
    if (rte_pktmbuf_chain(mbuf, rest) != 0) std::abort();
  }
  mbuf->ol_flags |= in.offloads;
  mbuf->tso_segsz = in.segment_size;
  if (!in.bytes && in.frame.partial && in.offloads == 0) {
    mbuf->ol_flags |= in.frame.protocol == 6    ? RTE_MBUF_F_TX_TCP_CKSUM
                      : in.frame.protocol == 17 ? RTE_MBUF_F_TX_UDP_CKSUM
                                                : RTE_MBUF_F_TX_SCTP_CKSUM;
  }
  return mbuf;
}

std::string World::run(const Step& step) {
  std::string wrong;
  const Counters before = read_counters();
  write_down(step);
  Worker& w = worker(step.worker);
  Burst batch;
  for (const auto& in : step.in) batch.append(make_buffer(in), port_id(in.port));
  w.process(batch);
  shared_->quiescence.report(step.worker);
  compare_counters(step, before, wrong);
  compare_frames(step, wrong);

  std::int64_t holding = 0, drops = 0, received = 0, originated = 0, sent = 0;
  for (const auto& each : workers_) {
    holding += static_cast<std::int64_t>(each->counters.holding.read());
    received += static_cast<std::int64_t>(each->counters.received.read());
    originated += static_cast<std::int64_t>(each->counters.originated.read());
    sent += static_cast<std::int64_t>(each->counters.sent.read());
    for (const auto& drop : each->counters.drops) drops += static_cast<std::int64_t>(drop.read());
  }
  if (received + originated != sent + drops + holding) {
    wrong += "ledger: received " + std::to_string(received) + " + originated " +
             std::to_string(originated) + " != sent " + std::to_string(sent) + " + drops " +
             std::to_string(drops) + " + holding " + std::to_string(holding) + "\n";
  }
  const unsigned in_use = buffers_in_use();
  if (holding == 0 && in_use != buffers_) {
    wrong +=
        "buffers: " + std::to_string(in_use) + " in use, " + std::to_string(buffers_) + " before\n";
  }
  return wrong;
}

Counters World::read_counters() const {
  Counters out;
  const auto add = [&](const std::string& name, const observe::Counter& counter) {
    out[name] += static_cast<std::int64_t>(counter.read());
  };
  for (const auto& each : workers_) {
    const auto& c = each->counters;
    add("received", c.received);
    add("originated", c.originated);
    add("sent", c.sent);
    add("punted", c.punted);
    add("holding", c.holding);
    add("flows_created", c.flows_created);
    add("flows_removed", c.flows_removed);
    add("flows_expired", c.flows_expired);
    add("policy_rejudged", c.policy_rejudged);
    add("tunnel_in", c.tunnel_in);
    add("tunnel_out", c.tunnel_out);
    for (std::size_t i = 0; i < kReasons; ++i) {
      add("drop." + std::string(kReasonNames[i]), c.drops[i]);
    }
    for (const auto& device : devices_) {
      const auto& port = c.ports[port_id(device.name)];
      add(device.name + ".rx_packets", port.rx_packets);
      add(device.name + ".rx_bytes", port.rx_bytes);
      add(device.name + ".tx_packets", port.tx_packets);
      add(device.name + ".tx_bytes", port.tx_bytes);
      add("port_drops", port.rx_drops);
      add("port_drops", port.tx_drops);
    }
  }
  return out;
}

void World::compare_counters(const Step& step, Counters before, std::string& wrong) {
  Counters expected = step.counters;
  expected["received"] += static_cast<std::int64_t>(step.in.size());
  for (const auto& in : step.in) {
    expected[in.port + ".rx_packets"] += 1;
    const Bytes bytes = in.bytes ? *in.bytes : frame_bytes(addressed_in(in.port, in.frame));
    expected[in.port + ".rx_bytes"] += static_cast<std::int64_t>(bytes.size());
  }
  std::int64_t sent = 0;
  for (const auto& device : devices_) {
    for (const rte_mbuf* mbuf : device.port->sent) {
      ++sent;
      expected[device.name + ".tx_packets"] += 1;
      expected[device.name + ".tx_bytes"] += mbuf->pkt_len;
    }
  }
  expected["sent"] += sent;
  Counters after = read_counters();
  // What podwire made and dropped itself came from no port.
  std::int64_t drops = 0;
  for (const auto& [name, value] : after) {
    if (name.starts_with("drop.")) drops += value - before[name];
  }
  if (const auto at_ports = after["port_drops"] - before["port_drops"]; at_ports > drops) {
    wrong += "ports count " + std::to_string(at_ports) + " drops, reasons " +
             std::to_string(drops) + "\n";
  }
  expected["port_drops"] = after["port_drops"] - before["port_drops"];
  for (const auto& [name, value] : expected) {
    if (!after.contains(name)) wrong += "no counter " + name + "\n";
  }
  for (const auto& [name, value] : after) {
    const std::int64_t moved = value - before[name];
    if (moved != expected[name]) {
      wrong += "counter " + name + " moved by " + std::to_string(moved) + ", expected " +
               std::to_string(expected[name]) + "\n";
    }
  }
}

void World::compare_frames(const Step& step, std::string& wrong) {
  for (const auto& out : step.out) {
    auto& sent = port(out.port).sent;
    if (sent.empty()) {
      wrong += "nothing more came out of " + out.port + "\n";
      continue;
    }
    compare_frame(out, *sent.front(), wrong);
    rte_pktmbuf_free(sent.front());
    sent.pop_front();
  }
  for (const auto& device : devices_) {
    while (!device.port->sent.empty()) {
      wrong += "unexpected frame out of " + device.name + ":\n" +
               hex(bytes_of(*device.port->sent.front())) + "\n";
      rte_pktmbuf_free(device.port->sent.front());
      device.port->sent.pop_front();
    }
  }
}

void World::compare_frame(const Out& expected, const rte_mbuf& actual, std::string& wrong) {
  const Bytes bytes = bytes_of(actual);
  if (bytes.size() != actual.pkt_len) wrong += "segments do not add up to pkt_len\n";
  const bool partial = (actual.ol_flags & RTE_MBUF_F_TX_L4_MASK) != 0 ||
                       (actual.ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0;
  if (const std::string fault = faults(bytes, partial); !fault.empty()) {
    wrong += "out of " + expected.port + ": wrong " + fault + "\n" + hex(bytes) + "\n";
  }
  if (expected.judge) {
    if (const std::string fault = expected.judge(bytes); !fault.empty()) {
      wrong += "out of " + expected.port + ": " + fault + "\n" + hex(bytes) + "\n";
    }
    return;
  }
  Frame frame = addressed_out(expected.port, expected.frame);
  const std::size_t outer = 14 + (frame.tunnel ? 20 : 0);
  if (frame.tunnel && bytes.size() > 20) {
    frame.tunnel->id = static_cast<std::uint16_t>(bytes[18] << 8U | bytes[19]);
  }
  const std::size_t l4 = outer + (frame.v4() ? 20 : 40);
  if (expected.chosen_port != nullptr && bytes.size() > l4 + 6) {
    const bool icmp = frame.protocol == 1 || frame.protocol == 58;
    const std::size_t at = l4 + (icmp ? 4 : 0);
    const auto chosen = static_cast<std::uint16_t>(bytes[at] << 8U | bytes[at + 1]);
    if (icmp) {
      frame.icmp_rest = (frame.icmp_rest & 0xffffU) | std::uint32_t{chosen} << 16U;
    } else {
      frame.source_port = chosen;
    }
    *expected.chosen_port = chosen;
    const auto& config = shared_->config;
    if (chosen < config.masquerade_port_min || chosen > config.masquerade_port_max) {
      wrong += "port " + std::to_string(chosen) + " is not of the masquerade range\n";
    }
  }
  const Bytes wanted = expected.bytes ? *expected.bytes : frame_bytes(frame);
  if (wanted == bytes) return;
  std::size_t at = 0;
  while (at < wanted.size() && at < bytes.size() && wanted[at] == bytes[at]) ++at;
  wrong += "out of " + expected.port + ": differs at byte " + std::to_string(at) + "\nexpected\n" +
           hex(wanted) + "\nactual\n" + hex(bytes) + "\n";
}

Out error_out(std::string port, std::string_view to, std::uint8_t type, std::uint8_t code,
              const Frame& about, std::optional<std::uint32_t> rest) {
  Out out;
  out.port = std::move(port);
  out.judge = [destination = address(to), type, code, about, rest](const Bytes& bytes) {
    const bool v4 = destination.is_v4();
    const std::size_t l4 = 14 + (v4 ? 20 : 40);
    if (bytes.size() < l4 + 8 + (v4 ? 28 : 48)) return std::string("too short for an ICMP error");
    if (bytes[v4 ? 14 + 9 : 14 + 6] != (v4 ? 1 : 58)) return std::string("is not ICMP");
    const std::size_t size = v4 ? 4 : 16;
    if (!std::equal(bytes.begin() + static_cast<std::ptrdiff_t>(l4 - size),
                    bytes.begin() + static_cast<std::ptrdiff_t>(l4),
                    destination.bytes.end() - static_cast<std::ptrdiff_t>(size))) {
      return std::string("goes to another address");
    }
    if (bytes[l4] != type || bytes[l4 + 1] != code) {
      return "is of type " + std::to_string(bytes[l4]) + " code " + std::to_string(bytes[l4 + 1]);
    }
    const std::uint32_t field = static_cast<std::uint32_t>(bytes[l4 + 4]) << 24U |
                                static_cast<std::uint32_t>(bytes[l4 + 5]) << 16U |
                                static_cast<std::uint32_t>(bytes[l4 + 6]) << 8U | bytes[l4 + 7];
    if (rest && field != *rest) return "says " + std::to_string(field);
    const Bytes sent = ip_bytes(about);
    const std::size_t quoted = bytes.size() - l4 - 8;
    if (quoted > sent.size() ||
        !std::equal(bytes.end() - static_cast<std::ptrdiff_t>(quoted), bytes.end(), sent.begin())) {
      return "does not quote\n" + hex(sent);
    }
    return std::string();
  };
  return out;
}

}  // namespace podwire::test
