"""Six nodes, two of them route reflectors of one cluster, and no mesh."""

import bgp_lab
from bgp_lab import thing

REFLECTOR = {"projectcalico.org/RouteReflectorClusterID": "244.0.0.1"}


class ReflectorLab(bgp_lab.BgpLab):
    count = 6
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
