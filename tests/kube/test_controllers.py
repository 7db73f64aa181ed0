"""The controllers and allocators that podwire's tests rely on do their work here."""

import ipaddress

from case import Case
from cluster import SERVICE_RANGES


def web_service(**more):
    return {"selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}], **more}


class Controllers(Case):
    def test_slices_follow_pods(self):
        """Ready and not; a named port that resolves to another number on another pod."""
        for name, address, node, port, ready in (("a", "10.244.1.10", "node-a", 8080, True),
                                                 ("b", "10.244.2.10", "node-b", 9090, False)):
            self.pod(name, [address], node, {"app": "web"},
                     [{"name": "http", "containerPort": port}], ready)
        self.service("web", web_service())
        wanted = {"10.244.1.10": (True, "node-a", {"http": 8080}),
                  "10.244.2.10": (False, "node-b", {"http": 9090})}
        self.eventually(lambda: self.endpoints("web") == wanted, "both pods in slices")
        self.pod_status("b", ["10.244.2.10"], ready=True)
        self.eventually(lambda: self.endpoints("web")["10.244.2.10"][0], "b is ready")
        self.admin.delete("Pod", "a", self.namespace)
        self.eventually(lambda: set(self.endpoints("web")) == {"10.244.2.10"}, "a is gone")

    def test_dual_stack_service_has_slices_of_both_families(self):
        self.pod("a", ["10.244.1.11", "fd00:10:244:1::11"], labels={"app": "web"},
                 ports=[{"name": "http", "containerPort": 8080}])
        made = self.service("web", web_service(ipFamilyPolicy="RequireDualStack"))
        self.assertEqual(made["spec"]["ipFamilies"], ["IPv4", "IPv6"])
        for address, subnet in zip(made["spec"]["clusterIPs"], SERVICE_RANGES):
            self.assertIn(ipaddress.ip_address(address), ipaddress.ip_network(subnet))
        for family, address in (("IPv4", "10.244.1.11"), ("IPv6", "fd00:10:244:1::11")):
            self.eventually(lambda f=family, a=address: set(self.endpoints("web", f)) == {a},
                            f"the {family} slice")

    def test_service_goes_and_its_slices_with_it(self):
        """By the garbage collector."""
        self.pod("a", ["10.244.1.12"], labels={"app": "web"},
                 ports=[{"name": "http", "containerPort": 8080}])
        self.service("web", web_service())
        self.eventually(lambda: self.endpoints("web"), "an endpoint")
        self.admin.delete("Service", "web", self.namespace)
        self.eventually(lambda: not self.slices("web"), "the end of the slices")

    def test_endpoints_are_mirrored(self):
        self.service("outside", {"ports": [{"name": "http", "port": 80}]})
        self.create("Endpoints", "outside", subsets=[{
            "addresses": [{"ip": "192.0.2.7"}], "ports": [{"name": "http", "port": 8080}]}])
        self.eventually(lambda: self.endpoints("outside") == {
            "192.0.2.7": (True, None, {"http": 8080})}, "the mirror of the Endpoints")

    def test_namespace_has_the_authority_that_signed_the_server(self):
        def seen():
            if self.admin.exists("ConfigMap", "kube-root-ca.crt", self.namespace):
                return self.admin.get("ConfigMap", "kube-root-ca.crt", self.namespace)["data"]
            return None
        self.assertEqual(self.eventually(seen, "the ConfigMap")["ca.crt"],
                         self.cluster.authority.certificate.read_text())


class Allocators(Case):
    def test_node_port_is_given_and_belongs_to_one(self):
        made = self.service("a", web_service(type="NodePort"))
        port = made["spec"]["ports"][0]["nodePort"]
        self.assertTrue(30000 <= port < 32768, port)
        wanted = web_service(type="NodePort")
        wanted["ports"][0]["nodePort"] = port
        self.assertIn("already allocated",
                      str(self.refused(422, self.service, "b", wanted)))

    def test_cluster_ip_is_given_and_belongs_to_one(self):
        address = self.service("a", web_service())["spec"]["clusterIP"]
        self.assertIn(ipaddress.ip_address(address), ipaddress.ip_network(SERVICE_RANGES[0]))
        self.assertIn("already allocated", str(self.refused(
            422, self.service, "b", web_service(clusterIP=address))))

    def test_service_ranges_are_objects(self):
        self.assertEqual(self.admin.get("ServiceCIDR", "kubernetes")["spec"]["cidrs"],
                         SERVICE_RANGES)
