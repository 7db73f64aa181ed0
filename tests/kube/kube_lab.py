"""The lab of tests/lib on a real API server, which stands on the lab's wire like any other host:
podwired reaches it over the uplink that it moves packets on itself.

The objects are those of conf/examples/two-nodes, created through the API. What kubelet would do is
done here: a Pod has its addresses and is ready once the plugin has attached it.
"""

import contextlib
import os
import shutil
import socket
import threading
import time

import checks
import lab
import netns
import yaml
from client import ApiError, CLUSTER_SCOPED, GROUPS, plural
from cluster import ADDRESS, PORT
from proxy import Proxy

MANIFESTS = lab.MANIFESTS
ADDRESS_V6 = "fd00:172:18::50"
PROXY_PORT = 7444
POD_RANGES = ("10.244.", "fd00:10:244:")
MOUNT = "/run/secrets/kubernetes.io/serviceaccount"
ACCOUNT = ("podwire", "kube-system")


def definition(kind):
    """A custom resource that others define, without its schema, which podwire does not need."""
    group, version = GROUPS[kind].removeprefix("/apis/").split("/")
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural(kind)}.{group}",
                     # Kubernetes' own groups are for those whose API was reviewed.
                     "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"}},
        "spec": {
            "group": group, "scope": "Cluster" if kind in CLUSTER_SCOPED else "Namespaced",
            "names": {"kind": kind, "plural": plural(kind), "singular": kind.lower()},
            "versions": [{
                "name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}}


class KubeLab(lab.Lab):
    """node-a has its connections to the API server cut where a test says; node-b has it direct."""

    def __init__(self, cluster):
        super().__init__()
        self.cluster, self.admin = cluster, cluster.admin
        self.token_file = cluster.folder / "podwire.token"
        self.proxy = None

    def down(self):
        super().down()
        if self.proxy is not None:
            self.proxy.close()

    def make_wire(self):
        super().make_wire()
        self.join_wire("kube", self.cluster.namespace, {4: ADDRESS, 6: ADDRESS_V6})
        self.proxy = Proxy(self.cluster.namespace, PROXY_PORT, ("127.0.0.1", PORT))

    def give_objects(self):
        for kind in ("IPPool", "ClusterNetworkPolicy", "BGPConfiguration", "BGPPeer", "BGPFilter"):
            self.define(kind)
        for path in sorted(self.manifests.glob("*.yaml")):
            for thing in yaml.safe_load_all(path.read_text()):
                self.create(thing)
        self.renew_token()
        self.configure(self.nodes["node-a"], PROXY_PORT)
        self.configure(self.nodes["node-b"])

    def define(self, kind):
        self.admin.create(definition(kind))
        netns.wait_until(lambda: self.served(kind), 20, f"the API server serves {kind}")

    def served(self, kind):
        try:
            self.admin.list(kind)
        except ApiError as error:
            if error.code not in (404, 429):  # 429: its storage is being made
                raise
            return False
        return True

    def create(self, thing):
        """Makes an object of a manifest, and gives it the status that it has there."""
        meta, kind = thing["metadata"], thing["kind"]
        if "projectcalico.org" in thing["apiVersion"]:
            thing["apiVersion"] = GROUPS[kind].removeprefix("/apis/")
        if kind == "Pod":
            netns.wait_until(lambda: self.admin.exists("ServiceAccount", "default",
                                                       meta["namespace"]), 60, "an account")
        if self.admin.exists(kind, meta["name"], meta.get("namespace")):
            return
        self.admin.create(thing)
        if "status" in thing:
            self.admin.set_status(kind, meta["name"], thing["status"], meta["namespace"])

    def renew_token(self, secret=None):
        """A new token in podwire's file, put there as kubelet does: written aside, renamed. It dies
        with `secret`. Returns the token."""
        aside, token = self.token_file.with_suffix(".new"), self.admin.token_of(*ACCOUNT, secret)
        aside.write_text(token)
        aside.rename(self.token_file)
        return token

    def configure(self, node, port=PORT, authority=None):
        """podwired of this node reads from the server at this port."""
        kubeconfig = self.cluster.write_kubeconfig(
            f"{node.namespace}.conf", f"https://{ADDRESS}:{port}", token_file=self.token_file,
            authority=authority)
        # The ranges of ClusterIPs are objects here.
        node.write_config(None, kubeconfig=kubeconfig, service_range=None)

    def attach(self, pod, ready=True):
        super().attach(pod)
        self.set_pod_status(pod, ready)

    def set_pod_status(self, pod, ready=True):
        self.admin.set_status("Pod", pod.name, {
            "phase": "Running", "podIP": pod.addresses[4],
            "podIPs": [{"ip": pod.addresses[family]} for family in (4, 6)],
            "conditions": [{"type": "Ready", "status": str(ready)}]}, pod.kube_namespace)


class Witness(lab.Node):
    """A podwired of node-a that has just been started, beside the wire: what it makes of the
    objects is what every other must have made of them. It has no pods and carries no packet."""

    def __init__(self, kube_lab, port=PORT, authority=None, waits=True):
        super().__init__("node-a")
        self.lab, self.port, self.authority, self.waits = kube_lab, port, authority, waits
        self.namespace, self.folder = f"{lab.PREFIX}-witness", lab.FOLDER / "witness"
        self.run_dir, self.log = self.folder / "run", self.folder / "podwired.log"
        self.config = self.folder / "podwired.conf"

    def wire(self):
        """eth0 leads nowhere; the API server is behind a link of its own."""
        netns.create(self.namespace)
        netns.ip_batch(self.namespace, [
            f"link add eth0 type veth peer name witness netns {self.lab.wire}",
            f"link add api0 type veth peer name witness netns {self.lab.cluster.namespace}",
            f"addr add {self.addresses[4]}/24 dev eth0",
            f"addr add {self.addresses[6]}/64 dev eth0 nodad",
            "addr add 198.51.100.1/30 dev api0", "link set eth0 up", "link set api0 up"])
        netns.ip_batch(self.lab.wire, ["link set witness up"])
        netns.ip_batch(self.lab.cluster.namespace, [
            "addr add 198.51.100.2/30 dev witness", "link set witness up"])
        netns.ip_batch(self.namespace, [f"route add {ADDRESS}/32 via 198.51.100.2 dev api0"])

    def __enter__(self):
        self.wire()
        self.configure()
        if self.waits:
            self.start()
        else:
            self.process = self.spawn()
        return self

    def configure(self):
        self.lab.configure(self, self.port, self.authority)

    def __exit__(self, *_):
        if self.process is not None and self.process.poll() is None:
            self.stop()
        netns.remove([self.namespace])
        shutil.rmtree(self.folder, ignore_errors=True)


    def answers_ctl(self):
        with contextlib.suppress(RuntimeError):
            return self.ctl("status")
        return None

    def code_of(self, path, host="127.0.0.1", port=10249):
        """The HTTP status code of a path."""
        return int(netns.run(self.namespace, [
            "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}",
            f"http://{host}:{port}{path}"]).stdout)


class PodWitness(Witness):
    """The same as the DaemonSet's container starts it: by its part of the ConfigMap, its variables,
    and the account's files where kubelet mounts them."""

    def __init__(self, kube_lab, container, config_map):
        super().__init__(kube_lab)
        self.container, self.data = container, config_map["data"]
        self.files = self.folder / "serviceaccount"
        self.secret, self.tokens = None, []  # the first token dies with this Secret

    def configure(self):
        self.write_account()
        self.environment = {one["name"]: self.value_of(one) for one in self.container["env"]}
        # What a test needs beside others on one machine, and not what the ConfigMap says.
        self.write_config(None, node_name=None, uplink=None, service_range=None)
        with self.config.open("a") as file:
            file.write(self.data["podwired.conf"])

    def write_account(self):
        """The account's files, all replaced at once as kubelet does (its AtomicWriter): they are
        links through `..data`, which is renamed."""
        secret, self.secret = self.secret, None
        self.tokens.append(self.lab.admin.token_of(*ACCOUNT, secret))
        folder = self.files / f"..{len(self.tokens)}"
        folder.mkdir(parents=True)
        (folder / "token").write_text(self.tokens[-1])
        shutil.copy(self.lab.cluster.authority.certificate, folder / "ca.crt")
        aside = self.files / "..data_tmp"
        aside.symlink_to(folder.name)
        aside.rename(self.files / "..data")
        for name in ("token", "ca.crt"):
            if not (self.files / name).is_symlink():
                (self.files / name).symlink_to(f"..data/{name}")
        shutil.rmtree(self.files / f"..{len(self.tokens) - 1}", ignore_errors=True)

    def value_of(self, variable):
        source = variable["valueFrom"]
        if "fieldRef" in source:
            return {"spec.nodeName": self.name}[source["fieldRef"]["fieldPath"]]
        return self.data[source["configMapKeyRef"]["key"]]

    def command(self):
        """`ip netns exec` gives it mounts of its own."""
        mount = f'mkdir -p {MOUNT} && mount --bind "$0" {MOUNT} && exec "$@"'
        return ["sh", "-c", mount, str(self.files), lab.program("podwired")]

    def __exit__(self, *_):
        super().__exit__()
        with contextlib.suppress(OSError):
            os.removedirs(MOUNT)  # as far as it is empty


def state_of(node):
    """What podwired has made of the objects: all of it that is not this node's attachments."""
    services = node.ctl("services")
    for service in services:
        del service["id"]  # numbered as they come
    policies = node.ctl("policies")
    for policy in policies:
        del policy["drops"]  # what packets came to
    status = node.ctl("status")
    return {"services": services, "policies": policies,
            "pods": sorted(pod["pod"] for pod in node.ctl("pods")),
            "nodes": sorted((r["prefix"], str(r["gateway"]), r["mtu"]) for r in node.ctl("routes")
                            if r["prefix"].startswith(POD_RANGES) and r["kind"] != "pod"),
            "objects": {kind["kind"]: kind["objects"] for kind in status["kinds"]},
            "healthy": status["sourceHealthy"], "synced": status["synced"],
            "problems": status["problems"]}


class Traffic:
    """What must not notice: a connection under way, over which a line comes every 20 ms, and new
    ones, one after another, all to a Service's address."""

    def __init__(self, kube_lab, who, address, port=80):
        self._lab, self._who, self._address, self._port = kube_lab, who, address, port
        self._ends = threading.Event()
        self.lines = self.connections = 0
        self.failures = []
        self._threads = [threading.Thread(target=one, daemon=True)
                         for one in (self._read, self._connect)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self.goes_on()
        return self

    def __exit__(self, *_):
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _read(self):
        try:
            with self._lab.socket(self._who, socket.AF_INET, socket.SOCK_STREAM) as stream:
                stream.settimeout(5)
                stream.connect((self._address, self._port))
                stream.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
                while not self._ends.is_set():
                    if not stream.recv(4096):
                        raise OSError("the server ended it")
                    self.lines += 1
        except OSError as error:
            self.failures.append(f"the connection under way: {error}")

    def _connect(self):
        while not self._ends.wait(0.02):
            try:
                checks.get(self._lab, self._who, 4, self._address, self._port, 2)
                self.connections += 1
            except checks.CheckFailed as error:
                self.failures.append(f"a new connection: {error}")

    def goes_on(self):
        """Raises when anything has failed, or nothing comes any more."""
        lines, connections = self.lines, self.connections
        netns.wait_until(lambda: self.failures or
                         (self.lines > lines and self.connections > connections), 5,
                         "lines and new connections")
        if self.failures:
            raise AssertionError("; ".join(self.failures[:3]))
