"""What every test here is made of: the cluster, objects of a namespace of its own, waiting."""

import itertools
import time
import unittest

import checks
import cluster as cluster_module
import kube_lab
import netns
import yaml
from client import ApiError
from cluster import Cluster

CONF = cluster_module.HERE.parents[1] / "conf"
RBAC, RBAC_BGP = CONF / "kubernetes/rbac.yaml", CONF / "kubernetes/rbac-bgp.yaml"
_numbers = itertools.count(1)
_cluster = _lab = None


def start_cluster():
    global _cluster
    _cluster = Cluster().up()
    # A Pod of a node that is not there becomes no endpoint.
    for node in yaml.safe_load_all((kube_lab.MANIFESTS / "nodes.yaml").read_text()):
        _cluster.admin.create(node)
    for thing in yaml.safe_load_all(RBAC.read_text()):
        _cluster.admin.create(thing)


def stop_cluster():
    if _lab is not None:
        _lab.down()
    if _cluster is not None:
        _cluster.down()


def the_cluster():
    return _cluster


def the_lab():
    """The lab on the cluster, brought up by the first test that asks."""
    global _lab
    if _lab is None:
        one = kube_lab.KubeLab(_cluster)
        one.lock()
        _lab = one
        one.up()
    return _lab


def allowed(file=RBAC, role="ClusterRole"):
    """The plural names of what this role lets podwire list and watch."""
    role, = (one for one in yaml.safe_load_all(file.read_text()) if one["kind"] == role)
    return {resource for rule in role["rules"] if "list" in rule["verbs"]
            for resource in rule["resources"]}


class Case(unittest.TestCase):
    maxDiff = 1500

    def setUp(self):
        self.cluster, self.admin = _cluster, _cluster.admin
        self.make_namespace()

    def make_namespace(self):
        self.namespace = f"test-{next(_numbers)}"
        self.admin.create({"apiVersion": "v1", "kind": "Namespace",
                           "metadata": {"name": self.namespace}})
        self.addCleanup(self.admin.delete, "Namespace", self.namespace)
        # The API server takes no Pod before its namespace has an account.
        self.eventually(lambda: self.admin.exists("ServiceAccount", "default", self.namespace),
                        "an account in the namespace", timeout_s=60)

    def eventually(self, condition, what, timeout_s=20):
        return netns.wait_until(condition, timeout_s, what)

    def refused(self, code, function, *arguments, **named):
        """The API server's refusal, which must be with this code."""
        with self.assertRaises(ApiError) as caught:
            function(*arguments, **named)
        self.assertEqual(caught.exception.code, code, str(caught.exception))
        return caught.exception

    # ---- objects ----

    def create(self, kind, name, spec=None, api="v1", labels=None, **more):
        return self.admin.create({
            "apiVersion": api, "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace, "labels": labels or {}},
            **({} if spec is None else {"spec": spec}), **more})

    def pod(self, name, addresses, node="node-a", labels=None, ports=(), ready=True):
        """A Pod on a node with the status that kubelet would give it."""
        self.create("Pod", name, {"nodeName": node, "terminationGracePeriodSeconds": 0,
                                  "containers": [{"name": "main", "image": "none",
                                                  "ports": list(ports)}]}, labels=labels)
        self.pod_status(name, addresses, ready)

    def pod_status(self, name, addresses, ready=True):
        self.admin.set_status("Pod", name, {
            "phase": "Running", "podIP": addresses[0], "podIPs": [{"ip": a} for a in addresses],
            "conditions": [{"type": "Ready", "status": str(ready)}]}, self.namespace)

    def service(self, name, spec):
        return self.create("Service", name, spec)

    def slices(self, service):
        return self.admin.list(
            "EndpointSlice", self.namespace,
            labelSelector=f"kubernetes.io/service-name={service}")["items"]

    def endpoints(self, service, family="IPv4"):
        """{address: (ready, node, ports by name)} of a Service's slices of one family."""
        found = {}
        for one in self.slices(service):
            if one["addressType"] != family:
                continue
            ports = {p["name"]: p["port"] for p in one["ports"] or []}
            for endpoint in one["endpoints"] or []:
                found[endpoint["addresses"][0]] = (endpoint["conditions"]["ready"],
                                                   endpoint.get("nodeName"), ports)
        return found

    def allow_bgp(self):
        """What conf/kubernetes/rbac-bgp.yaml allows, for this test."""
        podwire = self.cluster.client(token=self.podwires_account())

        def granted():
            count = 0
            for kind, namespace in ("Secret", "kube-system"), ("BGPPeer", None):
                try:
                    podwire.list(kind, namespace=namespace)
                    count += 1
                except ApiError as error:
                    count += error.code == 404  # allowed, but there is no such kind
            return count
        self.addCleanup(self.eventually, lambda: granted() == 0, "the rules' end")
        for thing in yaml.safe_load_all(RBAC_BGP.read_text()):
            meta = thing["metadata"]
            self.admin.create(thing)
            self.addCleanup(self.admin.delete, thing["kind"], meta["name"],
                            meta.get("namespace", "default"))
        self.eventually(lambda: granted() == 2, "the rules")

    def podwires_account(self):
        """A token of the account of conf/kubernetes/rbac.yaml."""
        return self.admin.token_of("podwire", "kube-system")

    def events(self, kind, count, timeout_s=20, **query):
        """The first `count` events of a watch."""
        deadline = time.monotonic() + timeout_s
        found = []
        for event in self.admin.watch(kind, **query):
            found.append(event)
            if len(found) == count:
                return found
            self.assertLess(time.monotonic(), deadline, f"only {len(found)} events came")
        return found


class LabCase(Case):
    """A test with two nodes whose podwireds have their objects from the API server. Its objects are
    in the namespace of the lab's pods, since Services select there; they go with the test."""

    namespace = "default"

    def setUp(self):
        super().setUp()
        self.lab = the_lab()
        self.node = self.lab.nodes["node-a"]

    def make_namespace(self):
        pass

    def create(self, kind, name, *arguments, **more):
        made = super().create(kind, name, *arguments, **more)
        self.addCleanup(self.remove, kind, name)
        return made

    def remove(self, kind, name):
        if self.admin.exists(kind, name, self.namespace):
            self.admin.delete(kind, name, self.namespace)

    def address(self, pod, family=4):
        return self.lab.pods[pod].addresses[family]

    def service_in_force(self, name, node=None):
        """Its entries in what podwired says: one for each port and family."""
        full = f"{self.namespace}/{name}"
        return [s for s in (node or self.node).ctl("services")
                if s["name"].split(":")[0] == full]

    def backends(self, name):
        return {(b["address"], b["port"]) for s in self.service_in_force(name)
                for b in s["backends"]}

    def frontends(self, name):
        return {(f["kind"], f["address"]) for s in self.service_in_force(name)
                for f in s["frontends"]}

    def in_force(self, name, backends=("web-a", "web-b")):
        """Waits until the Service is there with these pods as backends; None: until it is gone."""
        wanted = backends and {self.address(pod) for pod in backends}

        def seen():
            there = self.service_in_force(name)
            if backends is None or not there:
                return backends is None and not there
            return {address for address, _ in self.backends(name)
                    if ":" not in address} == set(wanted)
        self.eventually(seen, f"{name} with {backends}")

    def answers(self, who, address, port, family=4, count=checks.ATTEMPTS):
        """The names of the pods that answer."""
        return {checks.get(self.lab, who, family, address, port)["pod"] for _ in range(count)}
