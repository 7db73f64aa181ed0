"""Topologies of nodes that speak BGP. One is up at a time, once for all tests of its class."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import unittest

import lab
import netns
import yaml

CALICO = "projectcalico.org/v3"
POOLS = {4: "10.244.0.0/16", 6: "fd00:10:244::/48"}
HTTP_PORT = 8080


def thing(kind, name, spec, version=CALICO, **metadata):
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **metadata},
            "spec": spec}


def secret(name, **values):
    return {"apiVersion": "v1", "kind": "Secret", "stringData": values,
            "metadata": {"name": name, "namespace": "kube-system"}}


class BgpLab(lab.Lab):
    """`count` nodes n1, n2, ...; node i has 172.18.0.1i and the pod ranges 10.244.i.0/24 and
    fd00:10:244:i::/64."""

    count = 2
    annotations, labels = {}, {}  # of nodes, by name
    config = {}  # podwired's options on every node
    start_objects = ()  # beside nodes and pools

    def __init__(self):
        self.manifests = lab.FOLDER / "manifests"
        self.wire, self.outside = f"{lab.PREFIX}-wire", f"{lab.PREFIX}-outside"
        self.nodes, self.pods, self.ranges = {}, {}, {}
        for number in range(1, self.count + 1):
            node = lab.Node(f"n{number}")
            node.addresses = {4: f"172.18.0.1{number}", 6: f"fd00:172:18::1{number}"}
            self.nodes[node.name] = node
            self.ranges[node.name] = {4: f"10.244.{number}.0/24",
                                      6: f"fd00:10:244:{number}::/64"}
        self._lock = None

    def node_object(self, name):
        return {
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": self.labels.get(name, {}),
                         "annotations": self.annotations.get(name, {})},
            "spec": {"podCIDRs": list(self.ranges[name].values())},
            "status": {"addresses": [{"type": "InternalIP", "address": address}
                                     for address in self.nodes[name].addresses.values()]}}

    def objects(self, file, things):
        self.write_manifest(f"{file}.yaml", yaml.safe_dump_all(list(things)))

    def up(self, say=lambda _: None):
        self.down()
        self.manifests.mkdir(parents=True)
        self.objects("nodes", map(self.node_object, self.nodes))
        self.objects("pools", [thing("IPPool", f"v{family}", {"cidr": cidr})
                               for family, cidr in POOLS.items()])
        self.objects("bgp", self.start_objects)
        self.make_bridge()
        for name, node in self.nodes.items():
            netns.create(node.namespace)
            self.join_wire(name, node.namespace, node.addresses)
            node.write_config(self.manifests, bgp="true", **self.config)
        self.make_routers()
        lab.in_parallel(lambda node: node.start(), self.nodes.values(), 3)
        lab.in_parallel(lambda node: node.start_bird(), self.nodes.values(), 6)

    def make_routers(self):
        """Peers of another make."""

    # ---- what is known ----

    def peers(self, node, established=True):
        """Addresses of a node's peers with a session, or without."""
        return {p["address"] for p in self.nodes[node].ctl("bgp")["peers"]
                if p["established"] is established}

    def podwire_routes(self, node):
        return {r["prefix"] for r in self.nodes[node].ctl("routes")}

    def kill(self, node):
        """As if its power were cut: nothing of it says goodbye on the wire."""
        netns.ip("-n", self.wire, "link", "set", node, "down")

    def revive(self, node):
        netns.ip("-n", self.wire, "link", "set", node, "up")

    # ---- pods ----

    def pod(self, name, node):
        """A pod that serves its name by HTTP. Its object was just written: a runtime asks again
        until podwired knows it."""
        pod = lab.Pod.__new__(lab.Pod)
        pod.name, pod.kube_namespace, pod.node = name, "default", node
        pod.namespace = f"{lab.PREFIX}-{name}"
        netns.create(pod.namespace)

        def attached():
            try:
                return self.nodes[node].cni("ADD", pod.container, pod.namespace, ("default", name))
            except RuntimeError as error:
                if "is not known to podwired yet" not in str(error):
                    raise
                return None
        result = netns.wait_until(attached, 10, f"podwired knows {name}")
        pod.addresses = {6 if ":" in ip["address"] else 4: ip["address"].split("/")[0]
                         for ip in result["ips"]}
        log = lab.FOLDER / f"{name}.log"
        process = netns.spawn(pod.namespace, [
            sys.executable, "-u", str(lab.ROOT / "tests/lib/pod_program.py"), name,
            str(HTTP_PORT)], log)
        netns.wait_until(lambda: "serving" in log.read_text(), 20, f"the program of {name}",
                         process)
        self.pods[name] = pod
        return pod

    @contextlib.contextmanager
    def pinging(self, pod, address):
        """A packet every 10 ms during the block; yields what is known of them afterwards."""
        log = lab.FOLDER / f"{pod.name}.ping"
        log.unlink(missing_ok=True)
        process = netns.spawn(pod.namespace, ["ping", "-i", "0.01", "-W", "2", address], log)
        seen = {}
        netns.wait_until(lambda: "bytes from" in log.read_text(), 10, "the first answer", process)
        try:
            yield seen
        finally:
            asked = len(log.read_text().splitlines())
            netns.wait_until(lambda: len(log.read_text().splitlines()) > asked, 10,
                             f"an answer to {pod.name}", process)
            process.send_signal(signal.SIGINT)
            process.wait(10)
        sent, got = re.search(r"(\d+) packets transmitted, (\d+) received",
                              log.read_text()).groups()
        seen.update(sent=int(sent), lost=int(sent) - int(got))

    @contextlib.contextmanager
    def route_changes(self, node):
        """What Linux there says of bird's routes during the block, a line each."""
        log = lab.FOLDER / f"{node}.monitor"
        log.unlink(missing_ok=True)
        lines = []
        process = netns.spawn(self.nodes[node].namespace, ["ip", "monitor", "route"], log)
        mark = "203.0.113.99"  # to see that it listens, and has heard all

        def heard(times):
            netns.ip("-n", self.nodes[node].namespace, "route", "add", "blackhole", mark)
            netns.ip("-n", self.nodes[node].namespace, "route", "del", "blackhole", mark)
            return log.read_text().count(f"Deleted blackhole {mark}") >= times
        try:
            netns.wait_until(lambda: heard(1), 10, "ip monitor", process)
            yield lines
            marks = log.read_text().count(f"Deleted blackhole {mark}")
            netns.wait_until(lambda: heard(marks + 1), 10, "ip monitor", process)
        finally:
            process.terminate()
            process.wait(10)
        lines += [line for line in log.read_text().splitlines() if "proto bird" in line]

    def get(self, namespace, address, timeout_s=2):
        """The name of the pod that answers at the address; None: nobody does."""
        done = netns.run(namespace, ["curl", "-s", "-m", str(timeout_s),
                                     f"http://{address}:{HTTP_PORT}/"], timeout_s + 5)
        return json.loads(done.stdout)["pod"] if done.returncode == 0 else None


def pod_object(name, node, **labels):
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": labels},
            "spec": {"nodeName": node, "containers": [{"name": "main", "image": "none"}]}}


_up = None


def end():
    global _up
    if _up is not None:
        _up.down()
        _up.unlock()
    _up = None


class Case(unittest.TestCase):
    topology = BgpLab
    missing = None  # a program that the topology needs
    maxDiff = 2000

    def setUp(self):
        global _up
        needed = self.topology.needs()
        if needed is not None:
            self.skipTest(needed)
        if type(_up) is not self.topology:
            end()
            one = self.topology()
            one.lock()
            _up = one
            one.up()
        self.lab = _up

    def eventually(self, condition, what, timeout_s=20):
        """Waits; returns how long it took."""
        began = time.monotonic()
        netns.wait_until(condition, timeout_s, what)
        return time.monotonic() - began

    def equal_soon(self, seen, wanted, timeout_s=20):
        """`seen()` becomes `wanted`; a failure shows the difference. Returns how long it took."""
        began = time.monotonic()
        while (now := seen()) != wanted and time.monotonic() - began < timeout_s:
            time.sleep(0.02)
        self.assertEqual(now, wanted)
        return time.monotonic() - began

    def problem(self, node, part, timeout_s=20):
        """Waits for the problem of a node that has this in it."""
        found = []

        def said():
            found[:] = [p for p in self.lab.nodes[node].problems() if part in p]
            return found
        try:
            netns.wait_until(said, timeout_s, f"{node} says {part!r}")
        except TimeoutError:
            self.fail(f"{part!r} is not in {self.lab.nodes[node].problems()}")
        return found[0]

    def no_problem(self, node, timeout_s=20):
        self.equal_soon(self.lab.nodes[node].problems, [], timeout_s)


def kill_now(process):
    """kill -9, of a program that was started behind `ip netns exec`."""
    process.send_signal(signal.SIGKILL)
    process.wait(10)


def missing_program(*paths):
    """Why a topology cannot be made here, or None."""
    for path in paths:
        if not os.access(path, os.X_OK):
            return f"{path} is not installed: scripts/install test"
    return None


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=20)
