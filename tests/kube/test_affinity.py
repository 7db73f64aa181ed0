"""sessionAffinity ClientIP, as upstream's end-to-end tests have it: a client keeps its backend, for
so long as the Service says, at every address of the Service."""

import socket
import time

import checks
from lab import NODE_ADDRESSES
from services import BOTH, ECHO, FAMILIES, HTTP, ServiceCase, external


class Affinity(ServiceCase):
    def test_cluster_ip(self):
        """Should have session affinity work for service with type clusterIP."""
        made = self.sticky("row")
        for family in FAMILIES:
            for client in ("client-a", "client-b", "node-a"):
                self.one_pod(client, made[family])

    def test_node_port_local_and_cluster(self):
        """Should have session affinity work for NodePort service."""
        made = self.sticky("row", type="NodePort")
        for policy in ("Cluster", "Local"):
            self.change("row", externalTrafficPolicy=policy)
            self.eventually(lambda p=policy: {s["externalTrafficPolicy"] for s in
                                              self.service_in_force("row")} == {p}, policy)
            for family in FAMILIES:
                for client in ("outside", "client-a", "node-a"):
                    self.one_pod(client, NODE_ADDRESSES["node-a"][family], made["nodePort"])

    def test_every_address_of_a_port_shares_it(self):
        """What one address chose holds at the others, for any of the Service's clients."""
        made = self.sticky("row", type="LoadBalancer", externalIPs=list(external(51).values()))
        self.give_ingress("row", external(52))
        for family in FAMILIES:
            seen = self.pods_seen("client-a", made[family], count=2)
            for address, port in ((NODE_ADDRESSES["node-a"][family], made["nodePort"]),
                                  (external(51)[family], 80), (external(52)[family], 80)):
                self.assertEqual(self.pods_seen("client-a", address, port, 8), seen, address)

    def test_udp(self):
        """Should function for client IP based session affinity: udp."""
        made = self.sticky("row", ports=[ECHO])
        for family in FAMILIES:
            names = {self.echoed("client-a", made[family], 7) for _ in range(checks.ATTEMPTS)}
            self.assertEqual(len(names), 1, names)

    def test_timeout(self):
        """Should have session affinity timeout work for service with type clusterIP. It runs from
        the last new connection: who asks twice a second keeps a backend for longer than a second
        and a half, and who pauses for so long is given any again."""
        made = self.sticky("row", seconds=1)
        pods, begun = set(), time.monotonic()
        while time.monotonic() - begun < 2.6:
            pods |= self.pods_seen("client-a", made[4], count=1)
            time.sleep(0.3)
        self.assertEqual(len(pods), 1, "the backend changed between two connections")

        def another():
            time.sleep(2.1)  # the clock that counts has whole seconds
            return self.pods_seen("client-a", made[4], count=1) != pods
        self.eventually(another, "another backend after a pause", 40)

    def test_switched_off_and_on_under_traffic(self):
        """Should be able to switch session affinity for service with type clusterIP, NodePort."""
        made = self.sticky("row", type="NodePort")
        with self.lab.socket("client-a", socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(3)
            client.connect((made[4], 80))
            client.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
            for wanted in ("None", "ClientIP"):
                self.change("row", sessionAffinity=wanted)
                for who, address, port in (
                        ("client-a", made[4], 80),
                        ("outside", NODE_ADDRESSES["node-a"][4], made["nodePort"])):
                    pods = BOTH if wanted == "None" else None
                    self.eventually(lambda p=pods, w=who, a=address, n=port: self.settled_on(
                        p, w, a, n), f"affinity {wanted} for {who}")
                self.assertTrue(client.recv(4096), "the connection was ended")

    def test_endpoint_that_goes_is_left_and_others_changes_are_not_felt(self):
        pods = {"near": "node-a", "far": "node-b", "third": "node-b"}
        for name, node in pods.items():
            self.guest(name, node, {"app": "sticky"})
        made = self.sticky("row", {"app": "sticky"}, pods=set(pods))
        for family in FAMILIES:
            self.one_pod("client-a", made[family])
        chosen, = self.pods_seen("client-a", made[4], count=2)
        other = next(name for name in pods if name != chosen)
        self.lab.set_pod_status(self.lab.pods[other], ready=False)
        self.wait_for("row", set(pods) - {other})
        self.assertEqual(self.pods_seen("client-a", made[4]), {chosen})
        self.lab.set_pod_status(self.lab.pods[chosen], ready=False)
        last = set(pods) - {other, chosen}
        self.wait_for("row", last)
        self.assertEqual(self.pods_seen("client-a", made[4]), last)
        self.lab.set_pod_status(self.lab.pods[chosen], ready=True)
        self.wait_for("row", last | {chosen})
        self.assertEqual(self.pods_seen("client-a", made[4]), last)

    # ---- helpers ----

    def sticky(self, name, selector=None, seconds=600, ports=(HTTP,), pods=None, **more):
        return self.web(name, selector, ports, pods, sessionAffinity="ClientIP",
                        sessionAffinityConfig={"clientIP": {"timeoutSeconds": seconds}}, **more)

    def one_pod(self, who, address, port=80):
        pods = self.pods_seen(who, address, port)
        self.assertEqual(len(pods), 1, f"{who} was served by {pods}")

    def settled_on(self, pods, *where):
        """All of `pods` answer, or when there are none, one alone."""
        seen = self.pods_seen(*where)
        return seen == pods if pods else len(seen) == 1
