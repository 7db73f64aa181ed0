"""What the systems of Linux's own stack have in common: pods' interfaces as Calico makes them.

    pod's namespace: POD ══ veth ══ caliXXXXXXXXXXX: the node's namespace
    address /32, default by 169.254.1.1      route to the /32, answers every ARP request

Each end of a veth pair is served by a thread of its own (threaded NAPI): those of the node's ends
on the measured core, where they do what a packet of a pod costs the node; the scheduler measures
their time to the nanosecond. Those of the pods' ends are beside the pods' programs. With
cores.inline there are no threads: whoever sends does all of it, to the receiver's socket.
"""

import os
import subprocess
import time
from pathlib import Path

import calico
import netns
import scene as scene_module
from contest import must
from systems import System, run_ns

LIMIT = Path("/proc/sys/net/netfilter/nf_conntrack_max")
GATEWAY = "169.254.1.1"
SETTINGS = ["net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0",
            "net.ipv4.conf.all.send_redirects=0"]
# Short, so that what ended makes room: the kernel's table is in the way of nobody.
TIMEOUTS = ["net.netfilter.nf_conntrack_tcp_timeout_close=1",
            "net.netfilter.nf_conntrack_udp_timeout=2"]
LOAD_S = 900  # nft takes minutes for 10,000 policies


def tried(text, *command):
    """None if the kernel takes this text, in a network namespace of its own, and has what all of
    Linux's systems need; else what it lacks."""
    if not os.path.exists("/sys/class/net/lo/threaded"):
        return "the kernel has no threaded NAPI"
    done = subprocess.run(["unshare", "--net", *command], input=text, text=True,
                          capture_output=True, timeout=30)
    said = " ".join(done.stderr.split())[:200]
    return None if done.returncode == 0 else f"{command[0]}: {said or 'fails'}"


def napi_threads():
    """Process number by name of the kernel's NAPI threads: napi/DEVICE-NUMBER."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and (name := (folder / "comm").read_text().strip()) \
                    .startswith("napi/"):
                found[name] = int(folder.name)
        except OSError:  # has ended meanwhile
            continue
    return found


class KernelSystem(System):
    old_limit = None

    def start(self):
        self.threads = []
        netns.create(self.namespace())
        # The way out: the node answers ARP requests for what it has a route to elsewhere.
        netns.ip_batch(self.namespace(), [
            "link add eth0 type veth peer name wire", "link set eth0 up", "link set wire up",
            f"addr add {scene_module.NODE_ADDRESS}/24 dev eth0",
            f"route add default via {scene_module.ROUTER}"])
        for setting in SETTINGS:
            must(self.namespace(), "sysctl", "-qw", setting)
        earlier = set(napi_threads().values())
        for number, pod in enumerate(self.scene.local):
            self.add_pod(number, pod)
        if not self.cores.inline:
            self.start_threads(earlier)
        began = time.monotonic()
        self.load_rules(calico.Rules(self.scene))
        seconds = time.monotonic() - began
        # After the rules: with them conntrack has come into the namespace.
        for setting in TIMEOUTS:
            must(self.namespace(), "sysctl", "-qw", setting)
        # The limit is the whole machine's, so it is put back.
        if int(LIMIT.read_text()) < self.flows:
            self.old_limit = LIMIT.read_text()
            LIMIT.write_text(str(self.flows))
        return seconds

    def load_rules(self, rules):
        raise NotImplementedError

    def add_pod(self, number, pod):
        node, inside, outer = self.namespace(), self.namespace(pod), calico.interface(pod)
        inner = f"pod{number}"  # and not eth0, so that its thread can be told from others'
        netns.create(inside)
        netns.ip("link", "add", outer, "address", "ee:ee:ee:ee:ee:ee", "numrxqueues", "1",
                 "numtxqueues", "1", "netns", node, "type", "veth", "peer", "name", inner,
                 "numrxqueues", "1", "numtxqueues", "1", "netns", inside)
        netns.ip_batch(inside, [
            f"link set {inner} up", f"addr add {pod.address}/32 dev {inner}",
            f"route add {GATEWAY} dev {inner} scope link",
            f"route add default via {GATEWAY} dev {inner}"])
        netns.ip_batch(node, [f"link set {outer} up",
                              f"route add {pod.address} dev {outer} scope link"])
        for key in ("proxy_arp=1", "rp_filter=0", "send_redirects=0"):
            must(node, "sysctl", "-qw", f"net.ipv4.conf.{outer}.{key}")
        must(node, "sysctl", "-qw", f"net.ipv4.neigh.{outer}.proxy_delay=0")

    def start_threads(self, earlier):
        for number, pod in enumerate(self.scene.local):
            for namespace, device in ((self.namespace(), calico.interface(pod)),
                                      (self.namespace(pod), f"pod{number}")):
                # All frames go to the other end's NAPI only if none of them can be a super-packet.
                must(namespace, "ethtool", "-K", device, *"gro on tso off gso off".split())
                must(namespace, "sh", "-c", f"echo 1 > /sys/class/net/{device}/threaded")
        outer = {calico.interface(pod) for pod in self.scene.local}
        inner = {f"pod{number}" for number in range(len(self.scene.local))}
        for name, process in napi_threads().items():
            device = name.removeprefix("napi/").rpartition("-")[0]
            if process in earlier or device not in outer | inner:
                continue
            os.sched_setaffinity(process, {self.cores.system if device in outer
                                           else self.cores.pods})
            if device in outer:
                self.threads.append(process)
        if len(self.threads) != len(outer):
            raise RuntimeError(f"the kernel gives {len(self.threads)} of {len(outer)} interfaces a "
                               "NAPI thread")

    def sample(self):
        return sum(map(run_ns, self.threads))

    def busy_ns(self, before, after):
        return None if self.cores.inline else after - before

    def stop(self):
        netns.remove([name for name in self.namespaces() if netns.exists(name)])
        if self.old_limit is not None:
            LIMIT.write_text(self.old_limit)
            self.old_limit = None
