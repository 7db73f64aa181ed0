"""Objects that the API server takes and podwire cannot do as they say: each is named in the log and
in `podwirectl status`, the rest is in force, and podwired is ready."""

from lab import OUTSIDE
from services import BOTH, HTTP, ServiceCase, external


class BadInput(ServiceCase):
    def test_two_services_with_one_address_and_port(self):
        """The first by name keeps it; the other has it once the first lets go."""
        address = external(61)[4]
        self.web("first", {"pod": "web-a"}, externalIPs=[address])
        self.web("second", {"pod": "web-b"}, externalIPs=[address])
        said = self.named("Service default/second: is not served on 203.0.113.61:80/TCP: Service "
                          "default/first has it too and keeps it")
        self.assertEqual(self.pods_seen("outside", address, count=8), {"web-a"})
        self.change("first", externalIPs=[])
        self.mended(said)
        self.assertEqual(self.pods_seen("outside", address, count=8), {"web-b"})

    def test_cluster_ip_that_another_has_as_its_external_address(self):
        """It stays with its own Service (CVE-2020-8554), whatever their names are."""
        made = self.web("victim", {"pod": "web-a"})
        self.web("thief", {"pod": "web-b"}, externalIPs=[made[4]])
        said = self.named(f"Service default/thief: is not served on {made[4]}:80/TCP: Service "
                          "default/victim has it too and keeps it")
        self.assertEqual(self.pods_seen("client-a", made[4], count=8), {"web-a"})
        self.remove("Service", "thief")
        self.mended(said)

    def test_service_that_contradicts_itself(self):
        """An address of a family that it has not, source ranges that bind nobody."""
        self.create("Service", "odd", {
            "selector": {"app": "web"}, "ports": [HTTP], "type": "LoadBalancer",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "externalIPs": [external(62)[6]], "loadBalancerSourceRanges": [f"{OUTSIDE[6]}/128"]})
        self.give_ingress("odd", {4: external(62)[4]})
        self.named("Service default/odd: is not served on its external address "
                   f"{external(62)[6]}: it has no IPv6 ClusterIP")
        said = self.named("Service default/odd: lets everybody reach its load balancer address "
                          "203.0.113.62: none of its loadBalancerSourceRanges is IPv4")
        self.assertEqual(self.pods_seen("outside", external(62)[4]), BOTH)
        self.change("odd", externalIPs=[], loadBalancerSourceRanges=[f"{OUTSIDE[4]}/32"])
        self.mended(said)

    # ---- helpers ----

    def named(self, words):
        """The problem with these words, which is in the log too; podwired is ready."""
        said = self.eventually(lambda: [p for p in self.node.problems() if words in p], words)[0]
        self.assertIn(said, self.node.log.read_text())
        self.assertEqual(self.lab.run("node-a", "curl", "-sf",
                                      "http://127.0.0.1:10249/readyz").returncode, 0)
        return said

    def mended(self, said):
        self.eventually(lambda: said not in self.node.problems(), "the problem's end")
