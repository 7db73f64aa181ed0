"""Linux with the rules that kube-proxy makes in its iptables mode."""

import hashlib
import base64
import shutil

import scene as scene_module
from contest import load
from systems.kernel import NODE, KernelSystem

# As pkg/proxy/iptables/proxier.go lays them out; {..} is filled in for each Service.
FILTER = """*filter
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
-A INPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A INPUT -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A FORWARD -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
"""
NAT = """*nat
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
"""


def suffix(text):
    """The 16 letters that kube-proxy's chains end with."""
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode()[:16]


class Iptables(KernelSystem):
    name = "iptables"
    about = "Linux with kube-proxy's iptables rules (iptables-restore), veth, threaded NAPI"

    @classmethod
    def missing(cls):
        return None if shutil.which("iptables-restore") else "iptables is not installed"

    def load_rules(self):
        load(NODE, ["iptables-restore"], FILTER)
        load(NODE, ["iptables-restore"], self.nat_rules())

    def nat_rules(self):
        lines = [NAT.rstrip()]
        for service in self.scene.list_services():
            lines += self.service_rules(service)
        lines += ["-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS", "COMMIT", ""]
        return "\n".join(lines)

    def service_rules(self, service):
        port, name = self.scene.service_port, suffix(service.name)
        comment = f'-m comment --comment "default/{service.name}:p'
        chains = {kind: f"KUBE-{kind}-{name}" for kind in ("SVC", "EXT", "SVL")}
        seps = [f"KUBE-SEP-{suffix(service.name + ip)}" for ip in service.backends]
        lines = [f":{chain} - [0:0]" for chain in [*chains.values(), *seps]]
        lines += [
            f'-A KUBE-SERVICES {comment} cluster IP" -d {service.cluster_ip}/32 -p udp -m udp '
            f"--dport {port} -j {chains['SVC']}",
            f'-A KUBE-SERVICES {comment} loadbalancer IP" -d {service.address}/32 -p udp -m udp '
            f"--dport {port} -j {chains['EXT']}",
            f'-A KUBE-NODEPORTS {comment}" -p udp -m udp --dport {service.node_port} '
            f"-j {chains['EXT']}",
            f"-A {chains['EXT']} -s {scene_module.PODS} -j {chains['SVC']}",
            f"-A {chains['EXT']} -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ",
            f"-A {chains['EXT']} -m addrtype --src-type LOCAL -j {chains['SVC']}",
            f"-A {chains['EXT']} -j {chains['SVL']}",
            f"-A {chains['SVC']} ! -s {scene_module.PODS} -d {service.cluster_ip}/32 -p udp "
            f"-m udp --dport {port} -j KUBE-MARK-MASQ"]
        for place, (sep, ip) in enumerate(zip(seps, service.backends)):
            left = len(seps) - place
            chance = f"-m statistic --mode random --probability {1 / left:.10f} " \
                if left > 1 else ""
            lines += [f"-A {chains[kind]} {comment} -> {ip}\" {chance}-j {sep}"
                      for kind in ("SVC", "SVL")]
            lines += [f"-A {sep} -s {ip}/32 -j KUBE-MARK-MASQ",
                      f"-A {sep} -p udp -m udp -j DNAT --to-destination "
                      f"{ip}:{self.scene.backend_port}"]
        return lines
