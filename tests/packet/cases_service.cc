// The decision table of dataplane/stages/README.md, row by row.
#include <map>

#include "dataplane/net/beside_host.h"
#include "tests/lib/protocols.h"
#include "tests/packet/families.h"

namespace podwire::test {
namespace {

using tables::FrontendKind;

constexpr unsigned kUnreachable = 3, kPortUnreachable = 3;    // RFC 792
constexpr unsigned kUnreachable6 = 1, kPortUnreachable6 = 4;  // RFC 4443

Out refused(const Names& n, std::string port, std::string_view to, const Frame& about) {
  return error_out(std::move(port), to, n.v4 ? kUnreachable : kUnreachable6,
                   n.v4 ? kPortUnreachable : kPortUnreachable6, about);
}

FAMILY_CASE(ServiceClusterIpFromPodKeepsSource) {
  World world;
  world.add_cluster_ip(kUdp, n.at(n.vip, 53), {n.at(n.b, 5353)});
  world.publish();
  const Frame question = udp(n.a, 4000, n.vip, 53);
  const Frame arrives = question.to(n.b, 5353).one_hop_less();
  RUN(world, {.in = {{"a", question}}, .out = {{"b", arrives}}, .counters = kNewFlow});
  const Frame answer = udp(n.b, 5353, n.a, 4000);
  RUN(world, {.in = {{"b", answer}}, .out = {{"a", answer.from(n.vip, 53).one_hop_less()}}});
  RUN(world, {.in = {{"a", question}}, .out = {{"b", arrives}}});
}

FAMILY_CASE(ServiceClusterIpTcp) {
  World world;
  world.add_cluster_ip(kTcp, n.at(n.vip, 80), {n.at(n.b, 8080)});
  world.publish();
  const Frame syn = tcp(n.a, 4000, n.vip, 80, "S");
  RUN(world,
      {.in = {{"a", syn}}, .out = {{"b", syn.to(n.b, 8080).one_hop_less()}}, .counters = kNewFlow});
  const Frame syn_ack = tcp(n.b, 8080, n.a, 4000, "SA");
  RUN(world, {.in = {{"b", syn_ack}}, .out = {{"a", syn_ack.from(n.vip, 80).one_hop_less()}}});
  const Frame data = tcp(n.a, 4000, n.vip, 80, "PA").with_payload(333);
  RUN(world, {.in = {{"a", data}}, .out = {{"b", data.to(n.b, 8080).one_hop_less()}}});
}

FAMILY_CASE(ServiceClusterIpSctp) {
  World world;
  world.add_cluster_ip(kSctp, n.at(n.vip, 7), {n.at(n.b, 7007)});
  world.publish();
  const Frame init = sctp(n.a, 4000, n.vip, 7);
  RUN(world, {.in = {{"a", init}},
              .out = {{"b", init.to(n.b, 7007).one_hop_less()}},
              .counters = kNewFlow});
  const Frame answer = sctp(n.b, 7007, n.a, 4000, 2);
  RUN(world, {.in = {{"b", answer}}, .out = {{"a", answer.from(n.vip, 7).one_hop_less()}}});
}

FAMILY_CASE(ServiceClusterIpSctpOverTwoSegments) {
  World world;
  world.add_cluster_ip(kSctp, n.at(n.vip, 7), {n.at(n.b, 7007)});
  world.publish();
  Frame init = sctp(n.a, 4000, n.vip, 7);
  init.payload.resize(1001, 0x5a);
  RUN(world, {.in = {{"a", init, 333}},
              .out = {{"b", init.to(n.b, 7007).one_hop_less()}},
              .counters = kNewFlow});
}

FAMILY_CASE(ServiceSctpWithWrongChecksumIsNotMadeRight) {
  World world;
  world.add_cluster_ip(kSctp, n.at(n.vip, 7), {n.at(n.b, 7007)});
  world.publish();
  In in{"a", sctp(n.a, 4000, n.vip, 7)};
  in.bytes = frame_bytes(world.addressed_in("a", in.frame));
  in.bytes->back() ^= 1;
  RUN(world,
      {.in = {in}, .out = {}, .counters = {{"flows_created", 1}, {"drop.bad_l4_header", 1}}});
}

FAMILY_CASE(ServiceClusterIpToRemotePod) {
  World world;
  world.add_cluster_ip(kUdp, n.at(n.vip, 53), {n.at(n.remote, 5353)});
  world.publish();
  const Frame question = udp(n.a, 4000, n.vip, 53);
  RUN(world, {.in = {{"a", question}},
              .out = {n.to_node2(question.to(n.remote, 5353).one_hop_less())},
              .counters = n.tunneled(kNewFlow, "tunnel_out")});
  const Frame answer = udp(n.remote, 5353, n.a, 4000);
  RUN(world, {.in = {n.from_node2(answer)},
              .out = {{"a", answer.from(n.vip, 53).one_hop_less()}},
              .counters = n.tunneled({}, "tunnel_in")});
}

FAMILY_CASE(ServiceClusterIpFromHostIsMasqueraded) {
  World world;
  world.add_cluster_ip(kUdp, n.at(n.vip, 53), {n.at(n.remote, 5353)});
  world.publish();
  // The host's source is the masquerade address already: its own port serves.
  const Frame question = udp(n.node, 4000, n.vip, 53);
  RUN(world, {.in = {{"host", question}},
              .out = {n.to_node2(question.to(n.remote, 5353))},
              .counters = n.tunneled(kNewFlow, "tunnel_out")});
  const Frame answer = udp(n.remote, 5353, n.node, 4000);
  RUN(world, {.in = {n.from_node2(answer)},
              .out = {{"host", answer.from(n.vip, 53)}},
              .counters = n.tunneled({}, "tunnel_in")});
}

FAMILY_CASE(ServiceClusterIpFromOutsideIsMasqueraded) {
  World world;
  world.add_cluster_ip(kUdp, n.at(n.vip, 53), {n.at(n.b, 5353)});
  world.publish();
  const Frame question = udp(n.outside, 4000, n.vip, 53);
  std::uint16_t port = 0;
  RUN(world, {.in = {{"uplink", question}},
              .out = {{"b", question.from(n.node).to(n.b, 5353).one_hop_less(), &port}},
              .counters = kNewFlow});
  const Frame answer = udp(n.b, 5353, n.node, port);
  RUN(world, {.in = {{"b", answer}},
              .out = {{"uplink", answer.from(n.vip, 53).to(n.outside, 4000).one_hop_less()}}});
}

FAMILY_CASE(ServiceMasqueradeAllHidesPods) {
  World world;
  world.services.masquerade_all = true;
  world.add_cluster_ip(kUdp, n.at(n.vip, 53), {n.at(n.b, 5353)});
  world.publish();
  const Frame question = udp(n.a, 4000, n.vip, 53);
  std::uint16_t port = 0;
  RUN(world, {.in = {{"a", question}},
              .out = {{"b", question.from(n.node).to(n.b, 5353).one_hop_less(), &port}},
              .counters = kNewFlow});
}

FAMILY_CASE(ServiceNodePortFromOutsideIsMasqueraded) {
  World world;
  const auto service = world.add_service(kTcp, {n.at(n.remote, 8080)}, {});
  world.add_frontend(service, FrontendKind::node_port, n.node_port(30080));
  world.publish();
  const Frame syn = tcp(n.outside, 4000, n.node, 30080, "S");
  std::uint16_t port = 0;
  RUN(world, {.in = {{"uplink", syn}},
              .out = {n.to_node2(syn.from(n.node).to(n.remote, 8080).one_hop_less(), &port)},
              .counters = n.tunneled(kNewFlow, "tunnel_out")});
  const Frame answer = tcp(n.remote, 8080, n.node, port, "SA");
  RUN(world, {.in = {n.from_node2(answer)},
              .out = {{"uplink", answer.from(n.node, 30080).to(n.outside, 4000).one_hop_less()}},
              .counters = n.tunneled({}, "tunnel_in")});
}

FAMILY_CASE(ServiceNodePortFromPodIsMasqueraded) {
  World world;
  const auto service = world.add_service(kUdp, {n.at(n.b, 5353)}, {n.at(n.b, 5353)});
  world.add_frontend(service, FrontendKind::node_port, n.node_port(30053));
  world.publish();
  const Frame question = udp(n.a, 4000, n.node, 30053);
  std::uint16_t port = 0;
  RUN(world, {.in = {{"a", question}},
              .out = {{"b", question.from(n.node).to(n.b, 5353).one_hop_less(), &port}},
              .counters = kNewFlow});
  const Frame answer = udp(n.b, 5353, n.node, port);
  RUN(world, {.in = {{"b", answer}},
              .out = {{"a", answer.from(n.node, 30053).to(n.a, 4000).one_hop_less()}}});
}

FAMILY_CASE(ServiceNodePortOnOtherAddressesIsTheHosts) {
  World world;
  world.services.node_port_addresses.clear();
  world.add_frontend(world.add_service(kUdp, {n.at(n.b, 5353)}, {}), FrontendKind::node_port,
                     n.node_port(30053));
  world.publish();
  const Frame question = udp(n.outside, 4000, n.node, 30053);
  RUN(world, {.in = {{"uplink", question}}, .out = {{"host", question}}, .counters = kNewFlow});
}

// externalTrafficPolicy: Local, one endpoint here and one elsewhere.
void add_external_local(World& world, const Names& n, bool with_local) {
  std::vector<std::string> cluster{n.at(n.remote, 8080)}, local;
  if (with_local) local.push_back(n.at(n.b, 8080));
  const auto service = world.add_service(kTcp, cluster, local);
  service->external_local = true;
  world.add_frontend(service, FrontendKind::node_port, n.node_port(30080));
  world.add_frontend(service, FrontendKind::load_balancer, n.at(n.balancer, 80));
  world.add_frontend(service, FrontendKind::cluster_ip, n.at(n.vip, 80));
  world.publish();
}

FAMILY_CASE(ServiceExternalLocalFromOutsideKeepsClient) {
  World world;
  add_external_local(world, n, true);
  const Frame syn = tcp(n.outside, 4000, n.balancer, 80, "S");
  RUN(world, {.in = {{"uplink", syn}},
              .out = {{"b", syn.to(n.b, 8080).one_hop_less()}},
              .counters = kNewFlow});
  const Frame answer = tcp(n.b, 8080, n.outside, 4000, "SA");
  RUN(world,
      {.in = {{"b", answer}}, .out = {{"uplink", answer.from(n.balancer, 80).one_hop_less()}}});
  const Frame by_port = tcp(n.outside, 4001, n.node, 30080, "S");
  RUN(world, {.in = {{"uplink", by_port}},
              .out = {{"b", by_port.to(n.b, 8080).one_hop_less()}},
              .counters = kNewFlow});
}

FAMILY_CASE(ServiceExternalLocalWithoutLocalEndpointIsSilent) {
  World world;
  add_external_local(world, n, false);
  RUN(world, {.in = {{"uplink", tcp(n.outside, 4000, n.balancer, 80, "S")},
                     {"uplink", tcp(n.outside, 4000, n.node, 30080, "S")}},
              .out = {},
              .counters = {{"drop.service_no_local_endpoints", 2}}});
}

FAMILY_CASE(ServiceExternalLocalFromPodUsesClusterUnmasqueraded) {
  World world;
  add_external_local(world, n, true);
  const Frame syn = tcp(n.a, 4000, n.balancer, 80, "S");
  RUN(world, {.in = {{"a", syn}},
              .out = {n.to_node2(syn.to(n.remote, 8080).one_hop_less())},
              .counters = n.tunneled(kNewFlow, "tunnel_out")});
}

FAMILY_CASE(ServiceExternalLocalFromHostUsesClusterMasqueraded) {
  World world;
  // A second address of the node shows the masquerading.
  const std::string second = n.v4 ? "192.0.2.9" : "2001:db8:2::9";
  world.next.node_addresses.push_back(*net::Address::parse(second));
  std::sort(world.next.node_addresses.begin(), world.next.node_addresses.end());
  add_external_local(world, n, true);
  const Frame syn = tcp(second, 4000, n.balancer, 80, "S");
  std::uint16_t port = 0;
  RUN(world, {.in = {{"host", syn}},
              .out = {n.to_node2(syn.from(n.node).to(n.remote, 8080), &port)},
              .counters = n.tunneled(kNewFlow, "tunnel_out")});
}

FAMILY_CASE(ServiceExternalLocalDoesNotConcernClusterIp) {
  World world;
  add_external_local(world, n, false);
  const Frame syn = tcp(n.a, 4000, n.vip, 80, "S");
  RUN(world, {.in = {{"a", syn}},
              .out = {n.to_node2(syn.to(n.remote, 8080).one_hop_less())},
              .counters = n.tunneled(kNewFlow, "tunnel_out")});
}

FAMILY_CASE(ServiceInternalLocalConcernsClusterIpOnly) {
  World world;
  const auto service = world.add_service(kTcp, {n.at(n.remote, 8080)}, {n.at(n.b, 8080)});
  service->internal_local = true;
  world.add_frontend(service, FrontendKind::cluster_ip, n.at(n.vip, 80));
  world.add_frontend(service, FrontendKind::node_port, n.node_port(30080));
  world.publish();
  const Frame inside = tcp(n.a, 4000, n.vip, 80, "S");
  RUN(world, {.in = {{"a", inside}},
              .out = {{"b", inside.to(n.b, 8080).one_hop_less()}},
              .counters = kNewFlow});
  const Frame outside = tcp(n.outside, 4000, n.node, 30080, "S");
  std::uint16_t port = 0;
  RUN(world, {.in = {{"uplink", outside}},
              .out = {n.to_node2(outside.from(n.node).to(n.remote, 8080).one_hop_less(), &port)},
              .counters = n.tunneled(kNewFlow, "tunnel_out")});
}

FAMILY_CASE(ServiceInternalLocalWithoutLocalEndpointIsSilent) {
  World world;
  const auto service = world.add_service(kTcp, {n.at(n.remote, 8080)}, {});
  service->internal_local = true;
  world.add_frontend(service, FrontendKind::cluster_ip, n.at(n.vip, 80));
  world.publish();
  RUN(world, {.in = {{"a", tcp(n.a, 4000, n.vip, 80, "S")}},
              .out = {},
              .counters = {{"drop.service_no_local_endpoints", 1}}});
}

FAMILY_CASE(ServiceExternalIpIsMasqueraded) {
  World world;
  world.add_frontend(world.add_service(kUdp, {n.at(n.b, 5353)}, {}), FrontendKind::external_ip,
                     n.at(n.balancer, 53));
  world.publish();
  const Frame question = udp(n.outside, 4000, n.balancer, 53);
  std::uint16_t port = 0;
  RUN(world, {.in = {{"uplink", question}},
              .out = {{"b", question.from(n.node).to(n.b, 5353).one_hop_less(), &port}},
              .counters = kNewFlow});
}

FAMILY_CASE(ServiceSourceRangesBindTheBalancerAddressOnly) {
  World world;
  const auto service = world.add_service(kTcp, {n.at(n.b, 8080)}, {});
  world.add_frontend(service, FrontendKind::node_port, n.node_port(30080));
  const net::Address balancer = *net::Address::parse(n.balancer);
  const auto restrict_to = [&](const char* range) {
    world.services.frontends.set({.address = balancer, .port = net::be16(80), .protocol = kTcp},
                                 {.service = service,
                                  .kind = FrontendKind::load_balancer,
                                  .restrict_sources = true,
                                  .source_ranges = {*net::Prefix::parse(range)}});
    world.publish();
  };
  const Frame syn = tcp(n.outside, 4000, n.balancer, 80, "S");
  restrict_to(n.v4 ? "192.0.2.0/24" : "2001:db8:2::/64");
  RUN(world, {.in = {{"uplink", syn}}, .out = {}, .counters = {{"drop.service_source_range", 1}}});
  std::uint16_t port = 0;
  RUN(world, {.in = {{"host", tcp(n.node, 4000, n.balancer, 80, "S")}},
              .out = {{"b", tcp(n.node, 4000, n.b, 8080, "S")}},
              .counters = kNewFlow});
  const Frame by_port = tcp(n.outside, 4000, n.node, 30080, "S");
  RUN(world, {.in = {{"uplink", by_port}},
              .out = {{"b", by_port.from(n.node).to(n.b, 8080).one_hop_less(), &port}},
              .counters = kNewFlow});
  restrict_to(n.v4 ? "198.51.100.0/24" : "2001:db8:99::/64");
  RUN(world, {.in = {{"uplink", syn}},
              .out = {{"b", syn.from(n.node).to(n.b, 8080).one_hop_less(), &port}},
              .counters = kNewFlow});
  RUN(world, {.in = {{"host", tcp(n.node, 4001, n.balancer, 80, "S")}},
              .out = {},
              .counters = {{"drop.service_source_range", 1}}});
}

FAMILY_CASE(ServiceWithoutEndpointsRefuses) {
  World world;
  const auto service = world.add_service(kTcp, {}, {});
  service->external_local = true;
  world.add_frontend(service, FrontendKind::cluster_ip, n.at(n.vip, 80));
  world.add_frontend(service, FrontendKind::node_port, n.node_port(30080));
  world.add_frontend(service, FrontendKind::load_balancer, n.at(n.balancer, 80));
  world.publish();
  const Counters counters{{"drop.service_no_endpoints", 1}, {"originated", 1}};
  const Frame inside = tcp(n.a, 4000, n.vip, 80, "S");
  RUN(world, {.in = {{"a", inside}}, .out = {refused(n, "a", n.a, inside)}, .counters = counters});
  for (const Frame& syn :
       {tcp(n.outside, 4000, n.node, 30080, "S"), tcp(n.outside, 4000, n.balancer, 80, "S")}) {
    RUN(world, {.in = {{"uplink", syn}},
                .out = {refused(n, "uplink", n.outside, syn)},
                .counters = counters});
  }
  const Frame from_host = tcp(n.node, 4000, n.vip, 80, "S");
  RUN(world, {.in = {{"host", from_host}},
              .out = {refused(n, "host", n.node, from_host)},
              .counters = counters});
}

FAMILY_CASE(ServiceEstablishedFlowOutlivesItsEndpoints) {
  World world;
  world.add_cluster_ip(kTcp, n.at(n.vip, 80), {n.at(n.b, 8080)});
  world.publish();
  const Frame syn = tcp(n.a, 4000, n.vip, 80, "S");
  RUN(world,
      {.in = {{"a", syn}}, .out = {{"b", syn.to(n.b, 8080).one_hop_less()}}, .counters = kNewFlow});
  world.add_cluster_ip(kTcp, n.at(n.vip, 80), {});
  world.publish();
  const Frame data = tcp(n.a, 4000, n.vip, 80, "A");
  RUN(world, {.in = {{"a", data}}, .out = {{"b", data.to(n.b, 8080).one_hop_less()}}});
  const Frame another = tcp(n.a, 4001, n.vip, 80, "S");
  RUN(world, {.in = {{"a", another}},
              .out = {refused(n, "a", n.a, another)},
              .counters = {{"drop.service_no_endpoints", 1}, {"originated", 1}}});
}

FAMILY_CASE(ServiceWrongPortOfClusterIpRefuses) {
  World world;
  world.add_cluster_ip(kTcp, n.at(n.vip, 80), {n.at(n.b, 8080)});
  world.publish();
  const Counters counters{{"drop.service_port_closed", 1}, {"originated", 1}};
  for (const Frame& frame :
       {tcp(n.a, 4000, n.vip, 81, "S"), udp(n.a, 4000, n.vip, 80), ping(n.a, n.vip, 7)}) {
    RUN(world, {.in = {{"a", frame}}, .out = {refused(n, "a", n.a, frame)}, .counters = counters});
  }
}

FAMILY_CASE(ServiceUnallocatedAddressIsSilent) {
  World world;
  RUN(world, {.in = {{"a", tcp(n.a, 4000, n.vip2, 80, "S")}, {"a", ping(n.a, n.vip2, 7)}},
              .out = {},
              .counters = {{"drop.service_unallocated", 2}}});
}

FAMILY_CASE(ServiceOfTheNodeItself) {
  World world;
  const auto service = world.add_service(kTcp, {n.at(n.node, 8088)}, {});
  world.add_frontend(service, FrontendKind::cluster_ip, n.at(n.vip, 80));
  world.add_frontend(service, FrontendKind::node_port, n.node_port(30080));
  world.publish();
  const std::string beside = net::beside_host(net::Address::parse(n.node)->family()).to_string();
  // Linux takes nothing from its own address.
  const Frame own = tcp(n.node, 4000, n.vip, 80, "S");
  std::uint16_t port = 0;
  RUN(world, {.in = {{"host", own}},
              .out = {{"host", own.from(beside).to(n.node, 8088), &port}},
              .counters = kNewFlow});
  const Frame answer = tcp(n.node, 8088, beside, port, "SA");
  RUN(world,
      {.in = {{"host", answer}}, .out = {{"host", answer.from(n.vip, 80).to(n.node, 4000)}}});
  // Who comes from elsewhere is seen as who he is.
  const Frame outside = tcp(n.outside, 4000, n.node, 30080, "S");
  RUN(world, {.in = {{"uplink", outside}},
              .out = {{"host", outside.to(n.node, 8088)}},
              .counters = kNewFlow});
  const Frame pod = tcp(n.a, 4000, n.node, 30080, "S");
  RUN(world, {.in = {{"a", pod}}, .out = {{"host", pod.to(n.node, 8088)}}, .counters = kNewFlow});
  const Frame reply = tcp(n.node, 8088, n.outside, 4000, "SA");
  RUN(world, {.in = {{"host", reply}}, .out = {{"uplink", reply.from(n.node, 30080)}}});
}

FAMILY_CASE(ServiceHairpinIsMasqueradedOnlyToItself) {
  World world;
  world.add_cluster_ip(kTcp, n.at(n.vip, 80), {n.at(n.a, 8080)});
  world.publish();
  const Frame syn = tcp(n.a, 4000, n.vip, 80, "S");
  std::uint16_t port = 0;
  RUN(world, {.in = {{"a", syn}},
              .out = {{"a", syn.from(n.node).to(n.a, 8080).one_hop_less(), &port}},
              .counters = kNewFlow});
  const Frame answer = tcp(n.a, 8080, n.node, port, "SA");
  RUN(world,
      {.in = {{"a", answer}}, .out = {{"a", answer.from(n.vip, 80).to(n.a, 4000).one_hop_less()}}});
  const Frame other = tcp(n.b, 4000, n.vip, 80, "S");
  RUN(world, {.in = {{"b", other}},
              .out = {{"a", other.to(n.a, 8080).one_hop_less()}},
              .counters = kNewFlow});
}

// Which pod a new flow from `source_port` reaches, 'b' or 'c'; '?' when neither or wrongly.
char reached(World& world, const Names& n, std::uint16_t source_port, std::uint16_t port,
             std::string_view vip) {
  const Frame question = udp(n.a, source_port, vip, port);
  Burst batch;
  batch.append(world.make_buffer({"a", question}), world.port_id("a"));
  world.worker().process(batch);
  char found = '?';
  for (const char pod : {'b', 'c'}) {
    auto& sent = world.port(std::string(1, pod)).sent;
    if (sent.empty()) continue;
    const Frame expected = world.addressed_out(
        std::string(1, pod), question.to(pod == 'b' ? n.b : n.c, 5353).one_hop_less());
    if (bytes_of(*sent.front()) == frame_bytes(expected)) found = pod;
    rte_pktmbuf_free(sent.front());
    sent.pop_front();
  }
  return found;
}

FAMILY_CASE(ServiceChoosesBackendsEvenly) {
  World world;
  world.add_cluster_ip(kUdp, n.at(n.vip, 53), {n.at(n.b, 5353), n.at(n.c, 5353)});
  world.publish();
  std::map<char, int> count;
  for (std::uint16_t i = 0; i < 400; ++i) {
    ++count[reached(world, n, static_cast<std::uint16_t>(10000 + i), 53, n.vip)];
  }
  EXPECT_EQ(count['b'] + count['c'], 400);
  EXPECT_GT(count['b'], 150);  // 5 standard deviations of a fair choice
  EXPECT_GT(count['c'], 150);
}

FAMILY_CASE(ServiceAffinityKeepsClientAtItsBackend) {
  World world;
  const auto service = world.add_service(kUdp, {n.at(n.b, 5353), n.at(n.c, 5353)}, {});
  service->affinity_seconds = 100;
  world.add_frontend(service, FrontendKind::cluster_ip, n.at(n.vip, 53));
  world.add_frontend(service, FrontendKind::cluster_ip, n.at(n.vip2, 53));
  world.publish();
  const char first = reached(world, n, 10000, 53, n.vip);
  ASSERT_NE(first, '?');
  for (std::uint16_t i = 1; i < 30; ++i) {
    // Any frontend of the Service port shares it, and each new flow refreshes it.
    world.advance(60);
    ASSERT_EQ(
        reached(world, n, static_cast<std::uint16_t>(10000 + i), 53, i % 2 == 0 ? n.vip : n.vip2),
        first);
  }
}

FAMILY_CASE(ServiceAffinityEnds) {
  World world;
  const auto service = world.add_service(kUdp, {n.at(n.b, 5353), n.at(n.c, 5353)}, {});
  service->affinity_seconds = 100;
  world.add_frontend(service, FrontendKind::cluster_ip, n.at(n.vip, 53));
  world.publish();
  std::map<char, int> count;
  for (std::uint16_t i = 0; i < 40; ++i) {
    world.advance(102);
    ++count[reached(world, n, static_cast<std::uint16_t>(10000 + i), 53, n.vip)];
  }
  EXPECT_EQ(count['?'], 0);
  EXPECT_GT(count['b'], 0);
  EXPECT_GT(count['c'], 0);
}

FAMILY_CASE(ServiceAffinityLeavesBackendThatIsGone) {
  World world;
  const auto service = world.add_service(kUdp, {n.at(n.b, 5353)}, {});
  service->affinity_seconds = 100;
  world.add_frontend(service, FrontendKind::cluster_ip, n.at(n.vip, 53));
  world.publish();
  EXPECT_EQ(reached(world, n, 10000, 53, n.vip), 'b');
  const auto changed = world.add_service(kUdp, {n.at(n.c, 5353)}, {});
  changed->id = service->id;
  changed->affinity_seconds = 100;
  world.add_frontend(changed, FrontendKind::cluster_ip, n.at(n.vip, 53));
  world.publish();
  EXPECT_EQ(reached(world, n, 10001, 53, n.vip), 'c');
  EXPECT_EQ(reached(world, n, 10000, 53, n.vip), 'b');  // the flow that began earlier stays
}

}  // namespace
}  // namespace podwire::test
