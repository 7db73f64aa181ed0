"""Open vSwitch's userspace datapath on DPDK: conntrack with NAT, a group for each Service, a memif
towards the generator.
"""

import re

import ovs
from systems import Counters, System

NAMESPACE = "versus-ovs"
ZONE = 1


class OvsDpdk(System):
    name = "ovs-dpdk"
    about = "Open vSwitch on DPDK, conntrack NAT, one PMD thread, memif, no hugepages"
    generator_namespace = NAMESPACE
    receive_queues = 2  # Open vSwitch sends on one for each of its threads

    def __init__(self, *arguments):
        super().__init__(*arguments)
        home = self.folder / "ovs"
        self.socket = home / "memif.sock"
        self.switch = ovs.OpenVswitch(home, NAMESPACE, self.core, self.other_core)

    @classmethod
    def missing(cls):
        return ovs.missing()

    def start(self):
        self.switch.start()
        arguments = (f"net_memif0,role=server,socket={self.socket},socket-abstract=no,"
                     f"mac={self.scene.router_mac}")
        self.switch.add_port("wire", 1, "dpdk", f'options:dpdk-devargs="{arguments}"')
        self.load_rules()
        self.switch.control("dpctl/ct-set-maxconns", str(max(self.flows, 3_000_000)))
        self.switch.control("dpif-netdev/pmd-stats-clear")

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
        self.switch.load("groups", groups)
        self.switch.load("flows", flows)

    def device(self):
        return (f"net_memif0,role=client,socket={self.socket},socket-abstract=no,"
                f"mac={self.scene.generator_mac}")

    def counters(self):
        stats = self.switch.control("dpif-netdev/pmd-stats-show", "-pmd", str(self.core))
        cycles = re.search(r"processing cycles: (\d+)", stats)
        packets = re.search(r"packets received: (\d+)", stats)
        if not packets:
            raise RuntimeError(f"no counters in: {stats[:200]}")
        return Counters(packets=int(packets[1]), busy_cycles=int(cycles[1]) if cycles else 0)

    def stop(self):
        self.switch.stop()
