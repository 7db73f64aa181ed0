"""What the systems of Linux's own stack have in common: a router in a network namespace.

    namespace versus-wire: generator (AF_XDP) ── vs-wire ══ veth ══ vs-node ── namespace versus-node

Each end of the veth pair is served by a thread of its own (threaded NAPI): that of vs-node, on the
measured core, does what a NIC's interrupt would lead to: receive, conntrack, rules, routing and
transmission. Its run time is what a packet costs; the scheduler measures it to the nanosecond.
"""

import os
from pathlib import Path

import netns
import scene as scene_module
from contest import must
from systems import Counters, System

NODE, WIRE = "versus-node", "versus-wire"
SETTINGS = ["net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0",
            "net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.vs-node.send_redirects=0",
            "net.ipv4.conf.vs-node.rp_filter=0", "net.netfilter.nf_conntrack_udp_timeout=30"]

# Like a NIC that holds its interrupts back: a queue that has run empty is looked at again after
# 50 us. Without it each packet that meets an idle thread costs its sender a wake-up, in a virtual
# machine an exit to the hypervisor, and the measured core pays for those of the generator's thread.
NAPI = {"threaded": 1, "napi_defer_hard_irqs": 1_000_000, "gro_flush_timeout": 50_000}
LIMIT = Path("/proc/sys/net/netfilter/nf_conntrack_max")


def napi_thread(device):
    """The kernel thread that serves the device's only queue."""
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and \
                    (folder / "comm").read_text().startswith(f"napi/{device}"):
                return int(folder.name)
        except OSError:  # has ended meanwhile
            continue
    raise RuntimeError(f"the kernel gives {device} no NAPI thread")


class KernelSystem(System):
    generator_namespace = WIRE
    old_limit = None

    def start(self):
        for name in (NODE, WIRE):
            netns.create(name)
        netns.ip("link", "add", "vs-node", "address", self.scene.router_mac, "numrxqueues", "1",
                 "numtxqueues", "1", "netns", NODE, "type", "veth", "peer", "name", "vs-wire",
                 "address", self.scene.generator_mac, "numrxqueues", "1", "numtxqueues", "1",
                 "netns", WIRE)
        netns.ip_batch(NODE, ["link set vs-node up", f"addr add {scene_module.NODE}/24 dev vs-node",
                              f"neigh add {scene_module.GENERATOR} lladdr "
                              f"{self.scene.generator_mac} dev vs-node nud permanent",
                              f"route add {scene_module.CLIENTS} via {scene_module.GENERATOR}",
                              f"route add {scene_module.BACKENDS} via {scene_module.GENERATOR}"])
        netns.ip("-n", WIRE, "link", "set", "vs-wire", "up")
        for name, device, core in ((NODE, "vs-node", self.core),
                                   (WIRE, "vs-wire", self.other_core)):
            must(name, "ethtool", "-K", device, "gro", "on", *"tso off gso off tx off".split())
            for setting, value in NAPI.items():
                must(name, "sh", "-c", f"echo {value} > /sys/class/net/{device}/{setting}")
            thread = napi_thread(device)
            os.sched_setaffinity(thread, {core})
            os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(1))
        self.thread = napi_thread("vs-node")
        for setting in SETTINGS:
            must(NODE, "sysctl", "-qw", setting)
        # The limit is the whole machine's, so it is put back.
        if int(LIMIT.read_text()) < self.flows:
            self.old_limit = LIMIT.read_text()
            LIMIT.write_text(str(self.flows))
        self.load_rules()

    def load_rules(self):
        raise NotImplementedError

    def device(self):
        return "net_af_xdp0,iface=vs-wire,force_copy=1,busy_budget=0"

    def counters(self):
        run_ns = int(Path(f"/proc/{self.thread}/schedstat").read_text().split()[0])
        with netns.inside(NODE):
            table = Path("/proc/thread-self/net/dev").read_text()
        fields = next(line for line in table.splitlines() if "vs-node:" in line).split()
        return Counters(packets=int(fields[10]), busy_ns=run_ns)

    def stop(self):
        netns.remove([NODE, WIRE])
        if self.old_limit is not None:
            LIMIT.write_text(self.old_limit)
            self.old_limit = None
