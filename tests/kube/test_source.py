"""podwire's client against the real API server: what it follows, and what it makes of faults. After
each fault it has in force what one that has just begun has.
"""

import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "apiserver"))

import netns  # noqa: E402
from case import RBAC_BGP, Case, allowed  # noqa: E402
from client import plural  # noqa: E402
from cluster import ADDRESS, PORT  # noqa: E402
import kube_lab  # noqa: E402
from follower import Follower  # noqa: E402
from proxy import Proxy  # noqa: E402

PROXY_PORT = 7443


class Source(Case):
    def setUp(self):
        super().setUp()
        self.token = self.podwires_account()

    def follow(self, *options, name="podwire.conf", port=PORT, token=None):
        path = self.cluster.write_kubeconfig(name, server=f"https://{ADDRESS}:{port}",
                                             token=token or self.token)
        follower = Follower(path, *options,
                            command=["ip", "netns", "exec", self.cluster.namespace])
        self.addCleanup(follower.close)
        follower.synced()
        self.eventually(lambda: self.watching(follower), "every kind to be watched")
        return follower

    @staticmethod
    def watching(follower):
        return all(kind["phase"] in ("watching", "absent")
                   for kind in follower.ask()["kinds"].values())

    def new_service(self, name):
        """A Service, which changes nothing else."""
        self.service(name, {"ports": [{"port": 80}]})
        return f"Service {self.namespace}/{name}"

    def check_same_as_new(self, follower):
        """Also that nothing was taken away on the way that is there in the end."""
        fresh = self.follow(name="fresh.conf")
        self.eventually(lambda: follower.ask()["inForce"] == fresh.ask()["inForce"],
                        "the same in force as anew")
        for line in follower.said:
            if "remove" in line:
                kind, name = line["remove"].split(" ", 1)
                self.assertNotIn(name, fresh.in_force(kind), "removed and added again")

    def test_follows_what_controllers_make_on_one_connection(self):
        follower = self.follow()
        self.pod("web", ["10.244.1.5"], labels={"app": "web"})
        self.service("web", {"selector": {"app": "web"}, "ports": [{"port": 80}]})
        follower.put(f"Pod {self.namespace}/web")
        follower.put(f"Service {self.namespace}/web")
        one = self.eventually(lambda: self.slices("web"), "a slice")[0]["metadata"]["name"]
        follower.put(f"EndpointSlice {self.namespace}/{one}")
        sockets = netns.run(self.cluster.namespace, ["ss", "-Htnp", "state", "established",
                                                     f"dport = :{PORT}"]).stdout
        mine = [s for s in sockets.splitlines() if f"pid={follower.process.pid}," in s]
        self.assertEqual(len(mine), 1, sockets)  # HTTP/2 carries all of it
        self.assertEqual(follower.problems() if follower.since(0, "problems") else [], [])
        self.assertIn("kubernetes", " ".join(follower.in_force("ServiceCIDR")))
        self.check_same_as_new(follower)

    def test_selectors_keep_away_what_is_not_ours(self):
        follower = self.follow()
        name = "service.kubernetes.io/service-proxy-name"
        self.create("Service", "foreign", {"ports": [{"port": 80}]}, labels={name: "other"})
        self.create("Service", "headless", {"clusterIP": "None", "ports": [{"port": 80}]})
        follower.put(self.new_service("own"))
        self.admin.patch("Service", "own", {"metadata": {"labels": {name: "other"}}},
                         self.namespace)
        follower.removed(f"Service {self.namespace}/own")
        self.assertEqual([s for s in follower.in_force("Service")
                          if s.startswith(self.namespace)], [])
        self.pod("done", ["10.244.1.9"])
        follower.put(f"Pod {self.namespace}/done")
        self.admin.set_status("Pod", "done", {"phase": "Succeeded"}, self.namespace)
        follower.removed(f"Pod {self.namespace}/done")

    def test_pool_that_is_defined_later(self):
        follower = self.follow("--absent=2")
        self.assertEqual(follower.kind("IPPool")["phase"], "absent")
        self.admin.create(kube_lab.definition("IPPool"))
        self.addCleanup(self.admin.delete, "CustomResourceDefinition",
                        "ippools.crd.projectcalico.org")
        pool = {"apiVersion": "crd.projectcalico.org/v1", "kind": "IPPool",
                "metadata": {"name": "pool"}, "spec": {"cidr": "10.244.0.0/16"}}

        def created():
            try:
                return self.admin.create(pool)
            except Exception:  # noqa: BLE001  the definition is not served yet
                return None
        self.eventually(created, "a pool")
        follower.put("IPPool pool")

    def test_api_server_killed_and_started_again(self):
        follower = self.follow()
        follower.put(self.new_service("before"))
        begin = follower.mark()
        self.cluster.apiserver.kill()
        self.assertIn(f"cannot be reached: {ADDRESS} port {PORT}: Connection refused",
                      follower.health(False, begin))
        self.assertIn(f"{self.namespace}/before", follower.in_force("Service"))
        self.cluster.start_apiserver()
        back = time.monotonic()
        after = self.new_service("after")
        follower.put(after, begin)
        self.assertLess(time.monotonic() - back, 12)
        follower.health(True, begin)
        self.check_same_as_new(follower)

    def test_quiet_server_is_asked_whether_it_lives(self):
        """And nothing is given up for it."""
        follower = self.follow("--idle=1")
        asked = self.questions()
        self.eventually(lambda: self.questions() >= asked + 2, "two questions")
        watching = [kind for kind in follower.ask()["kinds"].values()
                    if kind["phase"] == "watching"]  # those that nobody defined are looked for
        self.assertEqual([kind["errors"] for kind in watching if kind["errors"]], [])
        self.assertEqual({kind["watches"] for kind in watching}, {1})
        self.check_same_as_new(follower)

    def questions(self):
        return sum(one["requestURI"] == "/version" for one in self.cluster.audited())

    def test_api_server_that_stands_still(self):
        follower = self.follow("--idle=2")
        self.cluster.apiserver.freeze()
        try:
            said = follower.health(False, timeout_s=30)
        finally:
            self.cluster.apiserver.thaw()
        self.assertIn("has been silent while asked to", said)
        begin = follower.mark()
        follower.put(self.new_service("after"), begin)
        self.check_same_as_new(follower)

    def test_history_forgotten_while_it_could_not_watch(self):
        proxy = Proxy(self.cluster.namespace, PROXY_PORT, (ADDRESS, PORT))
        self.addCleanup(proxy.close)
        follower = self.follow(port=PROXY_PORT)
        follower.put(self.new_service("goes"))
        follower.put(self.new_service("stays"))
        proxy.cut_after(0)
        proxy.cut_now()
        follower.health(False)
        self.admin.delete("Service", "goes", self.namespace)
        self.new_service("comes")
        self.cluster.compact()
        self.cluster.apiserver.kill()  # its own memory of what was goes with it
        self.cluster.start_apiserver()
        begin = follower.mark()
        proxy.cut_after(None)
        follower.put(f"Service {self.namespace}/comes", begin)
        follower.removed(f"Service {self.namespace}/goes", begin)
        self.check_same_as_new(follower)

    def test_connections_cut_amid_objects(self):
        proxy = Proxy(self.cluster.namespace, PROXY_PORT, (ADDRESS, PORT))
        self.addCleanup(proxy.close)
        follower = self.follow(port=PROXY_PORT)
        proxy.cut_after(7000)
        proxy.cut_now()
        made = 0
        while proxy.cuts < 5:
            self.new_service(f"s{made}")
            made += 1
            time.sleep(0.2)
        proxy.cut_after(None)
        follower.put(f"Service {self.namespace}/s{made - 1}")
        self.check_same_as_new(follower)

    def test_bgp_asks_for_what_its_own_rules_allow(self):
        self.allow_bgp()
        follower = self.follow("--bgp")
        self.assertEqual({plural(kind) for kind in follower.ask()["kinds"]},
                         allowed() | allowed(RBAC_BGP) | allowed(RBAC_BGP, "Role"))

    def test_revoked_token_and_the_next(self):
        self.create("ServiceAccount", "short-lived")
        self.admin.create({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": self.namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                        "name": "podwire"},
            "subjects": [{"kind": "ServiceAccount", "name": "short-lived",
                          "namespace": self.namespace}]})
        self.addCleanup(self.admin.delete, "ClusterRoleBinding", self.namespace)
        proxy = Proxy(self.cluster.namespace, PROXY_PORT, (ADDRESS, PORT))
        self.addCleanup(proxy.close)
        follower = self.follow(port=PROXY_PORT, token=self.admin.token_of("short-lived",
                                                                          self.namespace))
        begin = follower.mark()
        self.admin.delete("ServiceAccount", "short-lived", self.namespace)

        def refused():
            proxy.cut_now()
            time.sleep(1)  # the API server believes for some seconds what it has once seen
            return any("(401)" in s for s in follower.since(begin, "sentence"))
        self.eventually(refused, "a refusal", 40)
        self.cluster.write_kubeconfig("podwire.conf", f"https://{ADDRESS}:{PROXY_PORT}",
                                      token=self.token)
        follower.health(True, begin)
        follower.put(self.new_service("after"), begin)
        self.check_same_as_new(follower)

    def test_missing_permission_is_named(self):
        role = self.admin.get("ClusterRole", "podwire")
        self.addCleanup(self.admin.patch, "ClusterRole", "podwire", {"rules": role["rules"]})
        self.admin.patch("ClusterRole", "podwire", {"rules": [
            rule for rule in role["rules"] if "endpointslices" not in rule["resources"]]})
        path = self.cluster.write_kubeconfig("podwire.conf", token=self.token)
        follower = Follower(path, command=["ip", "netns", "exec", self.cluster.namespace])
        self.addCleanup(follower.close)
        self.assertIn("refuses to list endpointslices of API group discovery.k8s.io (403): give "
                      "user system:serviceaccount:kube-system:podwire a ClusterRole with verb list "
                      "on endpointslices", follower.health(False))
        self.assertEqual(follower.since(0, "synced"), [])
        self.admin.patch("ClusterRole", "podwire", {"rules": role["rules"]})
        follower.synced(timeout_s=30)
        follower.health(True)

    def test_new_certificate_of_the_server(self):
        proxy = Proxy(self.cluster.namespace, PROXY_PORT, (ADDRESS, PORT))
        self.addCleanup(proxy.close)
        follower = self.follow(port=PROXY_PORT)
        self.cluster.issue_server_certificate()
        proxy.cut_now()
        follower.put(self.new_service("after"))
        self.check_same_as_new(follower)
