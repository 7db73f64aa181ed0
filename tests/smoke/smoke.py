"""One node with a peer on its wire, for tests of what goes wrong on a node.

with node() as n: n.start(); pod = n.pod("web", "10.244.1.10"); n.ping("peer", ...)
"""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

import cni_list  # noqa: E402, F401
import lab  # noqa: E402
import netns  # noqa: E402

NODE, PEER = "172.18.0.11", "172.18.0.100"
MANIFESTS = """apiVersion: v1
kind: Node
metadata: {name: node-a}
spec: {podCIDRs: [10.244.1.0/24]}
status: {addresses: [{type: InternalIP, address: 172.18.0.11}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: default}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: default}
spec: {nodeName: node-a, containers: [{name: main, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: default}
spec: {nodeName: node-a, containers: [{name: main, image: none}]}
"""


def many_pods(count, cidr):
    """The node with this range, and Pods p0, p1, ... on it."""
    return MANIFESTS.replace("10.244.1.0/24", cidr) + "".join(
        f"---\n{{apiVersion: v1, kind: Pod, metadata: {{name: p{i}, namespace: default}}, "
        "spec: {nodeName: node-a, containers: [{name: m, image: none}]}}\n" for i in range(count))


class SmokeNode(lab.Node):
    def __init__(self):
        super().__init__("node-a")
        self.prefix = f"{lab.PREFIX}-smoke"
        self.namespace, self.peer = f"{self.prefix}-node", f"{self.prefix}-peer"
        self.folder = Path("/run") / self.prefix
        self.run_dir, self.log = self.folder / "run", self.folder / "podwired.log"
        self.config, self.manifests = self.folder / "podwired.conf", self.folder / "manifests"
        self.pods = {}

    def up(self):
        self.down()
        self.manifests.mkdir(parents=True)
        (self.manifests / "cluster.yaml").write_text(MANIFESTS)
        netns.create(self.namespace)
        netns.create(self.peer)
        netns.ip("-n", self.peer, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0",
                 "netns", self.namespace)
        for name, address in ((self.namespace, NODE), (self.peer, PEER)):
            netns.ip_batch(name, ["link set eth0 up", f"addr add {address}/24 dev eth0"])
            subprocess.run(["ip", "netns", "exec", name, "ethtool", "-K", "eth0", "tx", "off"],
                           capture_output=True, check=True)
        netns.ip("-n", self.peer, "route", "add", "10.244.0.0/16", "via", NODE)
        self.write_config(self.manifests)

    def down(self):
        names = netns.ip("netns", "list").split()
        netns.remove([n for n in names if n.startswith(f"{self.prefix}-")])
        shutil.rmtree(self.folder, ignore_errors=True)

    def add_objects(self, documents, **labels):
        """Before start(): YAML documents beside its own, and the label app of pods a and b."""
        manifest = self.manifests / "cluster.yaml"
        text = manifest.read_text()
        for pod, app in labels.items():
            text = text.replace(f"{{name: {pod}, namespace: default}}",
                                f"{{name: {pod}, namespace: default, labels: {{app: {app}}}}}")
        manifest.write_text(text + documents)

    def pod(self, name):
        """Attaches a pod as a runtime does; returns its address."""
        namespace = f"{self.prefix}-{name}"
        netns.create(namespace)
        result = self.cni("ADD", name, namespace, ("default", name))
        self.pods[name] = namespace
        return result["ips"][0]["address"].split("/")[0]

    def plugin(self, **keys):
        """podwire-cni in a network configuration list."""
        return {"type": "podwire-cni", "runDir": str(self.run_dir),
                "stateDir": str(self.folder / "state"), **keys}

    def sandbox(self, name):
        """A pod's network namespace before its ADD; returns its path."""
        self.pods[name] = f"{self.prefix}-{name}"
        netns.create(self.pods[name])
        return netns.path(self.pods[name])

    def left_behind(self):
        """Files of attachments in state-dir."""
        return sorted(str(f.relative_to(self.folder / "state"))
                      for f in (self.folder / "state").rglob("*") if f.is_file())

    def ping(self, pod, address, timeout_s=2):
        return netns.run(self.pods[pod], ["ping", "-n", "-c", "1", "-W", str(timeout_s),
                                          address]).returncode == 0

    def refuses_to_start(self, manifests=None, **overrides):
        """What podwired says when it is started with these values; it must end by itself."""
        self.write_config(manifests or self.manifests, **overrides)
        done = netns.run(self.namespace, [lab.program("podwired"), "--config", str(self.config)],
                         timeout_s=20, env=lab.clean_environment())
        assert done.returncode not in (0, -6, -11), \
            f"exit code {done.returncode}: {done.stderr[-500:]}"
        sentences = [line for line in done.stderr.strip().splitlines() if line]
        assert sentences, "it says nothing"
        return sentences[-1]


@contextlib.contextmanager
def node():
    one = SmokeNode()
    try:
        one.up()
        yield one
    finally:
        one.down()
