"""podwired with a real API server as its source: traffic, and changes that come into force."""

import contextlib
import json
import socket
import time

import checks
from case import LabCase, allowed
from cluster import ADDRESS

HTTP = 8080


class Podwired(LabCase):
    def test_every_check_of_the_quickstart_holds(self):
        """Both families, over EndpointSlices that the controllers made."""
        names = [name for name, _ in checks.BOTH]
        for result in checks.run(self.lab, names, lambda _: None):
            with self.subTest(check=result["name"]):
                self.assertTrue(result["ok"], result["detail"])

    def test_asks_for_what_its_role_names_and_nothing_else(self):
        """By the API server's audit log: every rule of conf/kubernetes/rbac.yaml is used, and no
        request was refused. node-b's requests reach the server without a proxy."""
        asked, refused = set(), []
        for request in self.cluster.audited():
            if request["sourceIPs"] != [self.lab.nodes["node-b"].addresses[4]]:
                continue
            if request["requestURI"] == "/version":  # whether the server still lives
                self.assertEqual(request["responseStatus"]["code"], 200)
                continue
            thing = request["objectRef"]
            asked.add((request["verb"], thing["resource"]))
            if request["responseStatus"]["code"] in (401, 403):
                refused.append(request["requestURI"])
        self.assertEqual(refused, [])
        self.assertEqual(asked, {(verb, resource) for resource in allowed()
                                 for verb in ("list", "watch")} -
                         # The lab's cluster has none of these kinds.
                         {("watch", resource) for resource in (
                             "blockaffinities", "ipamblocks", "ipamconfigs", "ipreservations")})

    def test_service_has_the_addresses_that_the_api_server_gave_it(self):
        made = self.web_service("given", type="NodePort", ipFamilyPolicy="RequireDualStack")
        port = made["spec"]["ports"][0]["nodePort"]
        self.in_force("given")
        for family, address in zip((4, 6), made["spec"]["clusterIPs"]):
            self.assertEqual(self.answers("client-a", address, 80, family), {"web-a", "web-b"})
        for node in self.lab.nodes.values():
            self.assertEqual(self.answers("outside", node.addresses[4], port), {"web-a", "web-b"})
        self.admin.delete("Service", "given", self.namespace)
        self.in_force("given", backends=None)

    def test_pod_that_is_not_ready_is_no_backend(self):
        made = self.web_service("some")
        self.in_force("some")
        self.pod_ready("web-b", False)
        self.addCleanup(self.pod_ready, "web-b", True)
        self.in_force("some", {"web-a"})
        self.assertEqual(self.answers("client-a", made["spec"]["clusterIP"], 80), {"web-a"})
        self.pod_ready("web-b", True)
        self.in_force("some")

    def test_service_of_another_proxy_vanishes(self):
        """Should work: `service.kubernetes.io/service-proxy-name`, added and taken away."""
        made = self.web_service("other")
        self.in_force("other")
        self.label("Service", "other", {"service.kubernetes.io/service-proxy-name": "foo"})
        self.in_force("other", backends=None)
        error, _ = checks.connect_error(self.lab, "client-a", 4, made["spec"]["clusterIP"], 80, 0.5)
        self.assertIsNotNone(error)
        self.label("Service", "other", {"service.kubernetes.io/service-proxy-name": None})
        self.in_force("other")
        self.assertTrue(self.answers("client-a", made["spec"]["clusterIP"], 80, count=1))

    def test_slice_with_the_headless_label_vanishes(self):
        self.create("Service", "headless", {"ports": [{"name": "http", "port": 80}]})
        self.slice("headless", "one", {"web-a": HTTP, "web-b": HTTP})
        self.in_force("headless")
        self.label("EndpointSlice", "one", {"service.kubernetes.io/headless": ""})
        self.in_force("headless", set())
        self.label("EndpointSlice", "one", {"service.kubernetes.io/headless": None})
        self.in_force("headless")

    def test_slices_with_different_numbers_for_one_port_name(self):
        """Named targetPorts that resolve to different ports on different endpoints."""
        made = self.create("Service", "differs", {"ports": [{"name": "http", "port": 80}]})
        self.slice("differs", "one", {"web-a": HTTP})
        self.slice("differs", "two", {"web-b": 8081})
        self.eventually(lambda: self.backends("differs") == {
            (self.address("web-a"), HTTP), (self.address("web-b"), 8081)}, "a port for each slice")
        self.assertEqual(self.answers("client-a", made["spec"]["clusterIP"], 80),
                         {"web-a", "web-b"})

    def test_load_balancer_address_is_ours_unless_its_mode_is_proxy(self):
        made = self.web_service("balanced", type="LoadBalancer")
        address = "203.0.113.77"
        self.in_force("balanced")
        self.ingress("balanced", {"ip": address})
        self.eventually(lambda: ("loadBalancer", address) in self.frontends("balanced"), "its VIP")
        self.assertEqual(self.answers("client-a", address, 80), {"web-a", "web-b"})
        self.ingress("balanced", {"ip": address, "ipMode": "Proxy"})
        self.eventually(lambda: ("loadBalancer", address) not in self.frontends("balanced"),
                        "the VIP is not captured")
        self.assertIn(("clusterIP", made["spec"]["clusterIP"]), self.frontends("balanced"))

    def test_unused_address_of_a_new_service_range_is_dropped(self):
        self.admin.create({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
                           "metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/24"]}})
        self.addCleanup(self.admin.delete, "ServiceCIDR", "more")

        def dropped():
            before = self.node.drops("service_unallocated")
            checks.connect_error(self.lab, "client-a", 4, "10.97.0.9", 80, 0.2)
            return self.node.drops("service_unallocated") > before
        self.eventually(dropped, "a drop in the new range")

    def test_policy_cuts_and_lets_again(self):
        address = self.address("web-a")
        with self.lab.socket("client-b", socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(3)
            client.connect((address, HTTP))
            client.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
            self.assertTrue(client.recv(1000))
            self.admin.create({
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"name": "cut", "namespace": "default"},
                "spec": {"podSelector": {"matchLabels": {"pod": "web-a"}},
                         "policyTypes": ["Ingress"]}})
            try:
                self.assertTrue(self.falls_silent(client), "the stream goes on")
            finally:
                self.admin.delete("NetworkPolicy", "cut")
        self.eventually(lambda: self.answers("client-b", address, HTTP, count=1), "an answer")

    def test_cluster_network_policy_denies_before_any_other(self):
        def reaches(pod):
            with contextlib.suppress(checks.CheckFailed):
                return checks.get(self.lab, "client-b", 4, self.address(pod), HTTP,
                                  timeout_s=0.5)["pod"] == pod
            return False
        self.assertTrue(reaches("web-a"))
        self.create("ClusterNetworkPolicy", "shut", {
            "tier": "Admin", "priority": 10,
            "subject": {"pods": {"namespaceSelector": {},
                                 "podSelector": {"matchLabels": {"pod": "web-a"}}}},
            "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]},
            "policy.networking.k8s.io/v1alpha2")
        self.eventually(lambda: not reaches("web-a"), "refused")
        self.assertTrue(reaches("web-b"))
        self.assertIn("shut", json.dumps(self.node.ctl("policies")))
        self.admin.delete("ClusterNetworkPolicy", "shut")
        self.eventually(lambda: reaches("web-a"), "let in again")

    def test_udp_flow_follows_its_endpoint(self):
        """Under one socket that never pauses; kube-proxy's clean-up of stale UDP flows."""
        with self.lab.socket("client-a", socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect((checks.SERVICES["moving"][4], 7))
            client.settimeout(0.02)
            for name in ("web-b", "web-a"):
                pod = self.lab.pods[name]
                self.admin.patch("EndpointSlice", "moving-1", {"endpoints": [{
                    "addresses": [pod.addresses[4]], "nodeName": pod.node,
                    "conditions": {"ready": True}}]})
                self.eventually(lambda n=name: checks.who_echoes(client) == n, f"{name} answers", 3)

    def test_refused_object_is_named_and_holds_nothing_up(self):
        """One that the API server has no reason to refuse."""
        self.create("IPPool", "odd", {"cidr": "10.300.0.0/16"}, "crd.projectcalico.org/v1")
        self.eventually(lambda: any("odd" in p for p in self.node.problems()), "a problem")
        self.web_service("beside")
        self.in_force("beside")
        self.admin.delete("IPPool", "odd")
        self.eventually(lambda: not self.node.problems(), "no problem")

    def test_status_says_where_objects_come_from(self):
        status = self.node.ctl("status")
        self.assertIn(ADDRESS, status["source"])
        self.assertTrue(status["sourceHealthy"] and status["synced"], status["problems"])
        # The lab's cluster keeps no blocks.
        self.assertEqual({kind["kind"] for kind in status["kinds"] if kind["phase"] == "absent"},
                         {"BlockAffinity", "IPAMBlock", "IPAMConfig", "IPReservation"})
        self.assertEqual({kind["phase"] for kind in status["kinds"]}, {"watching", "absent"})

    # ---- helpers ----

    def web_service(self, name, **more):
        return self.create("Service", name, {
            "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}], **more})

    def slice(self, service, name, ports):
        """A slice that no controller made: {pod: port}, all of one port's number."""
        number, = set(ports.values())
        self.create("EndpointSlice", name, api="discovery.k8s.io/v1",
                    labels={"kubernetes.io/service-name": service}, addressType="IPv4",
                    ports=[{"name": "http", "port": number}],
                    endpoints=[{"addresses": [self.address(pod)], "conditions": {"ready": True},
                                "nodeName": self.lab.pods[pod].node} for pod in ports])

    def label(self, kind, name, labels):
        self.admin.patch(kind, name, {"metadata": {"labels": labels}}, self.namespace)

    def ingress(self, service, one):
        self.admin.set_status("Service", service, {"loadBalancer": {"ingress": [one]}},
                              self.namespace)

    def pod_ready(self, name, ready):
        self.lab.set_pod_status(self.lab.pods[name], ready)

    @staticmethod
    def falls_silent(client):
        client.settimeout(0.3)
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            try:
                client.recv(65536)
            except TimeoutError:
                return True
        return False
