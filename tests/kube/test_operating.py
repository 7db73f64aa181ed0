"""podwired itself with the API server as its source: what its operator sees."""

import re

import lab
import netns
from case import Case
from cluster import ADDRESS, PORT

KINDS = {"Node", "Namespace", "Pod", "Service", "EndpointSlice", "NetworkPolicy", "IPPool",
         "ServiceCIDR", "ClusterNetworkPolicy", "BlockAffinity", "IPAMBlock", "IPAMConfig",
         "IPReservation"}


class Operating(Case):
    def setUp(self):
        super().setUp()
        self.node = lab.Node("node-a")
        self.node.namespace = self.cluster.namespace
        self.node.folder = self.cluster.folder / "node-a"
        self.node.run_dir = self.node.folder / "run"
        self.node.log = self.node.folder / "podwired.log"
        self.node.config = self.node.folder / "podwired.conf"
        self.node.write_config(
            [], uplink="net_null0", node_address="172.18.0.11/24", min_sync_period_ms=5,
            kubeconfig=self.cluster.write_kubeconfig("podwire.conf",
                                                     token=self.podwires_account()))

    def start(self):
        self.addCleanup(self.end)
        self.node.start()

    def end(self):
        self.node.stop()
        # The host tap outlives podwired, and holds an address of the lab's wire.
        netns.ip("-n", self.node.namespace, "link", "del", "podwire0")

    def page(self, path):
        done = netns.run(self.cluster.namespace,
                         ["curl", "-s", "-w", "%{http_code}", f"http://127.0.0.1:10249{path}"])
        return int(done.stdout[-3:]), done.stdout[:-3]

    def service_frontends(self, name):
        return [f for s in self.node.ctl("services") if s["name"].startswith(
            f"{self.namespace}/{name}") for f in s["frontends"]]

    def test_what_is_made_through_the_api_is_in_force(self):
        self.start()
        self.pod("web", ["10.244.1.5"], labels={"app": "web"})
        self.service("web", {"selector": {"app": "web"}, "ports": [{"port": 80}]})
        self.eventually(lambda: [
            s for s in self.node.ctl("services")
            if s["name"].startswith(f"{self.namespace}/web") and s["backends"]],
            "a Service with its endpoint")
        self.admin.delete("Service", "web", self.namespace)
        self.eventually(lambda: not self.service_frontends("web"), "the Service's end")

    def test_status_and_metrics_tell_of_each_kind(self):
        self.start()
        status = self.node.ctl("status")
        self.assertEqual(status["source"], f"API server https://{ADDRESS}:{PORT} (kubeconfig "
                                           f"{self.cluster.folder}/podwire.conf)")
        self.assertTrue(status["synced"] and status["sourceHealthy"], status)
        self.assertIsNone(status["sourceTrouble"])
        kinds = {k["kind"]: k for k in status["kinds"]}
        self.assertEqual(set(kinds), KINDS)
        self.assertGreaterEqual(kinds["Node"]["objects"], 2)
        self.eventually(lambda: {k["phase"] for k in self.node.ctl("status")["kinds"]} <=
                        {"watching", "absent"}, "every kind to be watched")
        code, text = self.page("/metrics")
        self.assertEqual(code, 200)
        for name in ("objects", "resource_version", "watching_seconds", "lists_total",
                     "watches_total", "events_total"):
            found = set(re.findall(rf'^podwire_source_{name}{{kind="(\w+)"}} ', text, re.M))
            self.assertEqual(found, KINDS, name)
        self.assertIn('podwire_source_errors_total{kind="Pod",reason="unreachable"} 0', text)

    def test_a_lost_server_is_named_and_everything_stays(self):
        self.service("stays", {"ports": [{"port": 80}]})
        self.start()
        self.eventually(lambda: self.service_frontends("stays"), "the Service")
        self.cluster.apiserver.kill()
        self.addCleanup(lambda: self.cluster.is_ready() or self.cluster.start_apiserver())
        self.eventually(lambda: not self.node.ctl("status")["sourceHealthy"], "status to tell")
        self.assertIn(f"cannot be reached: {ADDRESS} port {PORT}: Connection refused",
                      self.node.ctl("status")["sourceTrouble"])
        self.assertIn("the last state stays in force", self.node.log.read_text())
        self.assertTrue(self.service_frontends("stays"))
        self.assertEqual(self.page("/readyz")[0], 200)
        self.cluster.start_apiserver()
        self.eventually(lambda: self.node.ctl("status")["sourceHealthy"], "status to tell")
        self.assertTrue(self.service_frontends("stays"))

    def test_nothing_is_ready_before_everything_was_read(self):
        role = self.admin.get("ClusterRole", "podwire")
        self.addCleanup(self.admin.patch, "ClusterRole", "podwire", {"rules": role["rules"]})
        self.admin.patch("ClusterRole", "podwire", {"rules": [
            rule for rule in role["rules"] if "networkpolicies" not in rule["resources"]]})
        self.node.process = netns.spawn(
            self.cluster.namespace, [lab.program("podwired"), "--config", str(self.node.config)],
            self.node.log, env=lab.clean_environment())
        self.addCleanup(self.node.stop)
        self.eventually(lambda: (self.node.run_dir / "podwired.sock").exists(), "its socket")
        named = "refuses to list networkpolicies of API group networking.k8s.io (403)"
        self.eventually(lambda: named in str(self.node.ctl("status")["sourceTrouble"]), "the verb")
        self.assertFalse(self.node.ctl("status")["synced"])
        code, text = self.page("/readyz")
        self.assertEqual(code, 503)
        self.assertIn(named, text)
        self.admin.patch("ClusterRole", "podwire", {"rules": role["rules"]})
        self.eventually(lambda: self.page("/readyz")[0] == 200, "readiness")
