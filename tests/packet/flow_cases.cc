#include "tests/packet/flow_cases.h"

#include "tests/lib/protocols.h"

namespace podwire::test {
namespace {

constexpr std::uint32_t kServices = kMostFlows / kFlowsPerService;
// Bytes of payload: 64 on the wire over IPv4.
constexpr std::size_t kSmallest = 18, kSmallestTcp = 6;

std::uint16_t client_port(std::uint32_t i) {
  return static_cast<std::uint16_t>(kFirstClientPort + i % kFlowsPerService);
}
// Each Service has a backend port of its own: the same one would give two flows one reply.
std::uint16_t backend_port(std::uint32_t i) {
  return static_cast<std::uint16_t>(5353 + i / kFlowsPerService);
}
std::string number(std::uint32_t i) {
  return std::to_string(i / kFlowsPerService + 1);
}
std::string vip4(std::uint32_t i) {
  return "10.96.1." + number(i);
}
std::string vip6(std::uint32_t i) {
  return "fd00:96::1" + number(i);
}

// A Service of its own for every 50,000 flows of one pod, and a policy that lets them pass.
void services_v4(World& world, const char* backend, std::uint8_t protocol = kUdp) {
  for (std::uint32_t s = 0; s < kServices; ++s) {
    const std::uint32_t i = s * kFlowsPerService;
    world.add_cluster_ip(protocol, vip4(i) + ":53",
                         {std::string(backend) + ":" + std::to_string(backend_port(i))});
  }
  world.isolate("a", false, {{.peers = {backend}, .protocol = protocol}});
  world.publish();
}
void services_v6(World& world) {
  for (std::uint32_t s = 0; s < kServices; ++s) {
    const std::uint32_t i = s * kFlowsPerService;
    world.add_cluster_ip(kUdp, "[" + vip6(i) + "]:53",
                         {"[fd00:244:2::2]:" + std::to_string(backend_port(i))});
  }
  world.isolate("a", false, {{.peers = {"fd00:244:2::2"}}});
  world.publish();
}

In udp_there(std::uint32_t i) {
  return {"a", udp("10.244.1.2", client_port(i), vip4(i), 53).with_payload(kSmallest)};
}
In udp_there_v6(std::uint32_t i) {
  return {"a", udp("fd00:244:1::2", client_port(i), vip6(i), 53).with_payload(kSmallest)};
}

FlowCase dnat_policy_ipip() {
  return {"dnat_policy_ipip",
          "pod to ClusterIP under policy, backend on another node, IPv4 UDP",
          [](World& world) { services_v4(world, "10.244.2.2"); },
          udp_there,
          udp_there,
          [](std::uint32_t i) {
            return Out{"uplink", udp_there(i)
                                     .frame.to("10.244.2.2", backend_port(i))
                                     .one_hop_less()
                                     .through(kNodeV4, kNode2V4)};
          }};
}

FlowCase decap_reverse_dnat() {
  const auto answer = [](std::uint32_t i) {
    return udp("10.244.2.2", backend_port(i), "10.244.1.2", client_port(i)).with_payload(kSmallest);
  };
  return {"decap_reverse_dnat",
          "its reply: out of the tunnel, source becomes the ClusterIP",
          [](World& world) { services_v4(world, "10.244.2.2"); },
          udp_there,
          [answer](std::uint32_t i) {
            return In{"uplink", answer(i).through(kNode2V4, kNodeV4)};
          },
          [answer](std::uint32_t i) {
            return Out{"a", answer(i).from(vip4(i), 53).one_hop_less()};
          }};
}

FlowCase dnat_local() {
  return {"dnat_local",
          "pod to ClusterIP under policy, backend on this node, IPv4 UDP",
          [](World& world) { services_v4(world, "10.244.1.3"); },
          udp_there,
          udp_there,
          [](std::uint32_t i) {
            return Out{"b", udp_there(i).frame.to("10.244.1.3", backend_port(i)).one_hop_less()};
          }};
}

FlowCase pod_to_pod() {
  const auto packet = [](std::uint32_t i) {
    return In{"a", udp("10.244.1.2", client_port(i), "10.244.1.3",
                       static_cast<std::uint16_t>(1 + i / kFlowsPerService))
                       .with_payload(kSmallest)};
  };
  return {"pod_to_pod",
          "pod to pod on this node, no translation, IPv4 UDP",
          [](World& world) { world.publish(); },
          packet,
          packet,
          [packet](std::uint32_t i) {
            return Out{"b", packet(i).frame.one_hop_less()};
          }};
}

// The packets of a TCP connection from pod a to a backend on the other node: the client's as it
// sends them, the backend's as they come out of the tunnel.
In tcp_there(std::uint32_t i, std::string_view flags) {
  return {"a", tcp("10.244.1.2", client_port(i), vip4(i), 53, flags)};
}
Frame tcp_back(std::uint32_t i, std::string_view flags) {
  return tcp("10.244.2.2", backend_port(i), "10.244.1.2", client_port(i), flags);
}
void hand_shake(FlowCase& c) {
  c.set_up = [](World& world) { services_v4(world, "10.244.2.2", kTcp); };
  c.opens = [](std::uint32_t i) { return tcp_there(i, "S"); };
  c.then.emplace_back([](std::uint32_t i) {
    return In{"uplink", tcp_back(i, "SA").through(kNode2V4, kNodeV4)};
  });
  c.then.emplace_back([](std::uint32_t i) { return tcp_there(i, "A"); });
}

FlowCase tcp_dnat_policy_ipip() {
  FlowCase c{.name = "tcp_dnat_policy_ipip",
             .about = "as dnat_policy_ipip, established TCP with its state tracked"};
  hand_shake(c);
  const auto data = [](std::uint32_t i) {
    return tcp_there(i, "PA").frame.with_payload(kSmallestTcp);
  };
  c.packet = [data](std::uint32_t i) { return In{"a", data(i)}; };
  c.leaves = [data](std::uint32_t i) {
    return Out{"uplink",
               data(i).to("10.244.2.2", backend_port(i)).one_hop_less().through(kNodeV4, kNode2V4)};
  };
  return c;
}

FlowCase tcp_decap_reverse_dnat() {
  FlowCase c{.name = "tcp_decap_reverse_dnat", .about = "its reply"};
  hand_shake(c);
  const auto data = [](std::uint32_t i) { return tcp_back(i, "PA").with_payload(kSmallestTcp); };
  c.packet = [data](std::uint32_t i) { return In{"uplink", data(i).through(kNode2V4, kNodeV4)}; };
  c.leaves = [data](std::uint32_t i) { return Out{"a", data(i).from(vip4(i), 53).one_hop_less()}; };
  return c;
}

FlowCase dnat_v6() {
  return {"dnat_v6",
          "pod to ClusterIP under policy, backend on another node, IPv6 UDP, routed",
          services_v6,
          udp_there_v6,
          udp_there_v6,
          [](std::uint32_t i) {
            return Out{"uplink",
                       udp_there_v6(i).frame.to("fd00:244:2::2", backend_port(i)).one_hop_less()};
          }};
}

FlowCase reverse_dnat_v6() {
  const auto answer = [](std::uint32_t i) {
    return udp("fd00:244:2::2", backend_port(i), "fd00:244:1::2", client_port(i))
        .with_payload(kSmallest);
  };
  return {"reverse_dnat_v6",
          "its reply",
          services_v6,
          udp_there_v6,
          [answer](std::uint32_t i) {
            return In{"uplink", answer(i)};
          },
          [answer](std::uint32_t i) {
            return Out{"a", answer(i).from(vip6(i), 53).one_hop_less()};
          }};
}

}  // namespace

const std::vector<FlowCase>& flow_cases() {
  static const std::vector<FlowCase> cases = [] {
    std::vector<FlowCase> all{
        dnat_policy_ipip(), decap_reverse_dnat(), tcp_dnat_policy_ipip(), tcp_decap_reverse_dnat(),
        dnat_v6(),          reverse_dnat_v6(),    dnat_local(),           pod_to_pod()};
    for (const std::size_t there : {0, 2, 4}) all[there].reply = all[there + 1].name;
    return all;
  }();
  return cases;
}

}  // namespace podwire::test
