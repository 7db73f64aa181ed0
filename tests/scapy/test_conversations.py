"""Send, expect, reply, expect, ICMP error: what podwired does to packets between its ports."""

import sctp
from case import FAR, SERVICE, Conversation, node
from node import (ARP, GATEWAY_MAC, ICMP, IP, NODE, OUTSIDE, PEER, TCP, UDP, Ether, IPv6)
from scapy.layers.inet import IPerror, TCPerror, UDPerror, fragment
from scapy.layers.inet6 import (ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest,
                                ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr,
                                ICMPv6NDOptSrcLLAddr, ICMPv6PacketTooBig, ICMPv6TimeExceeded,
                                IPerror6, in6_getnsma, in6_getnsmac)
from scapy.packet import Raw
from scapy.utils6 import inet_pton
import socket

LAYER = {4: IP, 6: IPv6}


def l4(layer, port, family, **fields):
    """Whether a packet carries `layer` to or from a port and addresses."""
    def matches(packet):
        if layer not in packet or LAYER[family] not in packet:
            return False
        return all(getattr(packet[layer], k) == v for k, v in port.items()) and \
            all(getattr(packet[LAYER[family]], k) == v for k, v in fields.items())
    return matches


def tunnelled(layer, port, source, destination):
    """An IPv4 packet in IPIP from this node to its peer."""
    def matches(packet):
        outer = packet.getlayer(IP, 1)
        inner = packet.getlayer(IP, 2)
        return inner is not None and (outer.src, outer.dst, outer.proto) == (NODE[4], PEER[4], 4) \
            and (inner.src, inner.dst) == (source, destination) and layer in inner and \
            all(getattr(inner[layer], k) == v for k, v in port.items())
    return matches


def from_peer(packet):
    """What node-b sends to this node: the packet in IPIP."""
    return Ether(src=node.wire.mac, dst=node.mac) / IP(src=PEER[4], dst=NODE[4], proto=4) / packet


class Neighbours(Conversation):
    def test_arp_answered_for_gateway_and_any_other_address(self):
        for asked in ("169.254.1.1", "10.244.1.10", "8.8.8.8"):
            self.client.send(Ether(src=self.client.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
                op=1, hwsrc=self.client.mac, psrc=self.client.ip[4], pdst=asked))
            answer = self.client.expect(lambda p: ARP in p and p[ARP].op == 2, f"ARP for {asked}")
            self.assertEqual((answer[ARP].psrc, answer[ARP].hwsrc), (asked, GATEWAY_MAC))

    def test_arp_for_own_address_not_answered(self):
        self.client.send(Ether(src=self.client.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
            op=1, hwsrc=self.client.mac, psrc="0.0.0.0", pdst=self.client.ip[4]))
        self.client.expect_nothing(lambda p: ARP in p, "an answer")

    def ask(self, target, source):
        group = in6_getnsma(inet_pton(socket.AF_INET6, target))
        packet = Ether(src=self.client.mac, dst=in6_getnsmac(group)) / IPv6(
            src=source, dst=socket.inet_ntop(socket.AF_INET6, group), hlim=255) / ICMPv6ND_NS(
                tgt=target)
        if source != "::":
            packet /= ICMPv6NDOptSrcLLAddr(lladdr=self.client.mac)
        self.client.send(packet)

    def test_neighbour_solicitation_answered_for_gateway(self):
        self.ask("fe80::ecee:eeff:feee:eeee", self.client.ip[6])
        answer = self.client.expect(lambda p: ICMPv6ND_NA in p, "an advertisement")
        self.assertEqual(answer[ICMPv6NDOptDstLLAddr].lladdr, GATEWAY_MAC)
        self.assertEqual(answer[ICMPv6ND_NA].tgt, "fe80::ecee:eeff:feee:eeee")

    def test_duplicate_address_detection_not_answered(self):
        self.ask(self.client.ip[6], "::")
        self.client.expect_nothing(lambda p: ICMPv6ND_NA in p, "an advertisement")


class Services(Conversation):
    def test_tcp_to_remote_backend_and_back(self):
        service, me = SERVICE["far"][4], self.client.ip[4]
        self.client.send(node.from_pod(self.client, service) /
                         TCP(sport=40001, dport=80, flags="S", seq=100))
        syn = self.wire.expect(tunnelled(TCP, {"dport": 8080, "flags": "S"}, me, FAR[4]),
                               "the SYN in a tunnel to the backend")
        self.assertEqual(syn.getlayer(IP, 2).ttl, 63)
        self.wire.send(from_peer(IP(src=FAR[4], dst=me) / TCP(
            sport=8080, dport=40001, flags="SA", seq=500, ack=101)))
        answer = self.client.expect(l4(TCP, {"sport": 80, "flags": "SA"}, 4, src=service),
                                    "SYN ACK from the Service")
        self.assertEqual(answer.dst, self.client.mac)
        self.client.send(node.from_pod(self.client, service) / TCP(
            sport=40001, dport=80, flags="PA", seq=101, ack=501) / b"GET /")
        data = self.wire.expect(tunnelled(TCP, {"flags": "PA"}, me, FAR[4]), "the data")
        self.assertEqual(bytes(data.getlayer(IP, 2)[Raw]), b"GET /")
        self.wire.send(from_peer(IP(src=FAR[4], dst=me) / TCP(
            sport=8080, dport=40001, flags="RA", seq=501, ack=106)))
        self.client.expect(l4(TCP, {"sport": 80, "flags": "RA"}, 4, src=service), "the reset")

    def test_udp_over_ipv6_routed_as_it_is(self):
        service, me = SERVICE["far"][6], self.client.ip[6]
        self.client.send(node.from_pod(self.client, service) / UDP(sport=40002, dport=53) / b"ask")
        self.wire.expect(l4(UDP, {"dport": 5353, "sport": 40002}, 6, src=me, dst=FAR[6]),
                         "the question, untunnelled")
        self.wire.send(node.from_wire(FAR[6], me) / UDP(sport=5353, dport=40002) / b"answer")
        answer = self.client.expect(l4(UDP, {"sport": 53}, 6, src=service), "the answer")
        self.assertEqual(bytes(answer[Raw]), b"answer")

    def test_sctp_checksum_right_after_translation(self):
        service, me = SERVICE["far"][4], self.client.ip[4]
        self.client.send(node.from_pod(self.client, service, proto=132) / sctp.packet(
            40003, 36412, 0, sctp.init_chunk(sctp.INIT, 77)))
        found = self.wire.expect(
            lambda p: p.getlayer(IP, 2) is not None and p.getlayer(IP, 2).proto == 132, "the INIT")
        inner = bytes(found.getlayer(IP, 2))[20:]
        self.assertEqual(sctp.parse(inner)[:2], (40003, 9000))
        self.wire.send(from_peer(IP(src=FAR[4], dst=me, proto=132) / sctp.packet(
            9000, 40003, 77, sctp.init_chunk(sctp.INIT_ACK, 78))))
        back = self.client.expect(lambda p: IP in p and p[IP].proto == 132, "the INIT ACK")
        self.assertEqual(back[IP].src, service)
        self.assertEqual(sctp.parse(bytes(back[IP])[20:back[IP].len])[:2], (36412, 40003))

    def test_node_port_from_outside_to_own_pod_and_back(self):
        for family in (4, 6):
            with self.subTest(family=family):
                self.wire.send(node.from_wire(OUTSIDE[family], NODE[family]) /
                               UDP(sport=40004, dport=30053) / b"ask")
                ask = self.near.expect(l4(UDP, {"dport": 5353}, family, src=NODE[family]),
                                       "the question, from the node's address")
                self.near.send(node.from_pod(self.near, NODE[family]) /
                               UDP(sport=5353, dport=ask[UDP].sport) / b"answer")
                self.wire.expect(l4(UDP, {"sport": 30053, "dport": 40004}, family,
                                    src=NODE[family], dst=OUTSIDE[family]),
                                 "the answer, from the node port")

    def test_no_endpoints_told_by_icmp_about_the_service(self):
        for family, error in ((4, ICMP), (6, ICMPv6DestUnreach)):
            for transport in (UDP(sport=40005, dport=53) / b"x",
                              TCP(sport=40005, dport=80, flags="S")):
                with self.subTest(family=family, transport=transport.name), \
                        self.dropped(service_no_endpoints=1):
                    service = SERVICE["nobody"][family]
                    self.client.send(node.from_pod(self.client, service) / transport)
                    told = self.client.expect(lambda p: error in p, "port unreachable")
                    inner = told[IPerror if family == 4 else IPerror6]
                    self.assertEqual((inner.src, inner.dst), (self.client.ip[family], service))
                    code = (told[ICMP].type, told[ICMP].code) if family == 4 else \
                        (told[ICMPv6DestUnreach].type, told[ICMPv6DestUnreach].code)
                    self.assertEqual(code, (3, 3) if family == 4 else (1, 4))


class Errors(Conversation):
    def test_port_unreachable_of_backend_names_the_service(self):
        service, me = SERVICE["far"][4], self.client.ip[4]
        self.client.send(node.from_pod(self.client, service) / UDP(sport=40010, dport=53) / b"ask")
        ask = self.wire.expect(tunnelled(UDP, {"dport": 5353}, me, FAR[4]), "the question")
        quoted = bytes(ask.getlayer(IP, 2))[:28]
        self.wire.send(from_peer(IP(src=FAR[4], dst=me) / ICMP(type=3, code=3) / quoted))
        told = self.client.expect(lambda p: ICMP in p and p[ICMP].type == 3, "the error")
        self.assertEqual((told[IPerror].src, told[IPerror].dst), (me, service))
        self.assertEqual((told[UDPerror].sport, told[UDPerror].dport), (40010, 53))
        self.assertEqual(told[IP].src, service)

    def test_error_about_masqueraded_packet_reaches_the_pod(self):
        for family in (4, 6):
            with self.subTest(family=family):
                self.client.send(node.from_pod(self.client, OUTSIDE[family]) /
                                 UDP(sport=40011, dport=53) / b"ask")
                ask = self.wire.expect(l4(UDP, {"dport": 53}, family, src=NODE[family],
                                          dst=OUTSIDE[family]), "the question, masqueraded")
                quoted = bytes(ask[LAYER[family]])
                error = ICMP(type=3, code=3) if family == 4 else ICMPv6DestUnreach(code=4)
                self.wire.send(node.from_wire(OUTSIDE[family], NODE[family]) / error / quoted)
                inner = IPerror if family == 4 else IPerror6
                told = self.client.expect(lambda p: inner in p, "the error")
                self.assertEqual((told[inner].src, told[inner].dst),
                                 (self.client.ip[family], OUTSIDE[family]))
                self.assertEqual(told[UDPerror].sport, 40011)

    def test_ttl_of_one_is_answered(self):
        for family, field in ((4, "ttl"), (6, "hlim")):
            with self.subTest(family=family), self.dropped(ttl_exceeded=1):
                self.client.send(node.from_pod(self.client, OUTSIDE[family], **{field: 1}) /
                                 UDP(sport=40012, dport=33434) / b"probe")
                inner = IPerror if family == 4 else IPerror6
                told = self.client.expect(lambda p: inner in p, "time exceeded")
                if family == 4:
                    self.assertEqual((told[ICMP].type, told[ICMP].code), (11, 0))
                else:
                    self.assertEqual(told[ICMPv6TimeExceeded].code, 0)
                self.assertEqual((told[inner].src, told[inner].dst),
                                 (self.client.ip[family], OUTSIDE[family]))
                self.assertEqual(told[UDPerror].dport, 33434)

    def test_too_big_for_the_tunnel_names_1480(self):
        with self.dropped(too_big=1):
            self.wide_interface()
            self.client.send(node.from_pod(self.client, FAR[4], flags="DF") /
                             UDP(sport=40013, dport=9) / bytes(1472))
            told = self.client.expect(lambda p: ICMP in p and p[ICMP].type == 3, "the error")
            self.assertEqual((told[ICMP].code, told[ICMP].nexthopmtu), (4, 1480))
            self.assertEqual(told[IPerror].dst, FAR[4])

    def wide_interface(self):
        from netns import ip
        ip("-n", self.client.namespace, "link", "set", "eth0", "mtu", "1500")
        self.addCleanup(ip, "-n", self.client.namespace, "link", "set", "eth0", "mtu", "1480")

    def test_error_about_no_flow_is_dropped(self):
        with self.dropped(icmp_untracked=1):
            quoted = bytes(IP(src=NODE[4], dst=OUTSIDE[4]) / UDP(sport=1, dport=2))
            self.client.send(node.from_pod(self.client, self.near.ip[4]) /
                             ICMP(type=3, code=3) / quoted)
            self.near.expect_nothing(lambda p: ICMP in p, "the error")

    def test_path_mtu_error_of_tcp_is_translated(self):
        service, me = SERVICE["far"][4], self.client.ip[4]
        self.client.send(node.from_pod(self.client, service) /
                         TCP(sport=40014, dport=80, flags="S", seq=1))
        syn = self.wire.expect(tunnelled(TCP, {"dport": 8080}, me, FAR[4]), "the SYN")
        quoted = bytes(syn.getlayer(IP, 2))[:28]
        self.wire.send(from_peer(IP(src="10.244.2.1", dst=me) /
                                 ICMP(type=3, code=4, nexthopmtu=1400) / quoted))
        told = self.client.expect(lambda p: ICMP in p and p[ICMP].type == 3, "the error")
        self.assertEqual(told[ICMP].nexthopmtu, 1400)
        self.assertEqual((told[IPerror].dst, told[TCPerror].dport), (service, 80))


class Echo(Conversation):
    def test_ping_between_pods_and_back(self):
        self.client.send(node.from_pod(self.client, self.near.ip[4]) / ICMP(id=7, seq=1) / b"data")
        asked = self.near.expect(lambda p: ICMP in p and p[ICMP].type == 8, "the request")
        self.assertEqual(asked[IP].ttl, 63)
        self.near.send(node.from_pod(self.near, self.client.ip[4]) /
                       ICMP(type=0, id=7, seq=1) / b"data")
        self.client.expect(lambda p: ICMP in p and p[ICMP].type == 0 and p[ICMP].id == 7, "reply")

    def test_ping_masqueraded_comes_back_with_its_own_identifier(self):
        self.client.send(node.from_pod(self.client, OUTSIDE[6]) / ICMPv6EchoRequest(id=9, seq=1))
        asked = self.wire.expect(lambda p: ICMPv6EchoRequest in p, "the request")
        self.assertEqual(asked[IPv6].src, NODE[6])
        self.wire.send(node.from_wire(OUTSIDE[6], NODE[6]) /
                       ICMPv6EchoReply(id=asked[ICMPv6EchoRequest].id, seq=1))
        reply = self.client.expect(lambda p: ICMPv6EchoReply in p, "the reply")
        self.assertEqual((reply[ICMPv6EchoReply].id, reply[IPv6].dst), (9, self.client.ip[6]))


class Fragments(Conversation):
    def pieces(self, destination, sport):
        whole = IP(src=self.client.ip[4], dst=destination, id=sport) / \
            UDP(sport=sport, dport=53) / bytes(i % 251 for i in range(2400))
        return [Ether(src=self.client.mac, dst=GATEWAY_MAC) / p
                for p in fragment(whole, fragsize=1200)]

    def expect_pieces(self, sport, count):
        """All fragments go to the one backend, whole again when put together."""
        body = {}
        while len(body) < count:
            packet = self.wire.expect(
                lambda p: p.getlayer(IP, 2) is not None and p.getlayer(IP, 2).id == sport and
                p.getlayer(IP, 2).dst == FAR[4], f"fragment {len(body) + 1} of {count}")
            inner = packet.getlayer(IP, 2)
            body[inner.frag * 8] = bytes(inner)[20:inner.len]
        data = b"".join(body[offset] for offset in sorted(body))
        self.assertEqual(len(data), 2408)
        self.assertEqual(int.from_bytes(data[2:4], "big"), 5353)
        datagram = IP(src=self.client.ip[4], dst=FAR[4]) / UDP(data)
        seen = datagram[UDP].chksum
        del datagram[UDP].chksum
        self.assertEqual(IP(bytes(datagram))[UDP].chksum, seen)

    def test_one_datagram_one_translation(self):
        pieces = self.pieces(SERVICE["far"][4], 40020)
        self.client.send(*pieces)
        self.expect_pieces(40020, len(pieces))

    def test_later_fragment_first(self):
        pieces = self.pieces(SERVICE["far"][4], 40021)
        self.client.send(*reversed(pieces))
        self.expect_pieces(40021, len(pieces))

    def test_later_fragment_alone_is_held_and_goes_after_its_first(self):
        before = node.counters()["holding"]
        first, *_, last = self.pieces(SERVICE["far"][4], 40022)
        self.client.send(last)
        self.wire.expect_nothing(lambda p: p.getlayer(IP, 2) is not None, "the fragment")
        self.assertEqual(node.counters()["holding"], before + 1)
        self.client.send(first)
        for _ in range(2):
            self.wire.expect(lambda p: p.getlayer(IP, 2) is not None and
                             (p.getlayer(IP, 2).id, p.getlayer(IP, 2).dst) == (40022, FAR[4]),
                             "both fragments, translated")

    def test_overlap_is_dropped(self):
        first, *rest = self.pieces(SERVICE["far"][4], 40023)
        overlapping = rest[0].copy()
        overlapping[IP].frag -= 2
        del overlapping[IP].chksum
        with self.dropped(fragment_overlap=1):
            self.client.send(first, overlapping)


class Tracking(Conversation):
    def test_segment_of_no_flow_is_dropped(self):
        with self.dropped(tcp_untracked=1):
            self.client.send(node.from_pod(self.client, self.near.ip[4]) /
                             TCP(sport=40030, dport=80, flags="A", seq=1, ack=1))
            self.near.expect_nothing(lambda p: TCP in p, "the segment")

    def test_masquerade_ports_do_not_collide(self):
        """Two pods from one source port to one destination leave by different ports."""
        for pod in (self.client, self.near):
            pod.send(node.from_pod(pod, OUTSIDE[4]) / UDP(sport=40031, dport=4000) / b"x")
        ports = {self.wire.expect(l4(UDP, {"dport": 4000}, 4, src=NODE[4]), "both")[UDP].sport
                 for _ in range(2)}
        self.assertEqual(len(ports), 2)


class Mtu(Conversation):
    def test_ipv6_packet_too_big_for_the_pod_is_answered(self):
        """A pod's interface takes 1,480 bytes; IPv6 does not fragment on the way."""
        with self.dropped(too_big=1):
            self.wire.send(node.from_wire(FAR[6], self.client.ip[6]) /
                           UDP(sport=40040, dport=9) / bytes(1452))
            told = self.wire.expect(lambda p: ICMPv6PacketTooBig in p, "packet too big")
            self.assertEqual(told[ICMPv6PacketTooBig].mtu, 1480)
            self.assertEqual(told[IPv6].dst, FAR[6])
