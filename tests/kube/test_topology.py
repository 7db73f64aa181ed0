"""Zones and nodes that endpoints are hinted for: the controllers write the hints, podwire follows
them (upstream's traffic_distribution.go and topology_hints.go)."""

from services import BOTH, OWN, ServiceCase

ZONE = "topology.kubernetes.io/zone"


class Topology(ServiceCase):
    def setUp(self):
        super().setUp()
        for node in OWN:
            self.label(node, f"zone-{node}")
            self.addCleanup(self.label, node, None)

    def test_traffic_stays_in_its_zone(self):
        """Should route traffic to an endpoint in the same zone when using PreferClose, and
        PreferSameZone; to another zone where the own one has none."""
        for distribution in ("PreferClose", "PreferSameZone"):
            self.stays_home(self.web_near("row", distribution))
            self.remove("Service", "row")
            self.in_force("row", backends=None)

    def test_traffic_stays_on_its_node(self):
        """Should route traffic to an endpoint on the same node or fall back to same zone when using
        PreferSameNode. Two pods of one zone on each node."""
        for node in OWN:
            self.label(node, "one-zone")
        self.guest("neighbour", "node-b", {"app": "web"})
        self.stays_home(self.web_near("row", "PreferSameNode"),
                        {"node-a": {"web-a"}, "node-b": {"web-b", "neighbour"}})

    def test_zone_of_a_node_changes(self):
        made = self.web_near("row", "PreferSameZone")
        self.eventually(lambda: self.near(made) == [{"web-a"}, {"web-b"}], "each its own")
        self.label("node-a", "zone-node-b")
        self.eventually(lambda: self.pods_seen("client-a", made) == {"web-b"}, "the new zone's")
        self.label("node-a", None)
        self.eventually(lambda: self.pods_seen("client-a", made) == BOTH, "no zone, no hint")

    def test_one_endpoint_without_a_hint_ends_hints_for_all(self):
        made = self.without_selector("row")[4]
        hints = {pod: {"forZones": [{"name": f"zone-{node}"}]} for node, pod in OWN.items()}
        self.slice_of("row", [self.endpoint(pod, hints=hints[pod]) for pod in sorted(BOTH)])
        self.eventually(lambda: self.near(made) == [{"web-a"}, {"web-b"}], "each its own")
        self.slice_of("row", [self.endpoint("web-a", hints=hints["web-a"]), self.endpoint("web-b")])
        self.eventually(lambda: self.near(made) == [BOTH, BOTH], "all for all")

    # ---- helpers ----

    def stays_home(self, address, wanted=None):
        """Each node's client finds its own; when node-b's are gone, its client finds node-a's."""
        wanted = wanted or {node: {pod} for node, pod in OWN.items()}
        self.eventually(lambda: self.near(address) == [wanted["node-a"], wanted["node-b"]], "home")
        for pod in wanted["node-b"]:
            self.lab.set_pod_status(self.lab.pods[pod], ready=False)
            self.addCleanup(lambda p=pod: p in self.lab.pods and
                            self.lab.set_pod_status(self.lab.pods[p]))
        self.eventually(lambda: self.near(address) == [{"web-a"}] * 2, "node-a's for both")
        for pod in wanted["node-b"]:
            self.lab.set_pod_status(self.lab.pods[pod])

    def web_near(self, name, distribution):
        made = self.create("Service", name, {
            "selector": {"app": "web"}, "trafficDistribution": distribution,
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}]})
        return made["spec"]["clusterIP"]

    def near(self, address):
        """Who answers to each node's client; nobody, while nobody does."""
        if any(self.ends(address, 80, 4, who) for who in ("client-a", "client-b")):
            return []
        return [self.pods_seen(who, address) for who in ("client-a", "client-b")]

    def label(self, node, zone):
        self.admin.patch("Node", node, {"metadata": {"labels": {ZONE: zone}}})
