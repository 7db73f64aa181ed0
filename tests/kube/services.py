"""What the tests of Services share: dual-stack Services of the lab's pods, pods that come and go,
and who answers at an address."""

import contextlib
import errno
import itertools
import json
import sys

import checks
import lab
import netns
from case import LabCase
from lab import NODE_ADDRESSES, SERVICE_RANGES

FAMILIES = (4, 6)
OWN = {"node-a": "web-a", "node-b": "web-b"}  # a node's own backend
BOTH = {"web-a", "web-b"}
HTTP = {"name": "http", "port": 80, "targetPort": 8080}
ECHO = {"name": "echo", "port": 7, "targetPort": 9000, "protocol": "UDP"}
ECHO_SCTP = {"name": "echo-sctp", "port": 7, "targetPort": 9000, "protocol": "SCTP"}
TERMINATING = {"ready": False, "serving": True, "terminating": True}
_guests = itertools.count(100)


def external(number):
    """An address of the ranges that the outside host sends through node-a."""
    return {4: f"203.0.113.{number}", 6: f"fd00:203:113::{number}"}


class Guest(lab.Pod):
    """A pod of a test's own, with the lab's program."""

    def __init__(self, name, node, labels, **spec):
        number, net = next(_guests), {"node-a": 1, "node-b": 2}[node]
        addresses = [f"10.244.{net}.{number}", f"fd00:10:244:{net}::{number}"]
        container = {"name": "main", "image": "none",
                     "ports": [{"name": "http", "containerPort": 8080}]}
        self.manifest = {
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": labels, "annotations": {
                "cni.projectcalico.org/ipAddrs": json.dumps(addresses)}},
            "spec": {"nodeName": node, "containers": [container], **spec}}
        super().__init__(self.manifest)


class ServiceCase(LabCase):
    def setUp(self):
        super().setUp()
        for node in self.lab.nodes.values():
            self.eventually(lambda n=node: n.ctl("status")["sourceHealthy"], "a healthy source", 30)

    # ---- Services ----

    def web(self, name, selector=None, ports=(HTTP,), pods=None, **more):
        """A dual-stack Service in force with `pods`, which its selector tells when they are the
        lab's own: {family: its ClusterIP, "nodePort": the first port's}."""
        selector = selector or {"app": "web"}
        made = self.create("Service", name, {
            "selector": selector, "ipFamilyPolicy": "RequireDualStack", "ports": list(ports),
            **more})["spec"]
        if pods is None:
            pods = {"web": BOTH, "none": set()}[selector["app"]] if "app" in selector else \
                {selector["pod"]}
        self.wait_for(name, pods, len(ports))
        return {4: made["clusterIPs"][0], 6: made["clusterIPs"][1],
                "nodePort": made["ports"][0].get("nodePort")}

    def wait_for(self, name, pods, ports=1):
        """Both families' endpoints on both nodes: the controllers' slices come one by one."""
        for node in self.lab.nodes.values():
            def seen(n=node):
                there = self.service_in_force(name, n)
                ours = {b["address"] for s in there for b in s["backends"] + s["localBackends"]}
                inside = all(s["internalTrafficPolicy"] == "Local" and
                             all(f["kind"] == "clusterIP" for f in s["frontends"]) for s in there)
                usable = {pod for pod in pods
                          if not inside or self.lab.pods[pod].node == n.name}
                return (len(there) == 2 * ports and
                        all(s["anyEndpoint"] == bool(pods) for s in there) and
                        ours == {self.address(p, f) for p in usable for f in FAMILIES})
            self.eventually(seen, f"{name} on {node.name}")

    def local(self, name, selector=None, **more):
        return self.web(name, selector, type="LoadBalancer", externalTrafficPolicy="Local", **more)

    def without_selector(self, name, ports=(HTTP,), **more):
        made = self.create("Service", name, {"ports": list(ports), **more})["spec"]
        return {4: made["clusterIP"], "nodePort": made["ports"][0].get("nodePort")}

    def endpoint(self, pod, conditions=None, **more):
        return {"addresses": [self.address(pod)], "nodeName": self.lab.pods[pod].node,
                "conditions": conditions or {"ready": True}, **more}

    def slice_of(self, service, endpoints, ports=({"name": "http", "port": 8080},), number="one"):
        """A slice of its own has these endpoints from now on."""
        name = f"{service}-{number}"
        if self.admin.exists("EndpointSlice", name, self.namespace):
            self.admin.patch("EndpointSlice", name, {"endpoints": endpoints, "ports": list(ports)})
        else:
            self.create("EndpointSlice", name, api="discovery.k8s.io/v1",
                        labels={"kubernetes.io/service-name": service}, addressType="IPv4",
                        ports=list(ports), endpoints=endpoints)

    def addresses(self, service):
        return {address for address, _ in self.backends(service)}

    def give_ingress(self, name, addresses):
        self.admin.set_status("Service", name, {
            "loadBalancer": {"ingress": [{"ip": a} for a in addresses.values()]}})
        wanted = {("loadBalancer", a) for a in addresses.values()}
        self.eventually(lambda: wanted <= self.frontends(name), "the load balancer's address")

    def change(self, name, **spec):
        return self.admin.patch("Service", name, {"spec": spec}, self.namespace)

    # ---- pods that come and go ----

    def guest(self, name, node, labels, ready=True, **spec):
        """A pod with its program, as kubelet would bring it up."""
        pod = Guest(name, node, labels, **spec)
        self.admin.create(pod.manifest)
        self.lab.pods[name] = pod
        self.addCleanup(self.guest_goes, name)
        self.eventually(lambda: self.attached(pod, ready), f"{name} is attached")
        log = lab.FOLDER / f"{name}.log"
        process = netns.spawn(pod.namespace, [
            sys.executable, "-u", str(lab.ROOT / "tests/lib/pod_program.py"), name, "8080",
            "8081"], log)
        netns.wait_until(lambda: "serving" in log.read_text(), 20, f"{name}'s program", process)
        log.unlink()
        return pod

    def attached(self, pod, ready):
        """A runtime tries again when the plugin says so (CNI error 11)."""
        try:
            self.lab.attach(pod, ready)
        except RuntimeError as error:
            if '"code": 11' not in str(error):
                raise
            netns.remove([pod.namespace])
            return False
        return True

    def guest_ends(self, name, grace_s=30):
        """It is told to end: its endpoints are terminating, and it goes on for now."""
        self.admin.delete("Pod", name, self.namespace, grace_s)

    def guest_goes(self, name):
        """Its end: the program, the attachment, the object."""
        pod = self.lab.pods.pop(name, None)
        if pod is None:
            return
        netns.end_processes([pod.namespace])
        self.lab.nodes[pod.node].cni("DEL", pod.container, pod.namespace,
                                     (pod.kube_namespace, pod.name))
        netns.remove([pod.namespace])
        self.remove("Pod", name)

    # ---- packets ----

    def seen(self, who, address, port=80, count=checks.ATTEMPTS):
        """(who answers, whom it sees as its client) of many connections."""
        family = 6 if ":" in address else 4
        answers = [checks.get(self.lab, who, family, address, port) for _ in range(count)]
        return {(answer["pod"], answer["client"]) for answer in answers}

    def pods_seen(self, who, address, port=80, count=checks.ATTEMPTS):
        return {pod for pod, _ in self.seen(who, address, port, count)}

    def echoed(self, who, address, port, payload=b"x" * 40, client=None):
        """The pod that echoes a datagram, which must come back from where it went."""
        family = 6 if ":" in address else 4
        answer, peer = checks.udp_echo(self.lab, who, family, address, port, payload, client=client)
        self.assertEqual(peer, (address, port))
        name = answer.split(b" ")[0]
        self.assertEqual(answer[len(name) + 1:], payload[len(name) + 1:])
        return name.decode()

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
