"""One real podwired between a wire and three pods, all of which are ours to speak for.

The pods' interfaces are real taps attached by podwire-cni, but their kernels are struck dumb (no
addresses), so that what is sent and answered is what the test says. Every packet that podwired
sends to any of them is checked: lengths, IP, TCP, UDP, ICMP and SCTP checksums.
"""

import logging
import select
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

import lab  # noqa: E402
import netns  # noqa: E402
import sctp  # noqa: E402
from scapy.layers.inet import ICMP, IP, TCP, UDP  # noqa: E402
from scapy.layers.inet6 import (ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr,  # noqa: E402
                                IPv6, in6_chksum)
from scapy.layers.l2 import ARP, Ether  # noqa: E402
from scapy.packet import Padding  # noqa: E402

NODE = {4: "172.18.0.11", 6: "fd00:172:18::11"}
PEER = {4: "172.18.0.12", 6: "fd00:172:18::12"}
OUTSIDE = {4: "172.18.0.100", 6: "fd00:172:18::100"}
GATEWAY_MAC = "ee:ee:ee:ee:ee:ee"
IP_LAYER = {4: IP, 6: IPv6}


class WrongPacket(AssertionError):
    """podwired sent a packet that is not sound."""


def checksum(data):
    total = 0
    data = data + b"\0" if len(data) & 1 else data
    for i in range(0, len(data), 2):
        total += data[i] << 8 | data[i + 1]
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def must_be_sound(frame):
    """Lengths and checksums of a whole frame, down through IPIP; raises WrongPacket."""
    kind, payload = frame[12:14], frame[14:]
    if kind == b"\x08\x00":
        must_be_sound_v4(payload)
    elif kind == b"\x86\xdd":
        must_be_sound_v6(payload)


def _wrong(what, data):
    raise WrongPacket(f"{what}: {data.hex()}")


def must_be_sound_v4(data):
    head = (data[0] & 15) * 4
    length = int.from_bytes(data[2:4], "big")
    if data[0] >> 4 != 4 or head < 20 or length < head or length > len(data):
        _wrong("IPv4 header or length", data)
    if checksum(data[:head]):
        _wrong("IPv4 header checksum", data)
    if int.from_bytes(data[6:8], "big") & 0x3FFF:
        return  # a fragment: the transport checksum covers more than this
    body, protocol = data[head:length], data[9]
    pseudo = data[12:20] + bytes([0, protocol]) + len(body).to_bytes(2, "big")
    if protocol == 4:
        must_be_sound_v4(body)
    elif protocol == 1:
        if checksum(body):
            _wrong("ICMP checksum", data)
    else:
        must_have_sound_transport(protocol, pseudo, body, data, udp_may_lack=True)


def must_be_sound_v6(data):
    length = int.from_bytes(data[4:6], "big")
    if data[0] >> 4 != 6 or 40 + length > len(data):
        _wrong("IPv6 header or length", data)
    body, protocol = data[40:40 + length], data[6]
    pseudo = data[8:40] + len(body).to_bytes(4, "big") + bytes([0, 0, 0, protocol])
    if protocol == 58:
        if checksum(pseudo + body):
            _wrong("ICMPv6 checksum", data)
    else:
        must_have_sound_transport(protocol, pseudo, body, data, udp_may_lack=False)


def must_have_sound_transport(protocol, pseudo, body, data, udp_may_lack):
    if protocol == 6 and (len(body) < 20 or checksum(pseudo + body)):
        _wrong("TCP checksum", data)
    if protocol == 17:
        if int.from_bytes(body[4:6], "big") != len(body):
            _wrong("UDP length", data)
        if not (udp_may_lack and body[6:8] == b"\0\0") and checksum(pseudo + body):
            _wrong("UDP checksum", data)
    if protocol == 132 and sctp.parse(body) is None:
        _wrong("SCTP checksum", data)


class Port:
    """One place from which frames go to podwired and to which they come: a pod or the wire."""

    def __init__(self, namespace, interface, answers=()):
        self.socket = netns.open_socket(namespace, socket.AF_PACKET, socket.SOCK_RAW)
        self.socket.bind((interface, 3))
        self.mac = ":".join(f"{b:02x}" for b in self.socket.getsockname()[4])
        self.answers = set(answers)  # addresses that this port resolves for whoever asks
        self.sound = True

    def send(self, *packets):
        for packet in packets:
            self.socket.send(bytes(packet))

    def _receive(self, deadline):
        """The next frame that is not our own, ARP and NS answered on the way; None at the end."""
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self.socket], [], [], left)[0]:
                return None
            frame, where = self.socket.recvfrom(65535)
            if where[2] == socket.PACKET_OUTGOING:
                continue
            packet = Ether(frame)
            if self._resolved(packet):
                continue
            if self.sound:
                must_be_sound(frame)
            return packet
        return None

    def _resolved(self, packet):
        if ARP in packet and packet[ARP].op == 1 and packet[ARP].pdst in self.answers:
            ask = packet[ARP]
            self.send(Ether(dst=packet.src, src=self.mac) /
                      ARP(op=2, hwsrc=self.mac, psrc=ask.pdst, hwdst=ask.hwsrc, pdst=ask.psrc))
            return True
        if ICMPv6ND_NS in packet and packet[ICMPv6ND_NS].tgt in self.answers and \
                packet[IPv6].src != "::":
            target = packet[ICMPv6ND_NS].tgt
            self.send(Ether(dst=packet.src, src=self.mac) / IPv6(src=target, dst=packet[IPv6].src,
                                                                 hlim=255) /
                      ICMPv6ND_NA(R=0, S=1, O=1, tgt=target) /
                      ICMPv6NDOptDstLLAddr(lladdr=self.mac))
            return True
        return False

    def expect(self, wanted, what, timeout_s=3):
        """The first packet for which `wanted` is true; others are let pass."""
        deadline, others = time.monotonic() + timeout_s, []
        while (packet := self._receive(deadline)) is not None:
            if wanted(packet):
                return packet
            others.append(packet.summary())
        raise AssertionError(f"expected {what}; came: {others or 'nothing'}")

    def expect_nothing(self, wanted, what, timeout_s=0.15):
        deadline = time.monotonic() + timeout_s
        while (packet := self._receive(deadline)) is not None:
            if wanted(packet):
                raise AssertionError(f"{what} should not come: {packet.summary()}")

    def drain(self):
        """Forgets what has come; resolves who asks."""
        while self._receive(time.monotonic() + 0.001) is not None:
            pass


class Node(lab.Node):
    """podwired between `wire` and the pods, with the manifests of one folder of this test."""

    def __init__(self, name="node-a"):
        super().__init__(name)
        self.namespace = f"{lab.PREFIX}-scapy"
        self.wire_namespace = f"{lab.PREFIX}-scapy-wire"
        self.folder = lab.FOLDER.with_name(f"{lab.PREFIX}-scapy")
        self.run_dir, self.log = self.folder / "run", self.folder / "podwired.log"
        self.config = self.folder / "podwired.conf"
        self.pods = {}

    def down(self):
        if self.process is not None and self.process.poll() is None:
            self.stop()
        names = netns.ip("netns", "list").split()
        netns.remove([n for n in names if n.startswith(f"{lab.PREFIX}-scapy")])
        shutil.rmtree(self.folder, ignore_errors=True)

    def up(self, manifests, pods):
        self.down()
        self.folder.mkdir(parents=True)
        shutil.copytree(manifests, self.folder / "manifests")
        for name in (self.namespace, self.wire_namespace):
            netns.create(name)
        netns.ip_batch(self.wire_namespace, [
            f"link add wire type veth peer name eth0 netns {self.namespace}"])
        strike_dumb(self.wire_namespace)
        netns.ip_batch(self.wire_namespace, ["link set wire up mtu 9000"])
        netns.ip_batch(self.namespace, [
            "link set eth0 up", f"addr add {NODE[4]}/24 dev eth0",
            f"addr add {NODE[6]}/64 dev eth0 nodad"])
        for end, namespace in (("wire", self.wire_namespace), ("eth0", self.namespace)):
            subprocess.run(["ip", "netns", "exec", namespace, "ethtool", "-K", end, "tx", "off",
                            "rx", "off", "tso", "off", "gso", "off", "gro", "off"],
                           capture_output=True, check=True)
        self.wire = Port(self.wire_namespace, "wire", [*PEER.values(), *OUTSIDE.values()])
        self.write_config(self.folder / "manifests")
        self.start()
        for name, addresses in pods.items():
            self.pods[name] = self.attach(name, addresses)
        self.mac = netns.ip("-n", self.namespace, "-br", "link", "show", "podwire0").split()[2]

    def attach(self, name, addresses):
        namespace = f"{lab.PREFIX}-scapy-{name}"
        netns.create(namespace)
        result = self.cni("ADD", f"scapy-{name}", namespace, ("default", name))
        got = {6 if ":" in ip["address"] else 4: ip["address"].split("/")[0]
               for ip in result["ips"]}
        if got != addresses:
            raise RuntimeError(f"pod {name} was given {got} instead of {addresses}")
        strike_dumb(namespace)
        port = Port(namespace, "eth0")
        port.ip, port.namespace = addresses, namespace
        return port

    def from_pod(self, pod, destination, **fields):
        """Ethernet and IP of a packet from this pod to an address."""
        family = 6 if ":" in destination else 4
        return Ether(src=pod.mac, dst=GATEWAY_MAC) / IP_LAYER[family](
            src=pod.ip[family], dst=destination, **fields)

    def from_wire(self, source, destination, **fields):
        family = 6 if ":" in destination else 4
        return Ether(src=self.wire.mac, dst=self.mac) / IP_LAYER[family](
            src=source, dst=destination, **fields)


def strike_dumb(namespace):
    """The namespace's kernel has no addresses and answers nothing."""
    with netns.inside(namespace):
        for name in ("all", "default"):
            Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
    for interface in netns.ip("-n", namespace, "-br", "link").splitlines():
        name = interface.split()[0].split("@")[0]
        if name != "lo":
            netns.ip("-n", namespace, "addr", "flush", "dev", name)
            netns.ip("-n", namespace, "link", "set", name, "arp", "off")


__all__ = ["ARP", "Ether", "GATEWAY_MAC", "ICMP", "IP", "IPv6", "NODE", "Node", "OUTSIDE", "PEER",
           "Padding", "Port", "TCP", "UDP", "WrongPacket", "in6_chksum"]
