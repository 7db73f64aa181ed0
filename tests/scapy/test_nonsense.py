"""What nobody should send, on every port: dropped under its name, and podwired goes on."""

import random
import struct

from case import FAR, SERVICE, Conversation, node
from netns import ip
from node import (GATEWAY_MAC, ICMP, IP, NODE, OUTSIDE, PEER, TCP, UDP, Ether, IPv6, checksum)
from scapy.layers.inet import IPOption_LSRR
from scapy.layers.inet6 import IPv6ExtHdrRouting
from scapy.packet import Raw


def raw(packet):
    return bytearray(bytes(packet))


class FromPod(Conversation):
    def udp(self, **fields):
        return node.from_pod(self.client, self.near.ip[4], **fields) / \
            UDP(sport=41000, dport=9) / b"payload."

    def nothing_arrives(self):
        self.near.expect_nothing(lambda p: UDP in p or TCP in p, "the packet", 0.05)

    def test_spoofed_addresses(self):
        with self.dropped(spoofed_ip=2, spoofed_mac=1):
            self.client.send(
                Ether(src=self.client.mac, dst=GATEWAY_MAC) /
                IP(src="10.244.1.99", dst=self.near.ip[4]) / UDP(sport=1, dport=2),
                Ether(src=self.client.mac, dst=GATEWAY_MAC) /
                IPv6(src="fd00:10:244:1::99", dst=self.near.ip[6]) / UDP(sport=1, dport=2),
                Ether(src="02:00:00:00:00:99", dst=GATEWAY_MAC) /
                IP(src=self.client.ip[4], dst=self.near.ip[4]) / UDP(sport=1, dport=2))
            self.nothing_arrives()

    def test_tunnel_from_a_pod(self):
        with self.dropped(pod_tunnel=1):
            self.client.send(node.from_pod(self.client, PEER[4], proto=4) /
                             IP(src=self.client.ip[4], dst=FAR[4]) / UDP(sport=1, dport=2))
            self.wire.expect_nothing(lambda p: IP in p and p[IP].proto == 4, "the tunnel packet")

    def test_wrong_ip_checksum(self):
        with self.dropped(bad_ip_checksum=1):
            self.client.send(self.udp(chksum=0x1234))
            self.nothing_arrives()

    def test_source_route(self):
        with self.dropped(bad_ip_option=1):
            self.client.send(self.udp(options=[IPOption_LSRR(routers=["1.2.3.4"])]))
            self.nothing_arrives()

    def test_ipv6_routing_header_type_0(self):
        with self.dropped(bad_ip_option=1):
            self.client.send(node.from_pod(self.client, self.near.ip[6]) /
                             IPv6ExtHdrRouting(addresses=[OUTSIDE[6]]) / UDP(sport=1, dport=2))
            self.nothing_arrives()

    def test_versions_and_lengths(self):
        short_head, no_version, long_total = raw(self.udp()), raw(self.udp()), raw(self.udp())
        short_head[14] = 0x44
        no_version[14] = 0x55
        struct.pack_into("!H", long_total, 16, 1400)
        struct.pack_into("!H", long_total, 24, 0)
        struct.pack_into("!H", long_total, 24, checksum(bytes(long_total[14:34])))
        with self.dropped(bad_ip_header=2, truncated=1):
            self.client.send(short_head, no_version, long_total)
            self.nothing_arrives()

    def test_addresses_that_may_not_be_forwarded(self):
        with self.dropped(bad_address=3):
            for destination in ("127.0.0.1", "0.0.0.1"):
                self.client.send(node.from_pod(self.client, destination) / UDP(sport=1, dport=2))
            self.client.send(node.from_pod(self.client, "::1") / UDP(sport=1, dport=2))

    def test_transport_headers(self):
        head = node.from_pod(self.client, self.near.ip[4], proto=6)
        with self.dropped(bad_l4_header=2):
            self.client.send(head / (struct.pack("!HHII", 1, 2, 3, 4) + b"\x10\x02" + bytes(6)))
            self.client.send(node.from_pod(self.client, self.near.ip[4], proto=17) /
                             struct.pack("!HHHH", 1, 2, 4, 0))
            self.nothing_arrives()

    def test_oversized_frame(self):
        """A pod that raised its own MTU: too large for any next hop, and the pod is told."""
        ip("-n", self.client.namespace, "link", "set", "eth0", "mtu", "9000")
        self.addCleanup(ip, "-n", self.client.namespace, "link", "set", "eth0", "mtu", "1480")
        with self.dropped(too_big=1):
            self.client.send(node.from_pod(self.client, self.near.ip[4], flags="DF") /
                             UDP(sport=1, dport=2) / bytes(6000))
            told = self.client.expect(lambda p: ICMP in p, "fragmentation needed")
            self.assertEqual((told[ICMP].type, told[ICMP].code, told[ICMP].nexthopmtu),
                             (3, 4, 1480))

    def test_every_truncation_of_good_packets(self):
        """No prefix of a packet crashes or gets out; the sender's length field betrays it."""
        good = [self.udp(), node.from_pod(self.client, self.near.ip[6]) / UDP(sport=1, dport=2),
                node.from_pod(self.client, SERVICE["far"][4]) / TCP(sport=1, dport=80),
                node.from_pod(self.client, self.near.ip[4]) / ICMP() /
                bytes(IP(src=OUTSIDE[4], dst=OUTSIDE[4]) / UDP(sport=1, dport=2))]
        before = sum(node.counters()["drops"].values())
        sent = 0
        for packet in good:
            whole = bytes(packet)
            for length in range(15, len(whole)):
                self.client.send(whole[:length])
                sent += 1
        self.nothing_arrives()
        node.ledger_difference(2)
        after = sum(node.counters()["drops"].values())
        self.assertGreaterEqual(after - before, sent)


class FromWire(Conversation):
    def test_tunnel_from_a_stranger(self):
        with self.dropped(tunnel_unknown_peer=1):
            self.wire.send(node.from_wire(OUTSIDE[4], NODE[4], proto=4) /
                           IP(src=FAR[4], dst=self.client.ip[4]) / UDP(sport=1, dport=2))
            self.client.expect_nothing(lambda p: UDP in p, "the inner packet")

    def test_tunnel_with_what_may_not_arrive_in_it(self):
        """A tunnel in a tunnel, and an inner destination that would go straight out again."""
        with self.dropped(tunnel_bad_inner=2):
            self.wire.send(node.from_wire(PEER[4], NODE[4], proto=4) /
                           IP(src=PEER[4], dst=NODE[4], proto=4) /
                           IP(src=FAR[4], dst=self.client.ip[4]) / UDP(sport=1, dport=2))
            self.wire.send(node.from_wire(PEER[4], NODE[4], proto=4) /
                           IP(src=FAR[4], dst="10.244.2.11") / UDP(sport=1, dport=2))
            self.wire.expect_nothing(lambda p: IP in p and p[IP].proto == 4, "it, looping")


class Anywhere(Conversation):
    def test_seeded_noise_on_every_port(self):
        """Random bytes, and good packets with random bytes changed."""
        random.seed(20261122)
        for port, other in ((self.client, self.near), (self.wire, self.client)):
            port_packets = [
                Ether(src=port.mac, dst=node.mac if port is self.wire else GATEWAY_MAC) / packet
                for packet in (
                    IP(src=PEER[4] if port is self.wire else port.ip[4],
                       dst=NODE[4] if port is self.wire else other.ip[4]) / TCP(flags="S") / b"x",
                    IP(src=PEER[4], dst=NODE[4], proto=4) / IP(src=FAR[4], dst=other.ip[4]) /
                    UDP(sport=1, dport=2) / b"x",
                    IPv6(src=OUTSIDE[6] if port is self.wire else port.ip[6],
                         dst=other.ip[6]) / UDP(sport=1, dport=2) / b"x")]
            # What podwired forwards of this is as broken as it was: only podwired's life counts.
            self.near.sound = self.client.sound = self.wire.sound = False
            for _ in range(1000):
                data = raw(random.choice(port_packets))
                for _ in range(random.randint(1, 6)):
                    data[random.randrange(12, len(data))] = random.randrange(256)
                port.send(bytes(data[:random.randint(14, len(data))]))
                port.send(random.randbytes(random.randint(14, 600)))
            for each in (self.near, self.client, self.wire):
                each.drain()
                each.sound = True
        answer = node.from_pod(self.client, self.near.ip[4]) / UDP(sport=41001, dport=41002) / b"!"
        self.client.send(answer)
        self.near.expect(lambda p: UDP in p and p[UDP].dport == 41002 and Raw in p, "life goes on")
