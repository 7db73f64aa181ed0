"""Open vSwitch's userspace datapath on DPDK: conntrack with NAT, a group for each Service.

Debian's openvswitch-switch-dpdk, with a database and a run folder of its own; a system's own Open
vSwitch is not touched. One PMD thread on the measured core, a memif towards the generator.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import netns
import scene as scene_module
from systems import Counters, System

VSWITCHD = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
NAMESPACE = "versus-ovs"
ZONE = 1


class OvsDpdk(System):
    name = "ovs-dpdk"
    about = "Open vSwitch on DPDK, conntrack NAT, one PMD thread, memif, no hugepages"
    generator_namespace = NAMESPACE
    receive_queues = 2  # Open vSwitch sends on one for each of its threads

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.home = self.folder / "ovs"
        self.socket = self.home / "memif.sock"
        self.processes = []

    @classmethod
    def missing(cls):
        return None if os.path.exists(VSWITCHD) else "openvswitch-switch-dpdk is not installed"

    def start(self):
        netns.create(NAMESPACE)
        self.home.mkdir(parents=True)
        self.environment = {**os.environ, **{f"OVS_{kind}DIR": str(self.home)
                                             for kind in ("RUN", "LOG", "DB", "SYSCONF")}}
        self.start_database()
        self.configure()
        self.spawn([VSWITCHD, f"unix:{self.home}/db.sock"], "vswitchd")
        self.add_bridge()
        self.load_rules()
        self.control("dpctl/ct-set-maxconns", str(max(self.flows, 3_000_000)))
        self.control("dpif-netdev/pmd-stats-clear")

    def spawn(self, command, name):
        """Starts a daemon in the foreground; it is up when its control socket is there."""
        control = self.home / f"{name}.ctl"
        process = netns.spawn(NAMESPACE, [*command, f"--unixctl={control}"],
                              self.home / f"{name}.log", env=self.environment)
        self.processes.append(process)
        netns.wait_until(control.exists, 20, f"{name}'s start", process)

    def start_database(self):
        self.run("ovsdb-tool", "create", f"{self.home}/conf.db", SCHEMA)
        self.spawn(["ovsdb-server", f"{self.home}/conf.db",
                    f"--remote=punix:{self.home}/db.sock"], "ovsdb")
        self.vsctl("--no-wait", "init")

    def configure(self):
        # Without hugepages Open vSwitch must leave out --in-memory, which --legacy-mem sees to.
        extra = "--no-huge --legacy-mem -m 1024 --no-pci --no-telemetry --file-prefix=versus-ovs"
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".",
                   "other_config:dpdk-init=true", f'other_config:dpdk-extra="{extra}"',
                   f"other_config:dpdk-lcore-mask={1 << self.other_core:#x}",
                   f"other_config:pmd-cpu-mask={1 << self.core:#x}",
                   "other_config:smc-enable=true")

    def add_bridge(self):
        arguments = (f"net_memif0,role=server,socket={self.socket},socket-abstract=no,"
                     f"mac={self.scene.router_mac}")
        self.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev",
                   "fail-mode=secure", "protocols=OpenFlow15")
        self.vsctl("add-port", "br0", "wire", "--", "set", "Interface", "wire", "type=dpdk",
                   f'options:dpdk-devargs="{arguments}"', "ofport_request=1")
        problem = self.vsctl("get", "Interface", "wire", "error").strip()
        if problem != "[]":
            raise RuntimeError(f"Open vSwitch does not take the port: {problem}")

    def load_rules(self):
        groups, flows = [], [
            # Known connections are translated here; table 1 sees what they have become.
            f"table=0,udp actions=ct(zone={ZONE},nat,table=1)",
            "table=1,priority=20,ct_state=+trk+est actions=goto_table:2",
            # Translated already, but not answered yet.
            "table=1,priority=20,ct_state=+trk+dnat actions=goto_table:2",
            f"table=2,ip actions=dec_ttl,mod_dl_src:{self.scene.router_mac},"
            f"mod_dl_dst:{self.scene.generator_mac},in_port"]
        for service in self.scene.list_services():
            group = service.number + 1
            buckets = [f"bucket=bucket_id:{n},actions=ct(commit,zone={ZONE},table=2,"
                       f"nat(dst={ip}:{self.scene.backend_port}))"
                       for n, ip in enumerate(service.backends)]
            groups.append(f"group_id={group},type=select,selection_method=dp_hash,"
                          + ",".join(buckets))
            flows += [f"table=1,priority=10,ct_state=+trk+new,udp,nw_dst={ip},"
                      f"tp_dst={self.scene.service_port} actions=group:{group}"
                      for ip in (service.address, service.cluster_ip)]
        for kind, lines in (("groups", groups), ("flows", flows)):
            path = self.home / kind
            path.write_text("\n".join(lines) + "\n")
            self.run("ovs-ofctl", "-O", "OpenFlow15", f"add-{kind}", f"{self.home}/br0.mgmt",
                     str(path))

    def device(self):
        return (f"net_memif0,role=client,socket={self.socket},socket-abstract=no,"
                f"mac={self.scene.generator_mac}")

    def counters(self):
        stats = self.control("dpif-netdev/pmd-stats-show", "-pmd", str(self.core))
        cycles = re.search(r"processing cycles: (\d+)", stats)
        packets = re.search(r"packets received: (\d+)", stats)
        if not packets:
            raise RuntimeError(f"no counters in: {stats[:200]}")
        return Counters(packets=int(packets[1]), busy_cycles=int(cycles[1]) if cycles else 0)

    def vsctl(self, *arguments):
        return self.run("ovs-vsctl", f"--db=unix:{self.home}/db.sock", "--timeout=20", *arguments)

    def control(self, *arguments):
        return self.run("ovs-appctl", "-t", f"{self.home}/vswitchd.ctl", *arguments)

    def run(self, *command):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60,
                              env=self.environment)
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stderr.strip()[:500]}")
        return done.stdout

    def stop(self):
        netns.remove([NAMESPACE])
        for process in self.processes:
            process.wait(10)
        self.processes = []
        shutil.rmtree(self.home, ignore_errors=True)
