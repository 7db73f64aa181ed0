"""Open vSwitch's userspace datapath on DPDK for benches: Debian's openvswitch-switch-dpdk with a
database and a run folder of its own; a system's own Open vSwitch is not touched. One PMD thread on
the measured core.
"""

import os
import shutil
import subprocess

import netns

VSWITCHD = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"


def missing():
    return None if os.path.exists(VSWITCHD) else "openvswitch-switch-dpdk is not installed"


class OpenVswitch:
    """start(), ports by vsctl() on bridge br0, rules by load(), stop(). `namespace` is made here;
    its name is also that of DPDK's files."""

    def __init__(self, home, namespace, core, other_core):
        self.home, self.namespace = home, namespace
        self.core, self.other_core = core, other_core
        self.environment = {**os.environ, **{f"OVS_{kind}DIR": str(home)
                                             for kind in ("RUN", "LOG", "DB", "SYSCONF")}}
        self.processes = []

    def start(self):
        netns.create(self.namespace)
        self.home.mkdir(parents=True, exist_ok=True)
        self.run("ovsdb-tool", "create", f"{self.home}/conf.db", SCHEMA)
        self.spawn(["ovsdb-server", f"{self.home}/conf.db",
                    f"--remote=punix:{self.home}/db.sock"], "ovsdb")
        self.vsctl("--no-wait", "init")
        # Without hugepages Open vSwitch must leave out --in-memory, which --legacy-mem sees to.
        extra = ("--no-huge --legacy-mem -m 1024 --no-pci --no-telemetry "
                 f"--file-prefix={self.namespace}")
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".",
                   "other_config:dpdk-init=true", f'other_config:dpdk-extra="{extra}"',
                   f"other_config:dpdk-lcore-mask={1 << self.other_core:#x}",
                   f"other_config:pmd-cpu-mask={1 << self.core:#x}",
                   "other_config:smc-enable=true")
        self.spawn([VSWITCHD, f"unix:{self.home}/db.sock"], "vswitchd")
        self.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev",
                   "fail-mode=secure", "protocols=OpenFlow15")

    def add_port(self, name, number, kind, *options):
        self.vsctl("add-port", "br0", name, "--", "set", "Interface", name, f"type={kind}",
                   *options, f"ofport_request={number}")
        problem = self.vsctl("get", "Interface", name, "error").strip()
        if problem != "[]":
            raise RuntimeError(f"Open vSwitch does not take the port: {problem}")

    def load(self, kind, lines):
        """`kind`: groups or flows."""
        path = self.home / kind
        path.write_text("\n".join(lines) + "\n")
        self.run("ovs-ofctl", "-O", "OpenFlow15", f"add-{kind}", f"{self.home}/br0.mgmt",
                 str(path))

    def spawn(self, command, name):
        """Starts a daemon in the foreground; it is up when its control socket is there."""
        control = self.home / f"{name}.ctl"
        process = netns.spawn(self.namespace, [*command, f"--unixctl={control}"],
                              self.home / f"{name}.log", env=self.environment)
        self.processes.append(process)
        netns.wait_until(control.exists, 20, f"{name}'s start", process)

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
        netns.remove([self.namespace])
        for process in self.processes:
            process.wait(10)
        self.processes = []
        shutil.rmtree(self.home, ignore_errors=True)
