"""podwired with a memif as its uplink, no hugepages, one worker on the measured core."""

import json
import os
import shutil
from pathlib import Path

import lab
import netns
import scene as scene_module
from systems import Counters, System


class Podwire(System):
    name = "podwire"
    about = "podwired, one worker, memif, no hugepages"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.node = lab.Node("versus")
        self.node.namespace = self.generator_namespace = "versus-podwire"
        self.node.folder = self.folder / "podwire"
        self.node.run_dir = self.node.folder / "run"
        self.node.log = self.node.folder / "podwired.log"
        self.node.config = self.node.folder / "podwired.conf"
        self.socket = self.node.folder / "memif.sock"

    @classmethod
    def missing(cls):
        try:
            lab.program("podwired")
        except FileNotFoundError as error:
            return str(error)
        return None

    def start(self):
        netns.create(self.node.namespace)
        manifests = self.node.folder / "manifests"
        manifests.mkdir(parents=True)
        # JSON is YAML, and quicker to read.
        for n, one in enumerate(self.objects()):
            (manifests / f"{n}.json").write_text(json.dumps(one))
        self.node.write_config(
            manifests, node_address=f"{scene_module.NODE}/24", workers="1",
            worker_cores=str(self.core), service_range="10.96.0.0/12",
            uplink=f"net_memif0,role=server,socket={self.socket},socket-abstract=no,"
                   f"mac={self.scene.router_mac}",
            packet_buffers="16384", memory_mb="256", metrics_address="",
            flows_v4=str(max(self.flows, 262_144)))
        self.node.start()
        netns.ip_batch(self.node.namespace, [
            f"neigh replace {scene_module.GENERATOR} lladdr {self.scene.generator_mac} "
            "dev podwire0 nud permanent",
            f"route add {scene_module.CLIENTS} via {scene_module.GENERATOR}",
            f"route add {scene_module.BACKENDS} via {scene_module.GENERATOR}"])
        for task in Path(f"/proc/{self.node.process.pid}/task").iterdir():
            if len(os.sched_getaffinity(int(task.name))) > 1:
                os.sched_setaffinity(int(task.name), {self.other_core})
        netns.wait_until(self.knows_routes, 10, "podwired's routes", self.node.process)

    def knows_routes(self):
        """Both ranges go to the generator's Ethernet address, and all objects are in force."""
        ready = {r["prefix"] for r in self.node.ctl("routes")
                 if r["mac"] == self.scene.generator_mac}
        return self.node.ctl("status")["synced"] and \
            ready >= {scene_module.CLIENTS, scene_module.BACKENDS}

    def objects(self):
        yield {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "versus"},
               "spec": {"podCIDRs": ["10.244.1.0/24"]},
               "status": {"addresses": [{"type": "InternalIP", "address": scene_module.NODE}]}}
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
        services = self.scene.list_services()
        yield {"apiVersion": "v1", "kind": "List", "items": [self.service(s) for s in services]}
        yield {"apiVersion": "v1", "kind": "List", "items": [self.endpoints(s) for s in services]}

    def service(self, service):
        port = {"name": "p", "port": self.scene.service_port, "protocol": "UDP",
                "nodePort": service.node_port, "targetPort": self.scene.backend_port}
        return {"apiVersion": "v1", "kind": "Service",
                "metadata": {"name": service.name, "namespace": "default"},
                "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local",
                         "clusterIP": service.cluster_ip, "clusterIPs": [service.cluster_ip],
                         "ports": [port]},
                "status": {"loadBalancer": {"ingress": [{"ip": service.address}]}}}

    def endpoints(self, service):
        return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": service.name, "namespace": "default",
                             "labels": {"kubernetes.io/service-name": service.name}},
                "addressType": "IPv4",
                "ports": [{"name": "p", "port": self.scene.backend_port, "protocol": "UDP"}],
                "endpoints": [{"addresses": [ip], "nodeName": "versus",
                               "conditions": {"ready": True}} for ip in service.backends]}

    def device(self):
        return (f"net_memif0,role=client,socket={self.socket},socket-abstract=no,"
                f"mac={self.scene.generator_mac}")

    def counters(self):
        sums = self.node.ctl("counters")["sum"]
        return Counters(packets=sums["sent"], busy_cycles=sums["busyCycles"])

    def stop(self):
        if self.node.process is not None:
            self.node.stop()
            self.node.process = None
        netns.remove([self.node.namespace])
        shutil.rmtree(self.node.folder, ignore_errors=True)
