"""The lab: two nodes and an outside host as network namespaces on one wire, podwired and bird on
each node, pods attached by executing podwire-cni.

    pw-node-a ── eth0 ─┐
    pw-node-b ── eth0 ─┼─ bridge in pw-wire          pw-web-a, pw-client-a, ... : the pods
    pw-outside ─ eth0 ─┘

Everything the lab makes is in namespaces of its prefix and in one folder under /run, so that what a
killed run left behind is found and removed.
"""

import concurrent.futures
import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import netns
import yaml

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "conf/examples/two-nodes"
PREFIX = os.environ.get("LAB_PREFIX", "pw")
FOLDER = Path("/run") / f"{PREFIX}-lab"
BUILD = Path(os.environ.get("LAB_BUILD", ROOT / "build"))

OUTSIDE = {4: "172.18.0.100", 6: "fd00:172:18::100"}
NODE_ADDRESSES = {"node-a": {4: "172.18.0.11", 6: "fd00:172:18::11"},
                  "node-b": {4: "172.18.0.12", 6: "fd00:172:18::12"}}
TUNNEL_ADDRESSES = {"node-a": "10.244.1.250", "node-b": "10.244.2.250"}
# Reached from outside through node-a: where external and load-balancer addresses would be routed.
PUBLIC_RANGES = ["203.0.113.0/24", "fd00:203:113::/64"]
SERVICE_RANGES = ["10.96.0.0/16", "fd00:10:96::/112"]
HTTP_PORT, HOST_HTTP_PORT = 8080, 8088


def program(name):
    """The path of a built program, wherever meson puts it."""
    for folder in ("", "dataplane", "control", "control/ctl", "cni-shim"):
        candidate = BUILD / folder / name
        if candidate.is_file():
            return str(candidate)
    raise FileNotFoundError(f"{name} is not in {BUILD}: run scripts/build")


def log_tail(path, lines=15):
    with contextlib.suppress(OSError):
        return "".join(Path(path).read_text(errors="replace").splitlines(True)[-lines:])
    return ""


class Node:
    """One node: its namespace and its podwired."""

    def __init__(self, name):
        self.name, self.namespace = name, f"{PREFIX}-{name}"
        self.addresses = NODE_ADDRESSES.get(name, {})
        self.folder = FOLDER / name
        self.run_dir, self.log = self.folder / "run", self.folder / "podwired.log"
        self.config = self.folder / "podwired.conf"
        self.environment = {}
        self.process = self.bird = None
        self.speaks_bgp = False

    def write_config(self, manifests, **overrides):
        self.run_dir.mkdir(parents=True, exist_ok=True)
        values = {
            "node-name": self.name, "manifests": manifests, "uplink": UPLINK,
            "run-dir": self.run_dir, "state-dir": self.folder / "state",
            "eal-prefix": self.namespace, "service-range": SERVICE_RANGES,
            "packet-buffers": 8192, "large-buffers": 256, "memory-mb": 192,
            "count-policy-drops": "true",
        }
        values.update({key.replace("_", "-"): value for key, value in overrides.items()})
        self.speaks_bgp = values.get("bgp") == "true"
        lines = []
        for key, value in values.items():
            if value is None:
                continue
            for one in value if isinstance(value, list) else [value]:
                lines.append(f"{key} = {one}\n")
        self.config.write_text("".join(lines))

    def start(self, timeout_s=20):
        """Starts podwired and waits until it says that it is ready (sd_notify)."""
        notify = self.folder / "notify.sock"
        notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(notify))
            ready.settimeout(0.02)
            self.process = self.spawn(NOTIFY_SOCKET=str(notify))
            (self.folder / "pid").write_text(str(self.process.pid))

            def said_ready():
                with contextlib.suppress(TimeoutError):
                    return b"READY=1" in ready.recv(4096)
                return False

            try:
                netns.wait_until(said_ready, timeout_s, f"podwired of {self.name} ready",
                                 self.process)
            except (RuntimeError, TimeoutError) as error:
                raise RuntimeError(f"{error}\n{log_tail(self.log)}") from None

    def start_bird(self):
        """Starts bird, which reads what podwired has written for it, and waits until podwired has
        found it."""
        netns.wait_until((self.folder / "state/bird.conf").exists, 10,
                         f"bird's configuration on {self.name}", self.process)
        self.bird = netns.spawn(
            self.namespace, [str(ROOT / "conf/podwire-bird"), str(self.folder / "state/bird.conf"),
                             str(self.run_dir / "bird.ctl"), "-P", str(self.folder / "bird.pid")],
            self.folder / "bird.log")
        netns.wait_until(lambda: self.ctl("bgp")["connected"], 10, f"bird of {self.name}",
                         self.bird)

    def spawn(self, **environment):
        return netns.spawn(self.namespace, [*self.command(), "--config", str(self.config)],
                           self.log, env={**clean_environment(), **self.environment, **environment})

    def command(self):
        return [program("podwired")]

    def stop(self, signal_number=15, timeout_s=10):
        """Ends podwired and returns its exit code (None when it was not our child)."""
        pid = self.process.pid if self.process else int((self.folder / "pid").read_text())
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal_number)
        if self.process is not None:
            return self.process.wait(timeout_s)
        netns.wait_until(lambda: not os.path.exists(f"/proc/{pid}"), timeout_s, "podwired's end")
        return None

    def ctl(self, *arguments):
        """What `podwirectl ... --json` says."""
        done = subprocess.run(
            [program("podwirectl"), "--run-dir", str(self.run_dir), *arguments, "--json"],
            capture_output=True, text=True, timeout=10, env=clean_environment())
        if done.returncode not in (0, 3):  # 3: status of one that is not synced
            raise RuntimeError(f"podwirectl {' '.join(arguments)}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def explain(self, source, destination, port, protocol="TCP"):
        """(exit status, answer) of `podwirectl explain`."""
        done = subprocess.run(
            [program("podwirectl"), "--run-dir", str(self.run_dir), "explain", "--json",
             "--from", source, "--to", destination, "--port", str(port), "--protocol", protocol],
            capture_output=True, text=True, timeout=10, env=clean_environment())
        if not done.stdout:
            raise RuntimeError(f"podwirectl explain: {done.stderr.strip()}")
        return done.returncode, json.loads(done.stdout)

    def counters(self):
        """The ledger, with what was dropped by reason."""
        seen = self.ctl("drops")
        return {**seen["ledger"], "drops": {r["reason"]: r["packets"] for r in seen["reasons"]}}

    def problems(self):
        """Input that podwired has refused and that still is wrong: one sentence each."""
        return self.ctl("status")["problems"]

    def drops(self, reason):
        """How many packets this node has dropped for `reason`."""
        return self.counters()["drops"].get(reason, 0)

    def ledger_difference(self, timeout_s=5):
        """(received + originated - sent - dropped - held, the counters), given time to settle."""
        deadline = time.monotonic() + timeout_s
        while True:
            c = self.counters()
            missing = c["received"] + c["originated"] - c["sent"] - sum(c["drops"].values()) \
                - c["holding"]
            if missing == 0 or time.monotonic() > deadline:
                return missing, c
            time.sleep(0.02)

    def cni(self, command, container, namespace, pod=None, timeout_s=10):
        """Executes podwire-cni as a container runtime does; returns its result as JSON."""
        configuration = {"cniVersion": "1.0.0", "name": "podwire", "type": "podwire",
                         "runDir": str(self.run_dir), "stateDir": str(self.folder / "state")}
        environment = {
            "CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_IFNAME": "eth0",
            "CNI_NETNS": netns.path(namespace), "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": "" if pod is None else
            f"IgnoreUnknown=1;K8S_POD_NAMESPACE={pod[0]};K8S_POD_NAME={pod[1]};"
            f"K8S_POD_INFRA_CONTAINER_ID={container}"}
        done = subprocess.run([program("podwire-cni")], input=json.dumps(configuration), text=True,
                              capture_output=True, timeout=timeout_s,
                              env={**clean_environment(), **environment})
        if done.returncode:
            raise RuntimeError(f"podwire-cni {command} {container}: "
                               f"{done.stdout.strip() or done.stderr.strip()}")
        return json.loads(done.stdout) if done.stdout.strip() else {}


# What podwired polls on the wire.
UPLINK = os.environ.get("LAB_UPLINK", "net_af_packet0,iface=eth0,qdisc_bypass=1")


def clean_environment():
    return {k: v for k, v in os.environ.items() if not k.startswith(("PODWIRE_", "CNI_"))}


class Pod:
    def __init__(self, manifest):
        meta = manifest["metadata"]
        self.name, self.kube_namespace = meta["name"], meta.get("namespace", "default")
        self.node = manifest["spec"]["nodeName"]
        self.namespace = f"{PREFIX}-{self.name}"
        addresses = json.loads(meta["annotations"]["cni.projectcalico.org/ipAddrs"])
        self.addresses = {6 if ":" in a else 4: a for a in addresses}
        self.serves = "ports" in manifest["spec"]["containers"][0]
        self.result = None

    @property
    def container(self):
        return f"lab-{self.name}"


class Lab:
    def __init__(self):
        self.manifests = FOLDER / "manifests"
        self.wire, self.outside = f"{PREFIX}-wire", f"{PREFIX}-outside"
        self.nodes = {name: Node(name) for name in NODE_ADDRESSES}
        self.pods = {}
        for document in yaml.safe_load_all((MANIFESTS / "pods.yaml").read_text()):
            pod = Pod(document)
            self.pods[pod.name] = pod
        self._lock = None

    # ---- up and down ----

    def lock(self):
        """One lab of a prefix at a time."""
        self._lock = open(f"/run/{PREFIX}-lab.lock", "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RuntimeError("another lab is running; wait for it, or end it") from None

    def unlock(self):
        self._lock.close()

    def namespaces(self):
        return [n for n in os.listdir("/run/netns") if n.startswith(f"{PREFIX}-")] \
            if os.path.isdir("/run/netns") else []

    def down(self):
        names = self.namespaces()
        nodes = [n.namespace for n in self.nodes.values()]
        netns.end_processes([n for n in names if n not in nodes], 0.5)
        netns.remove(names)  # podwired after the pods' programs: nobody is left to be surprised
        shutil.rmtree(FOLDER, ignore_errors=True)

    def up(self, say=lambda _: None):
        self.down()
        FOLDER.mkdir(parents=True)
        shutil.copytree(MANIFESTS, self.manifests, ignore=shutil.ignore_patterns("*.md"))
        say("wiring two nodes and an outside host")
        self.make_wire()
        self.give_objects()
        say("starting podwired and bird on both nodes")
        in_parallel(lambda node: node.start(), self.nodes.values())
        in_parallel(lambda node: node.start_bird(),
                    [node for node in self.nodes.values() if node.speaks_bgp])
        say(f"attaching {len(self.pods)} pods")
        in_parallel(self.attach, self.pods.values())
        say("starting the pods' programs")
        self.start_programs()

    def give_objects(self):
        """Says where each node has its objects from."""
        for node in self.nodes.values():
            node.write_config(self.manifests, bgp="true")

    def make_bridge(self):
        netns.create(self.wire)
        netns.ip_batch(self.wire, ["link add br0 type bridge forward_delay 0 mcast_snooping 0",
                                   "link set br0 up"])
        # A bridge whose namespace filters bridged packets would also reassemble them.
        with netns.inside(self.wire):
            for family in ("ip", "ip6", "arp"):
                with contextlib.suppress(OSError):
                    Path(f"/proc/sys/net/bridge/bridge-nf-call-{family}tables").write_text("0")

    def make_wire(self):
        self.make_bridge()
        for name, namespace, addresses in (
                ("node-a", self.nodes["node-a"].namespace, NODE_ADDRESSES["node-a"]),
                ("node-b", self.nodes["node-b"].namespace, NODE_ADDRESSES["node-b"]),
                ("outside", self.outside, OUTSIDE)):
            netns.create(namespace)
            self.join_wire(name, namespace, addresses)
        netns.ip_batch(self.outside, [
            f"route add {PUBLIC_RANGES[0]} via {NODE_ADDRESSES['node-a'][4]}",
            f"route add {PUBLIC_RANGES[1]} via {NODE_ADDRESSES['node-a'][6]}"])

    def join_wire(self, name, namespace, addresses):
        """Puts the namespace's eth0 on the wire, whose port is called `name`."""
        netns.ip_batch(self.wire, [
            f"link add {name} type veth peer name eth0 netns {namespace}",
            f"link set {name} master br0 up"])
        netns.ip_batch(namespace, [
            "link set eth0 up", f"addr add {addresses[4]}/24 dev eth0",
            f"addr add {addresses[6]}/64 dev eth0 nodad"])
        # What leaves a kernel peer is finished: real checksums, no super-packets.
        subprocess.run(["ip", "netns", "exec", namespace, "ethtool", "-K", "eth0", "tx", "off",
                        "rx", "off", "tso", "off", "gso", "off", "gro", "off"],
                       capture_output=True, check=True)

    def attach(self, pod):
        """What a container runtime does: a namespace with lo up, then the plugin."""
        netns.create(pod.namespace)
        pod.result = self.nodes[pod.node].cni("ADD", pod.container, pod.namespace,
                                              (pod.kube_namespace, pod.name))
        (FOLDER / f"{pod.name}.cni.json").write_text(json.dumps(pod.result, indent=2))
        got = {6 if ":" in ip["address"] else 4: ip["address"].split("/")[0]
               for ip in pod.result["ips"]}
        if got != pod.addresses:
            raise RuntimeError(f"pod {pod.name} was given {got} instead of {pod.addresses}")
        if pod.name.startswith("wide"):
            netns.ip("-n", pod.namespace, "link", "set", "eth0", "mtu", "1500")

    def start_programs(self):
        """Starts what serves, and waits until it does."""
        serving = []
        for pod in self.pods.values():
            if pod.serves:
                serving.append((pod.namespace, pod.name, [HTTP_PORT, 8081]))
                netns.spawn(pod.namespace, ["iperf3", "-s", "-p", "5201"],
                            FOLDER / f"{pod.name}.iperf3.log")
        for node in self.nodes.values():
            serving.append((node.namespace, node.name, [HOST_HTTP_PORT]))
        serving.append((self.outside, "outside", [HTTP_PORT]))
        logs = []
        for namespace, name, ports in serving:
            log = FOLDER / f"{name}.log"
            process = netns.spawn(
                namespace, [sys.executable, "-u", str(ROOT / "tests/lib/pod_program.py"), name,
                            *map(str, ports)], log)
            logs.append((log, name, process))
        for log, name, process in logs:
            netns.wait_until(lambda log=log: "serving" in log.read_text(), 20,
                             f"the program of {name}", process)

    # ---- inside ----

    def namespace_of(self, who):
        """The namespace of a pod, a node or the outside host, by its name."""
        if who in self.pods:
            return self.pods[who].namespace
        return self.outside if who == "outside" else self.nodes[who].namespace

    def linux_routes(self, who, family):
        """What BIRD has taught Linux there: gateway by prefix."""
        done = self.run(who, "ip", f"-{family}", "-j", "route", "show", "proto", "bird")
        return {r["dst"]: r.get("gateway") for r in json.loads(done.stdout or "[]")}

    def run(self, who, *command, timeout_s=10):
        return netns.run(self.namespace_of(who), command, timeout_s)

    def socket(self, who, family, kind, protocol=0):
        return netns.open_socket(self.namespace_of(who), family, kind, protocol)

    def write_manifest(self, name, text):
        """Replaces one file of the folder as an editor or kubelet does: written aside, renamed."""
        aside = FOLDER / f".{name}.new"
        aside.write_text(text)
        os.rename(aside, self.manifests / name)


def in_parallel(function, items, workers=4):
    """function(item) for all, in their order; raises the first error after all have ended."""
    items = list(items)
    with concurrent.futures.ThreadPoolExecutor(min(workers, max(1, len(items)))) as pool:
        return [f.result() for f in [pool.submit(function, item) for item in items]]


class Capture:
    """Frames that pass one port of the wire, collected by a thread while the block runs."""

    def __init__(self, lab, port):
        self.frames = []
        self._socket = netns.open_socket(lab.wire, socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.bind((port, 3))  # ETH_P_ALL
        self._socket.settimeout(0.05)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._collect, daemon=True)

    def _collect(self):
        while not self._ends.is_set():
            with contextlib.suppress(TimeoutError):
                self.frames.append(self._socket.recv(65535))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ends.set()
        self._thread.join()
        self._socket.close()

    def wait_for(self, wanted, timeout_s=3):
        """The first frame for which `wanted(frame)` is true; None when none comes."""
        deadline = time.monotonic() + timeout_s
        seen = 0
        while True:
            for frame in self.frames[seen:]:
                if wanted(frame):
                    return frame
            seen = len(self.frames)
            if time.monotonic() > deadline:
                return None
            time.sleep(0.005)
