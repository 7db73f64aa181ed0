"""A fabric whose range nodes and pods share, as on EKS: 172.18.0.0/16 and fd00:172:18::/48, of
which each node's pods have a part that the fabric's router leads to their node. Two nodes are on
one subnet; a third, of which there are only the objects, is behind the router."""

import json
import sys

import bgp_lab
import lab
import netns
from bgp_lab import HTTP_PORT, pod_object, thing

RANGE = {4: "172.18.0.0/16", 6: "fd00:172:18::/48"}
ROUTER = {4: "172.18.0.1", 6: "fd00:172:18::1"}
INTERNET = {4: "192.0.2.1", 6: "2001:db8::1"}  # of the router, too
IPIP = 4  # RFC 2003


def pool(family, mode="Never"):
    spec = {"cidr": RANGE[family], "natOutgoing": True}
    if family == 4:
        spec["ipipMode"] = mode
    return thing("IPPool", f"v{family}", spec)


class FabricLab(bgp_lab.BgpLab):
    count = 2

    def __init__(self):
        super().__init__()
        for number, name in enumerate(self.nodes, 1):
            self.ranges[name] = {4: f"172.18.{number}.0/24", 6: f"fd00:172:18:{number}::/64"}

    @staticmethod
    def needs():
        return bgp_lab.missing_program("/usr/sbin/bird")

    def write_pools(self, mode="Never"):
        self.objects("pools", [pool(4, mode), pool(6)])

    def make_routers(self):
        """The fabric: a router on the wire that knows which node has which pods."""
        self.write_pools()
        netns.create(self.outside)
        self.join_wire("fabric", self.outside, ROUTER)
        for family in (4, 6):
            for name, node in self.nodes.items():
                netns.ip("-n", self.outside, "route", "add", self.ranges[name][family], "via",
                         node.addresses[family])
                netns.ip("-n", node.namespace, "route", "add", "default", "via", ROUTER[family])
            netns.ip("-n", self.outside, "addr", "add", INTERNET[family], "dev", "lo")
        netns.spawn(self.outside, [sys.executable, "-u",
                                   str(lab.ROOT / "tests/lib/pod_program.py"), "fabric",
                                   str(HTTP_PORT)], lab.FOLDER / "fabric.log")

    def client_seen(self, pod, address):
        """(who answers, as whom it saw the pod)."""
        host = f"[{address}]" if ":" in address else address
        done = netns.run(pod.namespace, ["curl", "-sg", "-m", "3", f"http://{host}:{HTTP_PORT}/"])
        if done.returncode != 0:
            return None
        answer = json.loads(done.stdout)
        return answer["pod"], answer["client"]


def encapsulated(frame):
    return frame[12:14] == b"\x08\x00" and frame[23] == IPIP


class Fabric(bgp_lab.Case):
    topology = FabricLab

    def setUp(self):
        super().setUp()
        if "w1" not in self.lab.pods:
            self.lab.objects("pods", [pod_object("w1", "n1"), pod_object("w2", "n2")])
            self.lab.pod("w1", "n1")
            self.lab.pod("w2", "n2")
        self.one, self.two = self.lab.pods["w1"], self.lab.pods["w2"]

    def test_pods_reach_each_other_and_nothing_is_encapsulated(self):
        """Whether the pool never encapsulates, or only out of the node's subnet."""
        for mode in ("Never", "CrossSubnet"):
            self.lab.write_pools(mode)
            for family in (4, 6):
                with self.subTest(mode=mode, family=family), \
                        lab.Capture(self.lab, "n1") as wire:
                    self.equal_soon(
                        lambda: self.lab.client_seen(self.one, self.two.addresses[family]),
                        ("w2", self.one.addresses[family]))
                    port = HTTP_PORT.to_bytes(2, "big")
                    self.assertIsNotNone(wire.wait_for(lambda f: port in f), "seen at all")
                    self.assertEqual([f for f in wire.frames if encapsulated(f)], [])
        self.lab.write_pools()

    def test_pool_that_says_always_is_obeyed_all_the_same(self):
        """And so the capture above would have seen it."""
        self.lab.write_pools("Always")
        with lab.Capture(self.lab, "n1") as wire:
            def is_seen():
                self.lab.client_seen(self.one, self.two.addresses[4])
                return any(encapsulated(f) for f in wire.frames)
            self.eventually(is_seen, "an encapsulated packet")
        self.lab.write_pools()

    def test_nodes_and_fabric_see_pods_by_their_own_addresses(self):
        """natOutgoing hides pods from what is outside of the range, and from nobody in it."""
        for family in (4, 6):
            pod, address = self.one, self.one.addresses[family]
            with self.subTest(family=family):
                self.equal_soon(lambda: self.lab.client_seen(pod, ROUTER[family]),
                                ("fabric", address))
                self.equal_soon(lambda: self.lab.client_seen(pod, INTERNET[family]),
                                ("fabric", self.lab.nodes["n1"].addresses[family]))
                # The other way: from the fabric, and from the other node itself.
                host = f"[{address}]" if family == 6 else address
                self.assertEqual(self.lab.get(self.lab.outside, host), "w1")
                self.assertEqual(self.lab.get(self.lab.nodes["n2"].namespace, host), "w1")

    def test_router_leads_to_a_node_of_another_subnet(self):
        """Where nodes have no BGP session, the fabric's route is the way: a node whose objects are
        known and which runs neither podwired nor bird here."""
        far = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "far"},
               "spec": {"podCIDRs": ["172.18.9.0/24"]},
               "status": {"addresses": [{"type": "InternalIP", "address": "172.18.8.9"}]}}
        self.lab.objects("nodes", [*map(self.lab.node_object, self.lab.nodes), far])
        netns.ip("-n", self.lab.outside, "addr", "add", "172.18.9.7", "dev", "lo")
        with lab.Capture(self.lab, "n1") as wire:
            self.equal_soon(lambda: self.lab.client_seen(self.one, "172.18.9.7"),
                            ("fabric", self.one.addresses[4]))
            self.assertEqual([f for f in wire.frames if encapsulated(f)], [])
        netns.ip("-n", self.lab.outside, "addr", "del", "172.18.9.7", "dev", "lo")
        self.lab.objects("nodes", map(self.lab.node_object, self.lab.nodes))
        self.no_problem("n1")
