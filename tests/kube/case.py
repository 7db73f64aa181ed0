"""What every test here is made of: the cluster, objects of a namespace of its own, waiting."""

import itertools
import time
import unittest

import cluster as cluster_module
import netns
import yaml
from client import ApiError
from cluster import Cluster

NODES = {"node-a": "172.18.0.11", "node-b": "172.18.0.12"}
CONF = cluster_module.HERE.parents[1] / "conf"
RBAC = CONF / "kubernetes/rbac.yaml"
_numbers = itertools.count(1)
_cluster = None


def start_cluster():
    global _cluster
    _cluster = Cluster().up()
    for name, address in NODES.items():  # a Pod of a node that is not there is no endpoint
        _cluster.admin.create({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]}})


def stop_cluster():
    if _cluster is not None:
        _cluster.down()


class Case(unittest.TestCase):
    def setUp(self):
        self.cluster, self.admin = _cluster, _cluster.admin
        self.namespace = f"test-{next(_numbers)}"
        self.admin.create({"apiVersion": "v1", "kind": "Namespace",
                           "metadata": {"name": self.namespace}})
        self.addCleanup(self.admin.delete, "Namespace", self.namespace)
        # The API server takes no Pod before its namespace has an account.
        self.eventually(lambda: self.admin.exists("ServiceAccount", "default", self.namespace),
                        "an account in the namespace")

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

    def podwires_account(self):
        """The account, role and binding of conf/kubernetes/rbac.yaml, made once; its token."""
        for thing in yaml.safe_load_all(RBAC.read_text()):
            meta = thing["metadata"]
            if not self.admin.exists(thing["kind"], meta["name"], meta.get("namespace")):
                self.admin.create(thing)
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
