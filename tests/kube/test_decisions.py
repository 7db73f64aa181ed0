"""What becomes of a packet to a Service: each row of kube-proxy's table, by real packets over real
objects, for both families. Behaviours that upstream's end-to-end tests name carry that name."""

import errno
import socket
import time

import checks
from lab import NODE_ADDRESSES, OUTSIDE
from services import BOTH, FAMILIES, OWN, ServiceCase, external

class Decisions(ServiceCase):
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
