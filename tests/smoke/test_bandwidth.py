"""A pod's bandwidth as kubelets ask for it: what passes in both directions is what the limit gives
in the time that it took, no more and not far less; another pod has none; it outlives podwired; and
what cannot be is refused by name."""
import socket
import time

import smoke
from cni_list import refused
from smoke import cni_list, netns

RATE, BURST = 4_000_000, 400_000  # bits a second, bits
PAYLOAD, OVERHEAD = 1400, 14 + 20 + 8
SO_RCVBUFFORCE = 33  # asm-generic/socket.h; Python has no name for it
FRAME_BITS = (PAYLOAD + OVERHEAD) * 8
LIMIT = {"ingressRate": RATE, "ingressBurst": BURST, "egressRate": RATE, "egressBurst": BURST}


class Flood:
    """Datagrams from one namespace to another, and how many arrived."""

    def __init__(self, source, target, address, port):
        self.receiver = netns.open_socket(target, socket.AF_INET, socket.SOCK_DGRAM)
        self.receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self.receiver.bind((address, port))
        self.sender = netns.open_socket(source, socket.AF_INET, socket.SOCK_DGRAM)
        self.sender.connect((address, port))

    def close(self):
        self.receiver.close()
        self.sender.close()

    def send(self, count):
        for _ in range(count):
            self.sender.send(b"x" * PAYLOAD)

    def receive(self, most, patience_s):
        self.receiver.settimeout(patience_s)
        for passed in range(most):
            try:
                self.receiver.recv(2000)
            except TimeoutError:
                return passed
        return most


def limited(n, flood, reason, count=2000):
    """Begins with a full bucket."""
    before = n.drops(reason)
    began = time.monotonic()
    for _ in range(count // 40):
        flood.send(40)
        time.sleep(0.002)  # a pace that queues elsewhere bear
    passed = flood.receive(count, 0.5)
    seconds = time.monotonic() - began
    dropped = n.drops(reason) - before
    assert passed <= (BURST + RATE * seconds) / FRAME_BITS, f"{reason}: {passed} in {seconds} s"
    assert passed >= BURST // FRAME_BITS - 2, f"{reason}: {passed} of a full bucket"
    assert dropped > 0 and passed + dropped <= count, (reason, passed, dropped)


def unlimited(n, flood, count=600):
    before = n.drops("bandwidth_ingress") + n.drops("bandwidth_egress")
    for _ in range(count // 20):
        flood.send(20)
        assert flood.receive(20, 10) == 20, "lost without a limit"
    assert n.drops("bandwidth_ingress") + n.drops("bandwidth_egress") == before


with smoke.node() as n:
    n.start()
    chain = cni_list.List("podwire", [n.plugin(capabilities={"bandwidth": True})], "1.1.0")
    pod = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME="
    path = n.sandbox("a")
    for wrong, sentence in (
            ({"ingressRate": RATE},
             f"bandwidth.ingressRate: {RATE} without bandwidth.ingressBurst"),
            ({"egressBurst": BURST},
             f"bandwidth.egressBurst: {BURST} without bandwidth.egressRate"),
            ({"egressRate": -1}, "runtimeConfig.bandwidth.egressRate -1 is not a number from 0 to "
                                 "18446744073709551615"),
            ({"egressRate": RATE, "egressBurst": 8 << 32},
             f"bandwidth.egressBurst: {8 << 32} bits; it has to be less than {(1 << 35) - 8}")):
        refused(lambda wrong=wrong: chain.add("a", path, arguments=pod + "a",
                                              runtime={"bandwidth": wrong}), 7, sentence)
    assert not n.left_behind(), n.left_behind()

    result = chain.add("a", path, arguments=pod + "a", runtime={"bandwidth": LIMIT})
    a = result["ips"][0]["address"].split("/")[0]
    b = n.pod("b")
    shown = {p["pod"]: p.get("bandwidth") for p in n.ctl("pods")}
    assert shown == {"default/a": LIMIT, "default/b": None}, shown
    to_a = Flood(n.peer, n.pods["a"], a, 7000)
    from_a = Flood(n.pods["a"], n.peer, smoke.PEER, 7001)
    to_b = Flood(n.peer, n.pods["b"], b, 7000)
    from_b = Flood(n.pods["b"], n.peer, smoke.PEER, 7002)
    netns.run(n.peer, ["ping", "-c", "1", "-W", "2", a])  # neighbours are known from here on
    netns.run(n.peer, ["ping", "-c", "1", "-W", "2", b])
    for after_restart in (False, True):
        if after_restart:
            n.stop()
            n.start()
            netns.run(n.peer, ["ping", "-c", "1", "-W", "2", a])
            assert {p["pod"]: p.get("bandwidth") for p in n.ctl("pods")} == shown
        limited(n, to_a, "bandwidth_ingress")
        limited(n, from_a, "bandwidth_egress")
        unlimited(n, to_b)
        unlimited(n, from_b)
    missing, counters = n.ledger_difference()
    assert missing == 0, counters
    chain.check("a")
    for flood in (to_a, from_a, to_b, from_b):
        flood.close()
    chain.remove("a")
    assert [p["pod"] for p in n.ctl("pods") if p["attached"]] == ["default/b"]
