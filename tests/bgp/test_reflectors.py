"""Six nodes, two of them route reflectors of one cluster, and no mesh."""

import signal
import socket

import bgp_lab
import netns
from bgp_lab import pod_object, thing

REFLECTOR = {"projectcalico.org/RouteReflectorClusterID": "244.0.0.1"}


class ReflectorLab(bgp_lab.BgpLab):
    count = 6
    config = {"tcp-pickup": "true"}  # a connection outlives podwired
    annotations = {"n1": REFLECTOR, "n2": REFLECTOR}
    labels = {"n1": {"role": "reflector"}, "n2": {"role": "reflector"}}
    start_objects = (
        thing("BGPConfiguration", "default", {"nodeToNodeMeshEnabled": False}),
        thing("BGPPeer", "reflectors", {"peerSelector": "role == 'reflector'"}))

    @staticmethod
    def needs():
        return bgp_lab.missing_program("/usr/sbin/bird")


class Reflectors(bgp_lab.Case):
    topology = ReflectorLab

    def addresses(self, *names):
        return {a for n in names for a in self.lab.nodes[n].addresses.values()}

    def learned(self, name, family=4):
        """What a node should have: every other's range by that other's address, not by the
        reflector's."""
        return {self.lab.ranges[n][family]: node.addresses[family]
                for n, node in self.lab.nodes.items() if n != name}

    def whole(self):
        for name in self.lab.nodes:
            wanted = self.addresses("n1", "n2") - self.addresses(name)
            if name in ("n1", "n2"):
                wanted = self.addresses(*(n for n in self.lab.nodes if n != name))
            self.equal_soon(lambda: self.lab.peers(name), wanted, 40)
            for family in (4, 6):
                self.equal_soon(lambda: self.lab.linux_routes(name, family),
                                self.learned(name, family))

    def test_all_learn_from_two(self):
        self.whole()
        self.assertIn(self.lab.ranges["n6"][4], self.lab.podwire_routes("n3"))
        for name in self.lab.nodes:
            self.assertEqual(self.lab.nodes[name].problems(), [])

    def test_one_reflector_is_enough(self):
        self.whole()
        dead = self.lab.nodes["n1"]
        dead.bird.terminate()  # in order: the others drop what it taught at once
        dead.bird.wait(10)
        self.eventually(lambda: self.lab.peers("n3") == self.addresses("n2"), "the end of it", 30)
        for name in ("n3", "n6"):
            # n1 itself is known no more; the rest is.
            wanted = self.learned(name)
            del wanted[self.lab.ranges["n1"][4]]
            self.equal_soon(lambda: self.lab.linux_routes(name, 4), wanted)
        dead.start_bird()
        self.whole()

    def two_pods(self):
        """w3 on n3, w4 on n4; the same for all tests."""
        if "w3" not in self.lab.pods:
            self.lab.objects("pods", [pod_object("w3", "n3"), pod_object("w4", "n4")])
            self.lab.pod("w3", "n3")
            self.lab.pod("w4", "n4")
        return self.lab.pods["w3"], self.lab.pods["w4"]

    def test_no_packet_is_lost_while_bird_is_killed_and_comes_back(self):
        """Graceful restart: no route goes, neither at the node itself nor at its peers."""
        self.whole()
        one, two = self.two_pods()
        node = self.lab.nodes["n3"]
        with self.lab.route_changes("n3") as own, self.lab.route_changes("n4") as others, \
                self.lab.pinging(one, two.addresses[4]) as there, \
                self.lab.pinging(two, one.addresses[6]) as back:
            bgp_lab.kill_now(node.bird)
            self.problem("n3", "bird does not answer")
            node.start_bird()
            self.whole()
        self.assertEqual((there["lost"], back["lost"]), (0, 0), (there, back))
        self.assertEqual([line for line in own + others if line.startswith("Deleted")], [])
        self.no_problem("n3")

    def test_restart_of_podwired_moves_no_route_at_its_peers(self):
        """Its sessions live through it, and a connection goes on where it was."""
        self.whole()
        one, two = self.two_pods()
        reader = netns.open_socket(two.namespace, socket.AF_INET, socket.SOCK_STREAM)
        self.addCleanup(reader.close)
        reader.settimeout(20)
        reader.connect((one.addresses[4], bgp_lab.HTTP_PORT))
        reader.sendall(b"GET /slow HTTP/1.1\r\nHost: w3\r\n\r\n")
        self.assertTrue(reader.recv(4096))
        node = self.lab.nodes["n3"]
        with self.lab.route_changes("n4") as seen:
            for signal_number in (signal.SIGKILL, signal.SIGTERM):
                node.stop(signal_number)
                node.start()
                for _ in range(3):
                    self.assertTrue(reader.recv(65536))
            self.whole()
        self.assertEqual([line for line in seen if line.startswith("Deleted")], [])
        for peer in ("n1", "n2"):
            self.assertIn(node.addresses[4], self.lab.peers(peer))
