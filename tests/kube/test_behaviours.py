"""Services over their lives, as upstream's end-to-end tests have it ([sig-network], test/e2e/
network): the docstrings are those tests' names."""

import errno
import itertools
import json

import checks
import netns
import sctp
from kube_lab import Traffic
from lab import Capture, HOST_HTTP_PORT, NODE_ADDRESSES, OUTSIDE, PUBLIC_RANGES
from services import BOTH, ECHO, ECHO_SCTP, FAMILIES, HTTP, OWN, TERMINATING, ServiceCase, \
    external


class Lives(ServiceCase):
    def test_ports_and_protocols(self):
        """Should serve endpoints on same port and different protocols; should serve multiport
        endpoints from pods."""
        made = self.web("row", ports=[{**HTTP, "port": 7}, ECHO, {
            "name": "other", "port": 81, "targetPort": 8081}])
        for family in FAMILIES:
            self.assertEqual(self.pods_seen("client-a", made[family], 7), BOTH)
            self.assertEqual(self.pods_seen("client-a", made[family], 81), BOTH)
            self.assertIn(self.echoed("client-a", made[family], 7), BOTH)

    def test_ports_come_and_go(self):
        """Should be updated after adding or deleting ports."""
        made = self.web("row")
        self.change("row", ports=[HTTP, ECHO])
        self.wait_for("row", BOTH, 2)
        for family in FAMILIES:
            self.assertIn(self.echoed("client-a", made[family], 7), BOTH)
        self.change("row", ports=[ECHO])
        self.wait_for("row", BOTH)
        for family in FAMILIES:
            self.assertEqual(self.ends(made[family], 80, family), errno.ECONNREFUSED)
            self.assertIn(self.echoed("client-a", made[family], 7), BOTH)

    def test_up_down_and_again_at_the_same_address(self):
        """Should be able to up and down services; should work after the service has been
        recreated; should function for multiple endpoint-Services with same selector."""
        made, other = self.web("row"), self.web("beside")
        for _ in range(2):
            for one in (made, other):
                self.assertEqual(self.pods_seen("client-a", one[4]), BOTH)
            self.admin.delete("Service", "row", self.namespace)
            self.in_force("row", backends=None)
            self.assertIsNotNone(self.ends(made[4], 80, 4))
            self.assertEqual(self.pods_seen("client-a", other[4]), BOTH)
            again = self.web("row", clusterIP=made[4], clusterIPs=[made[4], made[6]])
            self.assertEqual(again, made)

    def test_endpoints_of_several_slices(self):
        """Should support a Service with multiple endpoint IPs, and with multiple ports, specified
        in multiple EndpointSlices."""
        made = self.without_selector("row", [HTTP, {**HTTP, "name": "other", "port": 81}])
        both = [self.endpoint(pod) for pod in sorted(BOTH)]
        self.slice_of("row", both[:1], number="one")
        self.slice_of("row", both[1:], number="two")
        self.slice_of("row", both, [{"name": "other", "port": 8081}], number="three")
        for port in (80, 81):
            self.eventually(lambda p=port: not self.ends(made[4], p, 4), f"port {port}")
            self.eventually(lambda p=port: self.pods_seen("client-a", made[4], p) == BOTH, "both")

    def test_named_port_that_pods_number_differently(self):
        """Should support named targetPorts that resolve to different ports on different
        endpoints."""
        container = {"name": "main", "image": "none"}
        for name, node, port in (("low", "node-a", 8080), ("high", "node-b", 8081)):
            self.guest(name, node, {"app": "named"}, containers=[
                {**container, "ports": [{"name": "web-port", "containerPort": port}]}])
        made = self.web("row", {"app": "named"}, [{**HTTP, "targetPort": "web-port"}],
                        {"low", "high"})
        self.assertEqual({port for _, port in self.backends("row")}, {8080, 8081})
        for family in FAMILIES:
            self.assertEqual(self.pods_seen("client-a", made[family]), {"low", "high"})

    def test_port_of_a_sidecar(self):
        """Should connect to the named ports exposed by restartable init containers."""
        sidecar = {"name": "side", "image": "none", "restartPolicy": "Always",
                   "ports": [{"name": "side-port", "containerPort": 8081}]}
        self.guest("carrier", "node-b", {"app": "carrier"}, initContainers=[sidecar])
        made = self.web("row", {"app": "carrier"}, [{**HTTP, "targetPort": "side-port"}],
                        {"carrier"})
        for family in FAMILIES:
            self.assertEqual(self.pods_seen("client-a", made[family], count=2), {"carrier"})

    def test_endpoints_on_the_hosts_network(self):
        """Should function for service endpoints using hostNetwork. No tunnel leads to a node."""
        for node, addresses in NODE_ADDRESSES.items():
            self.host_pod(f"host-{node}", node, addresses)
        made = self.create("Service", "row", {
            "selector": {"app": "host"}, "ipFamilyPolicy": "RequireDualStack",
            "ports": [{**HTTP, "targetPort": HOST_HTTP_PORT}]})["spec"]
        self.eventually(lambda: self.addresses("row") == {
            a for of in NODE_ADDRESSES.values() for a in of.values()}, "the nodes' addresses")
        with Capture(self.lab, "node-a") as capture:
            for address in made["clusterIPs"]:
                for client in ("client-a", "node-a"):
                    self.assertEqual(self.pods_seen(client, address), set(NODE_ADDRESSES))
        inside = [f for f in capture.frames if (checks.ip_header(f) or (0,))[0] == 4 and
                  checks.ip_header(b"\0" * 12 + b"\x08\x00" + f[34:])[2] in
                  {of[4] for of in NODE_ADDRESSES.values()}]
        self.assertEqual(inside, [], "a node's address in a tunnel")

    def test_internal_policy_local_with_the_hosts_network(self):
        """Should respect internalTrafficPolicy=Local Pod (hostNetwork: true) to Pod, and Pod and
        Node, to Pod (hostNetwork: true)."""
        made = self.web("row", internalTrafficPolicy="Local")
        for node, pod in OWN.items():
            for family in FAMILIES:
                self.assertEqual(self.pods_seen(node, made[family]), {pod})
        self.host_pod("host", "node-a", NODE_ADDRESSES["node-a"])
        only = self.create("Service", "only", {
            "selector": {"app": "host"}, "internalTrafficPolicy": "Local",
            "ports": [{**HTTP, "targetPort": HOST_HTTP_PORT}]})["spec"]["clusterIP"]
        for node in self.lab.nodes.values():
            self.eventually(lambda n=node: [s for s in self.service_in_force("only", n)
                                            if s["anyEndpoint"]], "its endpoint")
        self.assertEqual(self.seen("client-a", only, count=4),
                         {("node-a", self.address("client-a"))})
        self.assertEqual(self.pods_seen("node-a", only, count=4), {"node-a"})
        self.assertEqual(self.ends(only, 80, 4, "client-b"), errno.ETIMEDOUT)

    def test_sctp(self):
        """Should allow creating a basic SCTP service with pod and endpoints; should function for
        pod-Service, node-Service: sctp."""
        made = self.web("row", ports=[ECHO_SCTP], type="NodePort")
        for family, client in itertools.product(FAMILIES, ("client-a", "node-b", "outside")):
            where = [(NODE_ADDRESSES["node-a"][family], made["nodePort"])]
            if client != "outside":
                where.append((made[family], 7))
            for address, port in where:
                names = {sctp.echo(lambda *a, c=client: self.lab.socket(c, *a), checks.AF[family],
                                   address, port, b"hello").split(b" ")[0].decode()
                         for _ in range(8)}
                self.assertLessEqual(names, BOTH, (client, address))

    def test_large_requests(self):
        """Should be able to handle large requests: http, udp. 2,000 bytes, as upstream's."""
        message = "42" * 1000
        made = self.web("row", ports=[HTTP, ECHO], type="NodePort")
        for family in FAMILIES:
            for client, address, port in (
                    ("client-a", made[family], 80),
                    ("outside", NODE_ADDRESSES["node-a"][family], made["nodePort"])):
                for _ in range(4):
                    answer = checks.curl(self.lab, client, address, port,
                                         path=f"/echo?msg={message}")
                    self.assertEqual(answer["msg"], message)
            names = {self.echoed("client-a", made[family], 7, message.encode())
                     for _ in range(checks.ATTEMPTS)}
            self.assertEqual(names, BOTH)

    def test_unready_pods_where_they_are_published(self):
        """Should create endpoints for unready pods; should be able to connect to terminating and
        unready endpoints if PublishNotReadyAddresses is true, and not if it is false."""
        self.guest("slow", "node-a", {"app": "slow"}, ready=False)
        self.guest("ending", "node-b", {"app": "slow"}, ready=False)
        self.guest_ends("ending")
        made = self.web("row", {"app": "slow"}, pods={"slow", "ending"},
                        publishNotReadyAddresses=True)
        self.assertEqual(self.pods_seen("client-a", made[4]), {"slow", "ending"})
        self.change("row", publishNotReadyAddresses=False)
        self.wait_for("row", set())
        self.assertEqual(self.ends(made[4], 80, 4), errno.ECONNREFUSED)

    def test_evicted_pod_is_no_endpoint(self):
        """Should be rejected for evicted pods (no endpoints exist)."""
        self.guest("evicted", "node-b", {"app": "evicted"})
        made = self.web("row", {"app": "evicted"}, pods={"evicted"}, type="NodePort")
        self.admin.set_status("Pod", "evicted", {
            "phase": "Failed", "reason": "Evicted",
            "conditions": [{"type": "Ready", "status": "False"}]})
        self.wait_for("row", set())
        for family in FAMILIES:
            node = NODE_ADDRESSES["node-a"][family]
            for who, address, port in (("client-a", made[family], 80),
                                       ("client-a", node, made["nodePort"]),
                                       ("node-a", made[family], 80)):
                self.assertEqual(self.ends(address, port, family, who), errno.ECONNREFUSED,
                                 (who, address))

    def test_terminating_pod_keeps_its_network(self):
        """Should be able to connect from a Pod to a terminating Pod, and from it to others."""
        guest = self.guest("leaving", "node-b", {"app": "leaving"})
        self.guest_ends("leaving")
        self.eventually(lambda: self.admin.get("Pod", "leaving")["metadata"].get(
            "deletionTimestamp"), "the end to be near")
        for family in FAMILIES:
            self.assertEqual(self.pods_seen("client-a", guest.addresses[family], 8080, 2),
                             {"leaving"})
            self.assertEqual(self.pods_seen("leaving", checks.SERVICES["web"][family]), BOTH)

    def test_blue_and_green(self):
        """Should be able to have zero downtime on a Blue Green deployment using Services and
        Readiness Gates."""
        made = self.web("row", {"pod": "web-a"})
        with Traffic(self.lab, "client-b", made[4]) as traffic:
            for pod in ("web-b", "web-a", "web-b"):
                self.change("row", selector={"pod": pod})
                self.wait_for("row", {pod})
                self.assertEqual(self.pods_seen("client-a", made[4], count=4), {pod})
                traffic.goes_on()

    def test_service_of_another_service_range(self):
        """Should create Services and serve on different Service CIDRs."""
        self.admin.create({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
                           "metadata": {"name": "second"}, "spec": {"cidrs": ["10.98.0.0/24"]}})
        self.addCleanup(self.admin.delete, "ServiceCIDR", "second")
        self.eventually(lambda: self.admin.get("ServiceCIDR", "second").get("status"), "a range")
        made = self.create("Service", "row", {"selector": {"app": "web"}, "ports": [HTTP],
                                              "clusterIP": "10.98.0.77"})["spec"]["clusterIP"]
        self.in_force("row")
        for client in ("client-a", "node-a"):
            self.assertEqual(self.pods_seen(client, made), BOTH)

    def test_urls_of_the_proxy(self):
        """Should check kube-proxy urls."""
        for node in self.lab.nodes.values():
            healthz = checks.curl(self.lab, node.name, "127.0.0.1", 10256, path="/healthz")
            self.assertIn("lastUpdated", healthz)
            self.assertEqual(self.lab.run(node.name, "curl", "-sf",
                                          "http://127.0.0.1:10249/proxyMode").returncode, 0)
            configz = self.lab.run(node.name, "curl", "-sf", "http://127.0.0.1:10249/configz")
            self.assertEqual(json.loads(configz.stdout)["podwire"]["node-name"], node.name)

    # ---- traffic policies over a Service's life ----

    def test_external_policy_changes(self):
        """Should implement NodePort and HealthCheckNodePort correctly when ExternalTrafficPolicy
        changes."""
        made = self.local("row", {"pod": "web-b"})
        port = self.admin.get("Service", "row")["spec"]["healthCheckNodePort"]
        node_a, node_b = (NODE_ADDRESSES[n][4] for n in ("node-a", "node-b"))
        self.eventually(lambda: self.health_codes(port) == [503, 200], "health by node")
        self.assertEqual(self.ends(node_a, made["nodePort"], 4, "outside"), errno.ETIMEDOUT)
        self.assertEqual(self.pods_seen("outside", node_b, made["nodePort"], 2), {"web-b"})
        self.change("row", externalTrafficPolicy="Cluster")
        self.eventually(lambda: self.health_codes(port) == [0, 0], "nobody at the health port")
        for node in (node_a, node_b):
            self.eventually(lambda n=node: not self.ends(n, made["nodePort"], 4, "outside"), node)
        self.change("row", externalTrafficPolicy="Local")
        port = self.admin.get("Service", "row")["spec"]["healthCheckNodePort"]
        self.eventually(lambda: self.health_codes(port) == [503, 200], "health by node")

    def test_local_terminating_endpoints(self):
        """Should fallback to local terminating endpoints when there are no ready endpoints with
        internalTrafficPolicy=Local, with externalTrafficPolicy=Local, and to terminating ones with
        externalTrafficPolicy=Cluster; should fail health check node port if there are only
        terminating endpoints."""
        made = self.without_selector("row", type="LoadBalancer", externalTrafficPolicy="Local",
                                     internalTrafficPolicy="Local")
        port = self.admin.get("Service", "row")["spec"]["healthCheckNodePort"]
        node = NODE_ADDRESSES["node-a"][4]
        self.slice_of("row", [self.endpoint("web-a"), self.endpoint("web-b")])
        self.eventually(lambda: self.health_codes(port) == [200, 200], "health")
        self.slice_of("row", [self.endpoint("web-a", TERMINATING), self.endpoint("web-b")])
        self.eventually(lambda: self.health_codes(port) == [503, 200], "health without node-a's")
        self.assertEqual(self.pods_seen("client-a", made[4], count=8), {"web-a"})
        self.assertEqual(self.pods_seen("outside", node, made["nodePort"], 8), {"web-a"})
        self.assertEqual(self.pods_seen("client-a", node, made["nodePort"], 8), {"web-b"})
        self.change("row", externalTrafficPolicy="Cluster")
        self.slice_of("row", [self.endpoint("web-b", TERMINATING)])
        self.eventually(lambda: self.addresses("row") == {self.address("web-b")}, "web-b alone")
        self.assertEqual(self.pods_seen("outside", node, made["nodePort"], 8), {"web-b"})

    def test_node_to_local_policy_is_short_circuited(self):
        """All endpoints, and the node's address: also to what no node owns."""
        made = self.local("row", externalIPs=list(external(53).values()))
        self.give_ingress("row", external(54))
        self.route_of_the_node()
        for family in FAMILIES:
            wanted = {(pod, NODE_ADDRESSES["node-a"][family]) for pod in BOTH}
            for address, port in ((NODE_ADDRESSES["node-a"][family], made["nodePort"]),
                                  (external(53)[family], 80), (external(54)[family], 80)):
                self.assertEqual(self.seen("node-a", address, port), wanted, address)

    def test_source_ranges_and_the_node_itself(self):
        """Should only allow access from service loadbalancer source ranges: the node too is let in
        by its own address alone."""
        self.web("row", type="LoadBalancer",
                 loadBalancerSourceRanges=["198.51.100.0/24", "2001:db8::/64"])
        self.give_ingress("row", external(55))
        self.route_of_the_node()
        for family in FAMILIES:
            self.dropped("service_source_range", "node-a", external(55)[family], 80, family)
        ranges = [f"{NODE_ADDRESSES['node-a'][4]}/32", f"{NODE_ADDRESSES['node-a'][6]}/128"]
        self.change("row", loadBalancerSourceRanges=ranges)
        for family in FAMILIES:
            address = external(55)[family]
            self.eventually(lambda a=address, f=family: not self.ends(a, 80, f, "node-a"), "in")
            self.assertEqual(self.pods_seen("node-a", address), BOTH)
            self.dropped("service_source_range", "outside", address, 80, family)
            self.dropped("service_source_range", "client-a", address, 80, family)

    # ---- helpers ----

    def route_of_the_node(self):
        """As a default route would, to addresses that are none of the node's network."""
        for family, prefix in zip(FAMILIES, PUBLIC_RANGES):
            route = ["-n", self.node.namespace, "route"], [prefix, "via", OUTSIDE[family]]
            netns.ip(*route[0], "add", *route[1])
            self.addCleanup(netns.ip, *route[0], "del", *route[1])

    def host_pod(self, name, node, addresses):
        self.create("Pod", name, {
            "nodeName": node, "hostNetwork": True, "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "none"}]}, labels={"app": "host"})
        self.pod_status(name, list(addresses.values()))

    def health_codes(self, port):
        """Of node-a's and node-b's health check of a Service; 0: nobody answers."""
        ask = ["curl", "-s", "-m", "2", "-o", "/dev/null", "-w", "%{http_code}"]
        return [int(self.lab.run("outside", *ask, checks.url(of[4], port)).stdout)
                for of in NODE_ADDRESSES.values()]
