"""What every system is set up for and every packet is of: the addresses, Services and backends.

A client outside the node sends to a Service's load-balancer address; externalTrafficPolicy is
Local, so its source address stays, and one of the Service's backends, all of them local endpoints
behind the same wire, gets the packet. Clients, backends and the node share one link:

    generator 172.18.0.100 ── wire ── 172.18.0.11 node
    clients   10.200.0.0/16   routes to both by 172.18.0.100
    backends  10.201.0.0/16
"""

import ipaddress
import json
from dataclasses import asdict, dataclass

NODE, GENERATOR, LINK = "172.18.0.11", "172.18.0.100", "172.18.0.0/24"
CLIENTS, BACKENDS = "10.200.0.0/16", "10.201.0.0/16"
PODS = "10.244.0.0/16"  # where pods of the cluster would be; none of them takes part


@dataclass(frozen=True)
class Service:
    number: int
    name: str
    cluster_ip: str
    address: str  # of the load balancer: what clients send to
    node_port: int
    backends: tuple


@dataclass(frozen=True)
class Scene:
    services: int = 1
    clients: int = 50_000
    backends: int = 100
    backends_per_service: int = 4
    service_port: int = 80
    backend_port: int = 8080
    first_client: str = "10.200.0.1"
    first_service: str = "198.18.0.1"
    first_backend: str = "10.201.0.1"
    first_cluster_ip: str = "10.96.0.10"
    generator_mac: str = "02:00:00:00:00:64"
    router_mac: str = "02:00:00:00:00:0b"

    def write(self, path):
        path.write_text(json.dumps(asdict(self)))

    def list_services(self):
        """The same choice as Scene::serves in traffic/scene.h."""
        made = []
        for n in range(self.services):
            first = n * self.backends_per_service % self.backends
            made.append(Service(n, f"service-{n}", _plus(self.first_cluster_ip, n),
                                _plus(self.first_service, n), 30000 + n,
                                tuple(_plus(self.first_backend, (first + i) % self.backends)
                                      for i in range(self.backends_per_service))))
        return made


def _plus(address, number):
    return str(ipaddress.ip_address(address) + number)
