#include "tests/packet/flow_cases.h"

namespace podwire::test {
namespace {

constexpr std::uint8_t kUdp = 17;
constexpr std::uint32_t kPortsOfClient = 50000, kServices = kMostFlows / kPortsOfClient;
constexpr std::size_t kSmallest = 18;  // bytes of payload: 64 on the wire over IPv4

std::uint16_t client_port(std::uint32_t i) {
  return static_cast<std::uint16_t>(10000 + i % kPortsOfClient);
}
// Each Service has a backend port of its own: the same one would give two flows one reply.
std::uint16_t backend_port(std::uint32_t i) {
  return static_cast<std::uint16_t>(5353 + i / kPortsOfClient);
}
std::string number(std::uint32_t i) {
  return std::to_string(i / kPortsOfClient + 1);
}
std::string vip4(std::uint32_t i) {
  return "10.96.1." + number(i);
}
std::string vip6(std::uint32_t i) {
  return "fd00:96::1" + number(i);
}

// A Service of its own for every 50,000 flows of one pod, and a policy that lets them pass.
void services_v4(World& world, const char* backend) {
  for (std::uint32_t s = 0; s < kServices; ++s) {
    const std::uint32_t i = s * kPortsOfClient;
    world.add_cluster_ip(kUdp, vip4(i) + ":53",
                         {std::string(backend) + ":" + std::to_string(backend_port(i))});
  }
  world.isolate("a", false, {{.peers = {backend}}});
  world.publish();
}

FlowCase dnat_policy_ipip() {
  const auto packet = [](std::uint32_t i) {
    return In{"a", udp("10.244.1.2", client_port(i), vip4(i), 53).with_payload(kSmallest)};
  };
  return {"dnat_policy_ipip",
          "pod to ClusterIP under policy, backend on another node, IPv4 UDP",
          [](World& world) { services_v4(world, "10.244.2.2"); },
          packet,
          packet,
          [packet](std::uint32_t i) {
            return Out{"uplink", packet(i)
                                     .frame.to("10.244.2.2", backend_port(i))
                                     .one_hop_less()
                                     .through(kNodeV4, kNode2V4)};
          }};
}

FlowCase decap_reverse_dnat() {
  const auto opens = dnat_policy_ipip().opens;
  const auto answer = [](std::uint32_t i) {
    return udp("10.244.2.2", backend_port(i), "10.244.1.2", client_port(i)).with_payload(kSmallest);
  };
  return {"decap_reverse_dnat",
          "its reply: out of the tunnel, source becomes the ClusterIP",
          [](World& world) { services_v4(world, "10.244.2.2"); },
          opens,
          [answer](std::uint32_t i) {
            return In{"uplink", answer(i).through(kNode2V4, kNodeV4)};
          },
          [answer](std::uint32_t i) {
            return Out{"a", answer(i).from(vip4(i), 53).one_hop_less()};
          }};
}

FlowCase dnat_local() {
  const auto packet = [](std::uint32_t i) {
    return In{"a", udp("10.244.1.2", client_port(i), vip4(i), 53).with_payload(kSmallest)};
  };
  return {"dnat_local",
          "pod to ClusterIP under policy, backend on this node, IPv4 UDP",
          [](World& world) { services_v4(world, "10.244.1.3"); },
          packet,
          packet,
          [packet](std::uint32_t i) {
            return Out{"b", packet(i).frame.to("10.244.1.3", backend_port(i)).one_hop_less()};
          }};
}

FlowCase pod_to_pod() {
  const auto packet = [](std::uint32_t i) {
    return In{"a", udp("10.244.1.2", client_port(i), "10.244.1.3",
                       static_cast<std::uint16_t>(1 + i / kPortsOfClient))
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

FlowCase dnat_v6() {
  const auto packet = [](std::uint32_t i) {
    return In{"a", udp("fd00:244:1::2", client_port(i), vip6(i), 53).with_payload(kSmallest)};
  };
  return {
      "dnat_v6",
      "pod to ClusterIP, backend on another node, IPv6 UDP, routed",
      [](World& world) {
        for (std::uint32_t s = 0; s < kServices; ++s) {
          const std::uint32_t i = s * kPortsOfClient;
          world.add_cluster_ip(kUdp, "[" + vip6(i) + "]:53",
                               {"[fd00:244:2::2]:" + std::to_string(backend_port(i))});
        }
        world.publish();
      },
      packet,
      packet,
      [packet](std::uint32_t i) {
        return Out{"uplink", packet(i).frame.to("fd00:244:2::2", backend_port(i)).one_hop_less()};
      }};
}

}  // namespace

const std::vector<FlowCase>& flow_cases() {
  static const std::vector<FlowCase> cases{dnat_policy_ipip(), decap_reverse_dnat(), dnat_local(),
                                           pod_to_pod(), dnat_v6()};
  return cases;
}

}  // namespace podwire::test
