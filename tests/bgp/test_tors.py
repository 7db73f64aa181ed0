"""Two nodes below a top-of-rack pair of other makes: FRR (AS 65001, watched by BFD, with a
password) and GoBGP (AS 65002, with filters). Services are announced to both."""

import bgp_lab
import netns
import routers
from bgp_lab import HTTP_PORT, pod_object, secret, thing

FRR = {4: "172.18.0.201", 6: "fd00:172:18::201"}
GOBGP = {4: "172.18.0.202", 6: "fd00:172:18::202"}
BFD_MS = 100
LOAD_BALANCERS = "203.0.113.0/24"
VIP, MOVING = "203.0.113.10", "203.0.113.20"
FABRIC = "198.18.0.0/24"  # both routers announce it
GOBGP_OWN, GOBGP_UNWANTED = "198.19.0.0/24", "198.19.1.0/24"

FRR_LINES = """
router bgp 65001
 bgp router-id 172.18.0.201
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 timers bgp 3 9
 neighbor nodes peer-group
 neighbor nodes remote-as 64512
 neighbor nodes password s3cret
 neighbor nodes bfd
 neighbor nodes bfd profile fast
 neighbor 172.18.0.11 peer-group nodes
 neighbor 172.18.0.12 peer-group nodes
 address-family ipv4 unicast
  neighbor nodes activate
  maximum-paths 8
  network 198.18.0.0/24
 exit-address-family
bfd
 profile fast
  receive-interval 100
  transmit-interval 100
  detect-multiplier 3
""".splitlines()

GOBGP_CONFIG = """
[global.config]
  as = 65002
  router-id = "172.18.0.202"
""" + "".join(f"""
[[neighbors]]
  [neighbors.config]
    neighbor-address = "172.18.0.1{n}"
    peer-as = 64512
  [neighbors.transport.config]
    passive-mode = true
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv4-unicast"
""" for n in (1, 2))


def configuration(**more):
    return thing("BGPConfiguration", "default", {
        "asNumber": 64512, "nodeToNodeMeshEnabled": True,
        "communities": [{"name": "pods", "value": "64512:100"}],
        "prefixAdvertisements": [{"cidr": "10.244.0.0/16",
                                  "communities": ["pods", "64512:1:2"]}],
        "serviceLoadBalancerIPs": [{"cidr": LOAD_BALANCERS}], **more})


def frr_peer(**more):
    return thing("BGPPeer", "frr", {
        "peerIP": FRR[4], "asNumber": 65001,
        "password": {"secretKeyRef": {"name": "bgp", "key": "frr"}},
        "failureDetectionMode": "BFDIfDirectlyConnected", **more})


def gobgp_peer(**more):
    return thing("BGPPeer", "gobgp", {
        "peerIP": GOBGP[4], "asNumber": 65002, "filters": ["to-gobgp"], **more})


FILTER = thing("BGPFilter", "to-gobgp", {
    "exportV4": [{"cidr": "10.244.2.0/24", "matchOperator": "Equal", "action": "Reject"},
                 {"cidr": "10.244.0.0/16", "matchOperator": "In", "action": "Accept",
                  "operations": [{"addCommunity": {"value": "64512:200"}},
                                 {"prependASPath": {"prefix": [64512, 64512]}}]}],
    "importV4": [{"cidr": GOBGP_UNWANTED, "matchOperator": "In", "action": "Reject"}]})


def service(name, address, **spec):
    """A load balancer's, of pods labelled with its name."""
    return {"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"type": "LoadBalancer", "clusterIP": f"10.96.0.{address.split('.')[-1]}",
                     "selector": {"app": name}, "externalTrafficPolicy": "Local",
                     "ports": [{"port": HTTP_PORT, "nodePort": 30000 + int(
                         address.split(".")[-1])}], **spec},
            "status": {"loadBalancer": {"ingress": [{"ip": address}]}}}


class TorLab(bgp_lab.BgpLab):
    count = 2
    config = {"bgp-bfd-interval-ms": str(BFD_MS)}
    start_objects = (configuration(), secret("bgp", frr="s3cret"), frr_peer(), gobgp_peer(),
                     FILTER)

    @staticmethod
    def needs():
        return bgp_lab.missing_program("/usr/sbin/bird", "/usr/lib/frr/bgpd", "/usr/bin/gobgpd")

    def make_routers(self):
        self.frr = routers.Frr(self, "frr", FRR, FRR_LINES)
        self.frr.run("ip", "route", "add", "blackhole", FABRIC)
        # A router that spreads flows and not only destinations.
        self.frr.run("sysctl", "-qw", "net.ipv4.fib_multipath_hash_policy=1")
        self.gobgp = routers.GoBgp(self, "gobgp", GOBGP, GOBGP_CONFIG)
        for prefix in (FABRIC, GOBGP_OWN, GOBGP_UNWANTED):
            self.gobgp.gobgp("global", "rib", "add", prefix, "origin", "igp")


class Tors(bgp_lab.Case):
    topology = TorLab

    def setUp(self):
        super().setUp()
        self.frr, self.gobgp = self.lab.frr, self.lab.gobgp
        self.gateways = {n: node.addresses[4] for n, node in self.lab.nodes.items()}
        self.whole()

    def whole(self):
        for name in self.lab.nodes:
            self.eventually(lambda: {FRR[4], GOBGP[4]} <= self.lab.peers(name),
                            f"{name}'s sessions with the routers", 60)
        self.eventually(lambda: len(self.frr.linux_routes().get(LOAD_BALANCERS, ())) == 2,
                        "the load balancers' range by both nodes", 40)

    def linux(self, node, prefix):
        """A node's gateways to a prefix that bird has taught its Linux."""
        found = bgp_lab.run("ip", "-n", self.lab.nodes[node].namespace, "-j", "route", "show",
                            prefix, "proto", "bird").stdout
        routes = bgp_lab.json.loads(found or "[]")
        return {hop.get("gateway") for route in routes for hop in route.get("nexthops", [route])}

    def test_pod_ranges_reach_both_with_their_communities(self):
        for name in self.lab.nodes:
            prefix = self.lab.ranges[name][4]
            self.eventually(lambda: self.frr.rib(prefix), f"{prefix} at FRR")
            # Each node announces the other's range too, as Calico's do; its own comes straight.
            paths = {p["nexthops"][0]["ip"]: p for p in self.frr.rib(prefix)}
            mine = paths[self.gateways[name]]
            self.assertEqual(mine["aspath"]["string"], "64512")
            self.assertEqual(mine["community"]["string"], "64512:100")
            self.assertEqual(mine["largeCommunity"]["string"], "64512:1:2")

    def test_filters_say_what_passes(self):
        prefix = self.lab.ranges["n1"][4]
        self.eventually(lambda: prefix in self.gobgp.rib(), f"{prefix} at GoBGP")
        rib = self.gobgp.rib()
        self.assertNotIn(self.lab.ranges["n2"][4], rib)
        text = str(rib[prefix])
        # Own AS, and twice more; the operation's community.
        self.assertIn("'as_paths': [{'segment_type': 2, 'num': 3, 'asns': [64512, 64512, 64512]}]",
                      text)
        self.assertIn(str(64512 << 16 | 200), text)
        self.eventually(lambda: self.linux("n1", GOBGP_OWN) == {GOBGP[4]}, "GoBGP's range")
        self.assertEqual(self.linux("n1", GOBGP_UNWANTED), set())
        self.assertIn(GOBGP_OWN, self.lab.podwire_routes("n1"))

    def test_two_paths_of_one_length_are_both_used(self):
        for name in self.lab.nodes:
            self.equal_soon(lambda: self.linux(name, FABRIC), {FRR[4], GOBGP[4]})

    def test_ranges_of_services_are_not_learned_back(self):
        """Both nodes tell both routers and each other of it; neither has it from anyone."""
        self.eventually(lambda: LOAD_BALANCERS in self.gobgp.rib(), "the range at GoBGP")
        for name in self.lab.nodes:
            self.assertEqual(self.linux(name, LOAD_BALANCERS), set())
            self.assertIn(LOAD_BALANCERS, self.lab.nodes[name].ctl("bgp")["services"])

    def test_service_is_announced_moved_and_withdrawn(self):
        """With externalTrafficPolicy Local its address is where a ready endpoint is. Withdrawn
        within a second: from the change of the objects to the router's Linux."""
        def by():
            return self.frr.linux_routes().get(MOVING, set())
        self.lab.objects("moving", [service("moving", MOVING), pod_object("m1", "n1", app="moving"),
                                    pod_object("m2", "n2")])
        self.lab.pod("m1", "n1")
        self.lab.pod("m2", "n2")
        self.equal_soon(by, {self.gateways["n1"]})
        self.assertEqual(self.lab.get(self.frr.namespace, MOVING), "m1")
        self.lab.objects("moving", [service("moving", MOVING), pod_object("m1", "n1"),
                                    pod_object("m2", "n2", app="moving")])
        moved = self.equal_soon(by, {self.gateways["n2"]})
        self.assertEqual(self.lab.get(self.frr.namespace, MOVING), "m2")
        self.lab.objects("moving", [service("moving", MOVING), pod_object("m1", "n1"),
                                    pod_object("m2", "n2")])
        withdrawn = self.equal_soon(by, set())
        self.assertLess(max(moved, withdrawn), 1, "slower than a second")
        self.lab.objects("moving", [])

    def test_node_that_loses_power_leaves_its_traffic_to_the_other(self):
        """Both have an endpoint; FRR spreads over both until BFD has missed 3 packets of one."""
        self.lab.objects("web", [service("web", VIP), pod_object("w1", "n1", app="web"),
                                 pod_object("w2", "n2", app="web")])
        self.lab.pod("w1", "n1")
        self.lab.pod("w2", "n2")
        self.equal_soon(lambda: self.frr.linux_routes().get(VIP), set(self.gateways.values()))
        answers = {self.lab.get(self.frr.namespace, VIP) for _ in range(24)}
        self.assertEqual(answers, {"w1", "w2"})
        # On a busy machine one of 300 ms may end by itself; bird then waits 30 s for the next.
        self.eventually(lambda: self.frr.watched_by_bfd() == set(self.gateways.values()),
                        "BFD with both nodes", 100)
        self.lab.kill("n1")
        try:
            took = self.equal_soon(lambda: self.frr.linux_routes().get(VIP),
                                   {self.gateways["n2"]})
            self.assertLess(took, 3)
            answers = [self.lab.get(self.frr.namespace, VIP) for _ in range(8)]
            self.assertEqual(set(answers), {"w2"})
        finally:
            self.lab.revive("n1")
        self.whole()
        self.lab.objects("web", [])

    def test_node_kept_out_of_load_balancing_announces_nothing(self):
        node = self.lab.node_object("n1")
        node["metadata"]["labels"]["node.kubernetes.io/exclude-from-external-load-balancers"] = ""
        self.lab.objects("nodes", [node, self.lab.node_object("n2")])
        self.equal_soon(lambda: self.frr.linux_routes().get(LOAD_BALANCERS),
                        {self.gateways["n2"]})
        del node["metadata"]["labels"]["node.kubernetes.io/exclude-from-external-load-balancers"]
        self.lab.objects("nodes", map(self.lab.node_object, self.lab.nodes))

    def test_wrong_password_is_said(self):
        def change(password):
            self.lab.objects("bgp", [configuration(), secret("bgp", frr=password), frr_peer(),
                                     gobgp_peer(), FILTER])
        change("another")
        said = self.problem("n1", f"BGP peer {FRR[4]} (BGPPeer frr, AS 65001): no session", 40)
        self.assertRegex(said, "its password is another|last error")
        self.assertNotIn("another\"", said.replace("password is another", ""))
        # The rest goes on.
        self.assertIn(GOBGP[4], self.lab.peers("n1"))
        change("s3cret")
        self.whole()
        self.no_problem("n1")

    def test_wrong_as_number_is_said(self):
        self.lab.objects("bgp", [configuration(), secret("bgp", frr="s3cret"), frr_peer(),
                                 gobgp_peer(asNumber=65099), FILTER])
        said = self.problem("n1", f"BGP peer {GOBGP[4]} (BGPPeer gobgp, AS 65099): no session", 40)
        self.assertRegex(said, "last error: .*(AS|OPEN)")
        self.lab.objects("bgp", TorLab.start_objects)
        self.whole()
        self.no_problem("n1")

    def test_filter_that_goes_away_closes_its_peer(self):
        self.lab.objects("bgp", [configuration(), secret("bgp", frr="s3cret"), frr_peer(),
                                 gobgp_peer()])
        self.assertIn("there is no BGPFilter to-gobgp; no route passes until there is",
                      self.problem("n1", "BGPPeer gobgp"))
        self.equal_soon(lambda: self.linux("n1", GOBGP_OWN), set())
        self.equal_soon(lambda: self.lab.ranges["n1"][4] in self.gobgp.rib(), False)
        self.lab.objects("bgp", TorLab.start_objects)
        self.eventually(lambda: self.linux("n1", GOBGP_OWN) == {GOBGP[4]}, "GoBGP's range")
        netns.wait_until(lambda: self.lab.nodes["n1"].problems() == [], 20, "no problem")
