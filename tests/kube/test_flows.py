"""Flows whose endpoints come and go, and what does not belong to a flow, as upstream's end-to-end
tests of conntrack have it (test/e2e/network/conntrack.go): the docstrings are their names."""

import contextlib
import select
import socket
import struct
import time

import checks
from lab import NODE_ADDRESSES
from services import BOTH, ECHO, FAMILIES, ServiceCase

TCP_ACK = 0x10


class UdpFlows(ServiceCase):
    """A client with one socket, which therefore is one flow, and never pauses."""

    def test_server_pod_cycles_node_port(self):
        """Should be able to preserve UDP traffic when server pod cycles for a NodePort service."""
        made = self.cycling(type="NodePort")
        self.cycles("outside", NODE_ADDRESSES["node-a"], made["nodePort"])

    def test_server_pod_cycles_cluster_ip(self):
        """... for a ClusterIP service."""
        self.cycles("client-a", self.cycling())

    def test_server_pod_cycles_internal_policy_local(self):
        """... for a ClusterIP service and InternalTrafficPolicy is set to Local."""
        self.cycles("client-a", self.cycling(internalTrafficPolicy="Local"), nodes=["node-a"] * 2)

    def test_server_pod_cycles_client_on_the_host(self):
        """... for a ClusterIP service and client is hostNetwork."""
        self.cycles("node-a", self.cycling())

    def test_first_endpoint_gets_ready_under_traffic(self):
        """Should be able to preserve UDP traffic when initial unready endpoints get ready."""
        made = self.cycling(type="NodePort")
        with self.talkers([("client-a", made[f], 7, f) for f in FAMILIES] + [
                ("outside", NODE_ADDRESSES["node-a"][f], made["nodePort"], f)
                for f in FAMILIES]) as clients:
            self.guest("late", "node-b", {"app": "cycling"}, ready=False)
            for client in clients:
                self.assertIsNone(self.who_echoes(client))
            self.lab.set_pod_status(self.lab.pods["late"], ready=True)
            for client in clients:
                self.eventually(lambda c=client: self.who_echoes(c) == "late", "an answer")

    def test_target_port_changes(self):
        """Should be able to cleanup conntrack entries when UDP service target port changes for a
        NodePort service."""
        made = self.web("row", ports=[{**ECHO, "targetPort": 9999}], type="NodePort")
        with self.talkers([("outside", NODE_ADDRESSES["node-a"][f], made["nodePort"], f)
                           for f in FAMILIES]) as clients:
            for client in clients:
                self.assertIsNone(self.who_echoes(client))
            self.change("row", ports=[{**ECHO, "nodePort": made["nodePort"]}])
            for client in clients:
                self.eventually(lambda c=client: self.who_echoes(c) in BOTH, "an answer")

    def test_flow_stays_when_no_endpoint_is_left(self):
        """pkg/proxy/conntrack/cleanup.go: a Service without serving endpoints keeps its flows."""
        made = self.web("row", {"pod": "web-b"}, [ECHO])
        with self.talkers([("client-a", made[4], 7, 4)]) as (client,):
            self.assertEqual(self.who_echoes(client), "web-b")
            self.change("row", selector={"pod": "nobody"})
            self.wait_for("row", set())
            for _ in range(20):
                self.assertEqual(self.who_echoes(client), "web-b")
            with self.talkers([("client-a", made[4], 7, 4)]) as (new,):
                self.assertIsNone(self.who_echoes(new))

    # ---- helpers ----

    def cycling(self, **more):
        return self.web("row", {"app": "cycling"}, [ECHO], pods=set(), **more)

    def cycles(self, who, addresses, port=7, nodes=("node-b", "node-a")):
        """The one pod behind the Service is replaced by another while the client talks."""
        self.guest("first", nodes[0], {"app": "cycling"})
        with self.talkers([(who, addresses[f], port, f) for f in FAMILIES]) as clients:
            for client in clients:
                self.eventually(lambda c=client: self.who_echoes(c) == "first", "the first")
            self.guest_ends("first")
            self.guest("second", nodes[1], {"app": "cycling"})
            self.guest_goes("first")
            for client in clients:
                self.eventually(lambda c=client: self.who_echoes(c) == "second", "the second", 5)

    @contextlib.contextmanager
    def talkers(self, wheres):
        with contextlib.ExitStack() as stack:
            clients = []
            for who, address, port, family in wheres:
                client = self.lab.socket(who, checks.AF[family], socket.SOCK_DGRAM)
                clients.append(stack.enter_context(client))
                client.connect((address, port))
                client.settimeout(0.05)
            yield clients

    @staticmethod
    def who_echoes(client):
        """The pod that answers to a datagram now; None: nobody, or somebody refused it."""
        with contextlib.suppress(OSError):
            while select.select([client], [], [], 0)[0]:
                client.recv(100)  # of before
        with contextlib.suppress(OSError):
            client.send(b"x" * 40)
            return client.recv(100).split(b" ")[0].decode()
        return None


class InvalidTcp(ServiceCase):
    def test_segment_out_of_its_window(self):
        """Proxy implementation should not be vulnerable to the invalid conntrack state bug: a
        server's segment that is far from the window must not come to the client with the pod's own
        address, which the client would answer by a reset."""
        for pod in sorted(BOTH):
            with self.subTest(pod=pod):
                self.check_out_of_window(pod)

    def check_out_of_window(self, pod):
        made = self.web(f"row-{pod}", {"pod": pod})
        server, client = self.address(pod), self.address("client-a")
        with self.lab.socket("client-a", socket.AF_INET, socket.SOCK_STREAM) as stream, \
                self.lab.socket("client-a", socket.AF_PACKET, socket.SOCK_RAW) as capture, \
                self.lab.socket(pod, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
            capture.bind(("eth0", 3))
            stream.settimeout(3)
            stream.connect((made[4], 80))
            stream.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
            self.assertTrue(stream.recv(4096))
            for sequence in range(0, 1 << 32, 1 << 28):
                raw.sendto(self.segment((server, 8080), stream.getsockname(), sequence),
                           (client, 0))
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                self.assertTrue(stream.recv(4096), "the connection was reset")
            sources = set()
            while select.select([capture], [], [], 0)[0]:
                header = checks.ip_header(capture.recv(65535))
                if header and header[0] == socket.IPPROTO_TCP:
                    sources.add(header[1])
            self.assertEqual(sources, {client, made[4]})

    @staticmethod
    def segment(source, destination, sequence):
        header = struct.pack("!HHIIBBHHH", source[1], destination[1], sequence, 1, 5 << 4, TCP_ACK,
                             1000, 0, 0)
        pseudo = socket.inet_aton(source[0]) + socket.inet_aton(destination[0]) + \
            struct.pack("!HH", socket.IPPROTO_TCP, len(header) + 4)
        total = checks.internet_checksum(pseudo + header + b"boom")
        return header[:16] + struct.pack("!H", total) + header[18:] + b"boom"
