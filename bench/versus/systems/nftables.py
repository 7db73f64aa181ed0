"""Linux with the rules that kube-proxy makes in its nftables mode."""

import shutil

import scene as scene_module
from contest import load
from systems.kernel import NODE, KernelSystem

# As pkg/proxy/nftables/proxier.go lays them out.
BASE = """
add table ip kube-proxy
add set ip kube-proxy cluster-ips { type ipv4_addr ; }
add set ip kube-proxy nodeport-ips { type ipv4_addr ; }
add map ip kube-proxy firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }
add map ip kube-proxy no-endpoint-nodeports { type inet_proto . inet_service : verdict ; }
add map ip kube-proxy no-endpoint-services \
{ type ipv4_addr . inet_proto . inet_service : verdict ; }
add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }
add map ip kube-proxy service-nodeports { type inet_proto . inet_service : verdict ; }
add chain ip kube-proxy cluster-ips-check
add chain ip kube-proxy filter-prerouting-pre-dnat \
{ type filter hook prerouting priority -110 ; }
add chain ip kube-proxy filter-output-pre-dnat { type filter hook output priority -110 ; }
add chain ip kube-proxy filter-forward { type filter hook forward priority 0 ; }
add chain ip kube-proxy filter-input { type filter hook input priority 0 ; }
add chain ip kube-proxy filter-output { type filter hook output priority 0 ; }
add chain ip kube-proxy firewall-check
add chain ip kube-proxy mark-for-masquerade
add chain ip kube-proxy masquerading
add chain ip kube-proxy nat-output { type nat hook output priority -100 ; }
add chain ip kube-proxy nat-postrouting { type nat hook postrouting priority 100 ; }
add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority -100 ; }
add chain ip kube-proxy nodeport-endpoints-check
add chain ip kube-proxy services
add chain ip kube-proxy service-endpoints-check
add rule ip kube-proxy cluster-ips-check ip daddr @cluster-ips reject
add rule ip kube-proxy cluster-ips-check ip daddr { 10.96.0.0/12 } drop
add rule ip kube-proxy filter-prerouting-pre-dnat ct state new jump firewall-check
add rule ip kube-proxy filter-forward ct state new jump service-endpoints-check
add rule ip kube-proxy filter-forward ct state new jump cluster-ips-check
add rule ip kube-proxy filter-input ct state new jump nodeport-endpoints-check
add rule ip kube-proxy filter-input ct state new jump service-endpoints-check
add rule ip kube-proxy filter-output ct state new jump service-endpoints-check
add rule ip kube-proxy filter-output-pre-dnat ct state new jump firewall-check
add rule ip kube-proxy filter-output ct state new jump cluster-ips-check
add rule ip kube-proxy firewall-check ip daddr . meta l4proto . th dport vmap @firewall-ips
add rule ip kube-proxy mark-for-masquerade mark set mark or 0x4000
add rule ip kube-proxy masquerading mark and 0x4000 == 0 return
add rule ip kube-proxy masquerading mark set mark xor 0x4000
add rule ip kube-proxy masquerading masquerade fully-random
add rule ip kube-proxy nat-output jump services
add rule ip kube-proxy nat-postrouting jump masquerading
add rule ip kube-proxy nat-prerouting jump services
add rule ip kube-proxy nodeport-endpoints-check \
ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
add rule ip kube-proxy service-endpoints-check \
ip daddr . meta l4proto . th dport vmap @no-endpoint-services
add rule ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips
add rule ip kube-proxy services \
ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
"""


class Nftables(KernelSystem):
    name = "nftables"
    about = "Linux with kube-proxy's nftables rules (nft), veth, threaded NAPI"

    @classmethod
    def missing(cls):
        return None if shutil.which("nft") else "nftables is not installed"

    def load_rules(self):
        lines = [BASE, f"add element ip kube-proxy nodeport-ips {{ {scene_module.NODE} }}"]
        for service in self.scene.list_services():
            lines += self.service_rules(service)
        load(NODE, ["nft", "-f", "-"], "\n".join(lines) + "\n")

    def service_rules(self, service):
        port, pods = self.scene.service_port, scene_module.PODS
        service_chain, external = f"service-{service.name}", f"external-{service.name}"
        ends = {ip: f"endpoint-{service.name}__{ip}" for ip in service.backends}
        lines = [f"add chain ip kube-proxy {c}" for c in [service_chain, external, *ends.values()]]

        def rule(chain, text):
            lines.append(f"add rule ip kube-proxy {chain} {text}")

        choice = f"numgen random mod {len(ends)} vmap {{ " + ", ".join(
            f"{n} : goto {chain}" for n, chain in enumerate(ends.values())) + " }"
        rule(service_chain,
             f"ip daddr {service.cluster_ip} ip saddr != {pods} jump mark-for-masquerade")
        rule(service_chain, choice)
        rule(external, f"ip saddr {pods} goto {service_chain}")
        rule(external, "fib saddr type local jump mark-for-masquerade")
        rule(external, f"fib saddr type local goto {service_chain}")
        rule(external, choice)
        for ip, chain in ends.items():
            rule(chain, f"ip saddr {ip} jump mark-for-masquerade")
            rule(chain, f"meta l4proto udp dnat to {ip}:{self.scene.backend_port}")
        for name, element in (
                ("cluster-ips", service.cluster_ip),
                ("service-ips", f"{service.cluster_ip} . udp . {port} : goto {service_chain}"),
                ("service-ips", f"{service.address} . udp . {port} : goto {external}"),
                ("service-nodeports", f"udp . {service.node_port} : goto {external}")):
            lines.append(f"add element ip kube-proxy {name} {{ {element} }}")
        return lines
