"""What becomes of a packet to a Service: each row of kube-proxy's table, by real packets over real
objects, for both families. Behaviours that upstream's end-to-end tests name carry that name."""

import contextlib
import errno
import socket
import time

import checks
import netns
from case import LabCase
from lab import NODE_ADDRESSES, OUTSIDE, SERVICE_RANGES

FAMILIES = (4, 6)
OWN = {"node-a": "web-a", "node-b": "web-b"}  # a node's own backend
BOTH = {"web-a", "web-b"}


def external(number):
    """An address of the ranges that the outside host sends through node-a."""
    return {4: f"203.0.113.{number}", 6: f"fd00:203:113::{number}"}


class Decisions(LabCase):
    def setUp(self):
        super().setUp()
        for node in self.lab.nodes.values():
            self.eventually(lambda n=node: n.ctl("status")["sourceHealthy"], "a healthy source", 30)

    # ---- ClusterIP ----

    def test_pod_to_cluster_ip_keeps_its_address(self):
        """Should preserve source pod IP for traffic thru service cluster IP."""
        made = self.web("row")
        for family in FAMILIES:
            self.assertEqual(self.seen("client-a", made[family]),
                             {(pod, self.address("client-a", family)) for pod in BOTH})

    def test_pod_that_reaches_itself_comes_from_its_node(self):
        """Should allow pods to hairpin back to themselves through services."""
        made = self.web("row", {"pod": "web-a"})
        for family in FAMILIES:
            self.assertEqual(self.seen("web-a", made[family]),
                             {("web-a", NODE_ADDRESSES["node-a"][family])})

    def test_node_to_cluster_ip_is_masqueraded(self):
        made = self.web("row")
        for family in FAMILIES:
            self.assertEqual(self.seen("node-a", made[family]),
                             {(pod, NODE_ADDRESSES["node-a"][family]) for pod in BOTH})

    def test_outside_to_cluster_ip_is_masqueraded(self):
        made = self.web("row")
        for family in FAMILIES:
            with self.outside_route(family):
                self.assertEqual(self.seen("outside", made[family]),
                                 {(pod, NODE_ADDRESSES["node-a"][family]) for pod in BOTH})

    def test_internal_policy_local_binds_the_cluster_ip_alone(self):
        """Should respect internalTrafficPolicy=Local Pod to Pod."""
        made = self.web("row", type="NodePort", internalTrafficPolicy="Local")
        for family in FAMILIES:
            for client, pod in (("client-a", "web-a"), ("client-b", "web-b")):
                self.assertEqual(self.pods_seen(client, made[family]), {pod})
            self.assertEqual(self.pods_seen("outside", NODE_ADDRESSES["node-a"][family],
                                            made["nodePort"]), BOTH)

    def test_other_port_of_a_live_cluster_ip_is_refused(self):
        made = self.web("row")
        for family in FAMILIES:
            self.assertEqual(self.ends(made[family], 81, family), errno.ECONNREFUSED)
            with self.lab.socket("client-a", checks.AF[family], socket.SOCK_DGRAM) as client:
                client.settimeout(2)
                client.connect((made[family], 80))
                client.send(b"UDP to a port of TCP")
                self.assertRaises(ConnectionRefusedError, client.recv, 100)

    # ---- node ports, external and load-balancer addresses ----

    def test_cluster_policy_masquerades_whoever_comes(self):
        made = self.web("row", type="LoadBalancer", externalIPs=list(external(31).values()))
        self.give_ingress("row", external(32))
        for family in FAMILIES:
            node = NODE_ADDRESSES["node-a"][family]
            for who in ("outside", "client-a"):
                for address, port in ((node, made["nodePort"]), (external(31)[family], 80),
                                      (external(32)[family], 80)):
                    self.assertEqual(self.seen(who, address, port),
                                     {(pod, node) for pod in BOTH}, (who, address))

    def test_local_policy_keeps_the_client_and_stays_on_the_node(self):
        made = self.local("row", externalIPs=list(external(33).values()))
        self.give_ingress("row", external(34))
        for family in FAMILIES:
            for node, pod in OWN.items():
                self.assertEqual(
                    self.seen("outside", NODE_ADDRESSES[node][family], made["nodePort"]),
                    {(pod, OUTSIDE[family])})
            for number in (33, 34):
                self.assertEqual(self.seen("outside", external(number)[family]),
                                 {("web-a", OUTSIDE[family])})

    def test_pod_to_local_policy_is_short_circuited(self):
        """All endpoints, and no masquerading."""
        made = self.local("row", externalIPs=list(external(35).values()))
        self.give_ingress("row", external(36))
        for family in FAMILIES:
            wanted = {(pod, self.address("client-a", family)) for pod in BOTH}
            for address, port in ((NODE_ADDRESSES["node-a"][family], made["nodePort"]),
                                  (external(35)[family], 80), (external(36)[family], 80)):
                self.assertEqual(self.seen("client-a", address, port), wanted, address)

    def test_source_ranges_bind_the_load_balancer_address_alone(self):
        made = self.web("row", type="LoadBalancer",
                        loadBalancerSourceRanges=["198.51.100.0/24", "2001:db8::/64"])
        self.give_ingress("row", external(37))
        for family in FAMILIES:
            self.dropped("service_source_range", "outside", external(37)[family], 80, family)
            self.assertEqual(self.pods_seen("outside", NODE_ADDRESSES["node-a"][family],
                                            made["nodePort"]), BOTH)
        self.admin.patch("Service", "row", {"spec": {"loadBalancerSourceRanges": [
            f"{OUTSIDE[4]}/32", f"{OUTSIDE[6]}/128"]}})
        for family in FAMILIES:
            self.eventually(lambda f=family: self.ends(external(37)[f], 80, f, "outside") is None,
                            "an answer once the range is given")

    # ---- without endpoints ----

    def test_no_endpoint_anywhere_is_refused_at_every_address(self):
        made = self.web("row", {"app": "none"}, type="LoadBalancer",
                        externalIPs=list(external(38).values()))
        self.give_ingress("row", external(39))
        for family in FAMILIES:
            for address, port in ((made[family], 80), (external(38)[family], 80),
                                  (external(39)[family], 80),
                                  (NODE_ADDRESSES["node-a"][family], made["nodePort"])):
                self.assertEqual(self.ends(address, port, family), errno.ECONNREFUSED, address)

    def test_internal_policy_local_without_a_local_endpoint_is_silent(self):
        made = self.web("row", {"pod": "web-b"}, internalTrafficPolicy="Local")
        for family in FAMILIES:
            self.dropped("service_no_local_endpoints", "client-a", made[family], 80, family)
            self.assertEqual(self.pods_seen("client-b", made[family]), {"web-b"})

    def test_external_policy_local_without_a_local_endpoint_is_silent(self):
        """To whom comes from outside; a pod is short-circuited to the other node's."""
        made = self.local("row", {"pod": "web-b"})
        for family in FAMILIES:
            node = NODE_ADDRESSES["node-a"][family]
            self.dropped("service_no_local_endpoints", "outside", node, made["nodePort"], family)
            self.assertEqual(self.seen("client-a", node, made["nodePort"]),
                             {("web-b", self.address("client-a", family))})

    def test_connection_outlives_its_endpoint(self):
        """Refusing and dropping are for new connections."""
        made = self.web("row", {"pod": "web-b"})
        with self.lab.socket("client-a", socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(3)
            client.connect((made[4], 80))
            client.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
            self.admin.patch("Service", "row", {"spec": {"selector": {"pod": "nobody"}}})
            self.in_force("row", set())
            self.assertEqual(self.ends(made[4], 80, 4), errno.ECONNREFUSED)
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                self.assertTrue(client.recv(4096), "the connection was ended")

    # ---- endpoints ----

    def test_terminating_endpoints_are_used_when_no_other_is_left(self):
        """Should fallback to terminating endpoints when there are no ready endpoints."""
        made = self.without_selector("row")
        last = {"ready": False, "serving": True, "terminating": True}
        self.slice_of("row", [self.endpoint("web-a", conditions=last),
                              self.endpoint("web-b", conditions={"ready": True})])
        self.in_force("row", {"web-b"})
        self.assertEqual(self.pods_seen("client-a", made[4]), {"web-b"})
        self.slice_of("row", [self.endpoint("web-a", conditions=last),
                              self.endpoint("web-b", conditions={**last, "serving": False})])
        self.in_force("row", {"web-a"})
        self.assertEqual(self.pods_seen("client-a", made[4]), {"web-a"})

    def test_hints_for_the_node_unless_one_endpoint_has_none(self):
        made = self.without_selector("row")
        own = {pod: {"forNodes": [{"name": node}]} for node, pod in OWN.items()}
        self.slice_of("row", [self.endpoint(pod, hints=own[pod]) for pod in sorted(BOTH)])
        self.eventually(lambda: self.addresses("row") == {self.address("web-a")}, "node-a's own")
        for client, pod in (("client-a", "web-a"), ("client-b", "web-b")):
            self.eventually(lambda c=client, p=pod: self.pods_seen(c, made[4]) == {p}, pod)
        self.slice_of("row", [self.endpoint("web-a", hints=own["web-a"]), self.endpoint("web-b")])
        self.in_force("row")
        self.assertEqual(self.pods_seen("client-a", made[4]), BOTH)

    # ---- changes of a Service ----

    def test_node_port_of_two_protocols(self):
        """Should be able to update service type to NodePort listening on same port number but
        different protocols."""
        self.web("row")
        ports = [{"name": "http", "port": 80, "targetPort": 8080, "nodePort": 31234},
                 {"name": "echo", "port": 80, "targetPort": 9000, "protocol": "UDP",
                  "nodePort": 31234}]
        self.admin.patch("Service", "row", {"spec": {"type": "NodePort", "ports": ports}})
        for family in FAMILIES:
            node = NODE_ADDRESSES["node-a"][family]
            self.eventually(lambda f=family, n=node: self.ends(n, 31234, f, "outside") is None,
                            "TCP")
            self.assertEqual(self.pods_seen("outside", node, 31234), BOTH)
            answer, peer = checks.udp_echo(self.lab, "outside", family, node, 31234, b"x" * 40)
            self.assertEqual((answer.split(b" ")[0].decode() in BOTH, peer[:2]),
                             (True, (node, 31234)))

    def test_external_name_and_back(self):
        """Should be able to change the type from ClusterIP to ExternalName, and back."""
        made = self.web("row")
        self.admin.patch("Service", "row", {"spec": {
            "type": "ExternalName", "externalName": "example.com", "clusterIP": None,
            "clusterIPs": None, "ipFamilies": None, "ipFamilyPolicy": None}})
        self.in_force("row", backends=None)
        self.admin.patch("Service", "row", {"spec": {
            "type": "ClusterIP", "externalName": None, "clusterIP": made[4],
            "clusterIPs": [made[4]]}})
        self.in_force("row")
        self.assertEqual(self.pods_seen("client-a", made[4]), BOTH)

    def test_source_ranges_with_a_zero_mask_bind_nobody(self):
        self.web("row", type="LoadBalancer", loadBalancerSourceRanges=["0.0.0.0/0", "::/0"])
        self.give_ingress("row", external(40))
        for family in FAMILIES:
            self.assertEqual(self.pods_seen("outside", external(40)[family]), BOTH)

    # ---- helpers ----

    def web(self, name, selector=None, **more):
        """A dual-stack Service in force: {family: its ClusterIP, "nodePort": ...}."""
        selector = selector or {"app": "web"}
        made = self.create("Service", name, {
            "selector": selector, "ipFamilyPolicy": "RequireDualStack",
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}], **more})["spec"]
        pods = {"web": BOTH, "none": set()}[selector["app"]] if "app" in selector else \
            {selector["pod"]}
        self.wait_for(name, pods)
        return {4: made["clusterIPs"][0], 6: made["clusterIPs"][1],
                "nodePort": made["ports"][0].get("nodePort")}

    def wait_for(self, name, pods):
        """Both families' endpoints on both nodes: the controllers' slices come one by one."""
        for node in self.lab.nodes.values():
            def seen(n=node):
                there = self.service_in_force(name, n)
                ours = {b["address"] for s in there for b in s["backends"] + s["localBackends"]}
                inside = all(s["internalTrafficPolicy"] == "Local" and
                             all(f["kind"] == "clusterIP" for f in s["frontends"]) for s in there)
                usable = {pod for pod in pods
                          if not inside or self.lab.pods[pod].node == n.name}
                return (len(there) == 2 and all(s["anyEndpoint"] == bool(pods) for s in there) and
                        ours == {self.address(p, f) for p in usable for f in FAMILIES})
            self.eventually(seen, f"{name} on {node.name}")

    def local(self, name, selector=None, **more):
        return self.web(name, selector, type="LoadBalancer", externalTrafficPolicy="Local", **more)

    def without_selector(self, name):
        made = self.create("Service", name, {"ports": [{"name": "http", "port": 80}]})
        return {4: made["spec"]["clusterIP"]}

    def endpoint(self, pod, conditions=None, **more):
        return {"addresses": [self.address(pod)], "nodeName": self.lab.pods[pod].node,
                "conditions": conditions or {"ready": True}, **more}

    def slice_of(self, service, endpoints):
        """Its one slice has these endpoints from now on."""
        if self.admin.exists("EndpointSlice", f"{service}-one", self.namespace):
            self.admin.patch("EndpointSlice", f"{service}-one", {"endpoints": endpoints})
        else:
            self.create("EndpointSlice", f"{service}-one", api="discovery.k8s.io/v1",
                        labels={"kubernetes.io/service-name": service}, addressType="IPv4",
                        ports=[{"name": "http", "port": 8080}], endpoints=endpoints)

    def addresses(self, service):
        return {address for address, _ in self.backends(service)}

    def give_ingress(self, name, addresses):
        self.admin.set_status("Service", name, {
            "loadBalancer": {"ingress": [{"ip": a} for a in addresses.values()]}})
        wanted = {("loadBalancer", a) for a in addresses.values()}
        self.eventually(lambda: wanted <= self.frontends(name), "the load balancer's address")

    def seen(self, who, address, port=80):
        """(who answers, whom it sees as its client) of many connections."""
        family = 6 if ":" in address else 4
        answers = [checks.get(self.lab, who, family, address, port)
                   for _ in range(checks.ATTEMPTS)]
        return {(answer["pod"], answer["client"]) for answer in answers}

    def pods_seen(self, who, address, port=80):
        return {pod for pod, _ in self.seen(who, address, port)}

    def ends(self, address, port, family, who="client-a"):
        """How a connection attempt ends: None when it is made, or errno."""
        return checks.connect_error(self.lab, who, family, address, port, 2)[0]

    def dropped(self, reason, who, address, port, family):
        """The attempt gets no answer, and node-a counts a drop for this reason."""
        before = self.node.drops(reason)
        error, _ = checks.connect_error(self.lab, who, family, address, port, 0.4)
        self.assertEqual(error, errno.ETIMEDOUT)
        self.assertGreater(self.node.drops(reason), before)

    @contextlib.contextmanager
    def outside_route(self, family):
        """The outside host sends what is for ClusterIPs through node-a."""
        route = [SERVICE_RANGES[0 if family == 4 else 1], "via", NODE_ADDRESSES["node-a"][family]]
        netns.ip("-n", self.lab.outside, "route", "add", *route)
        try:
            yield
        finally:
            netns.ip("-n", self.lab.outside, "route", "del", *route)
