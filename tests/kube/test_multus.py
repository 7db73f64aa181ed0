"""Multus, the real plugin, with podwire for every network: a pod with a kernel eth0 and ports of
DPDK programs beside it, each of its NetworkAttachmentDefinition."""

import json
import subprocess
import unittest
from pathlib import Path

import case
import cluster
import lab
import netns
import testpmd

RESOURCE, DEVICES = "podwire.io/fast", ["fast-0", "fast-1"]
NETWORKS, STATUS = "k8s.v1.cni.cncf.io/networks", "k8s.v1.cni.cncf.io/network-status"
# Multus looks at fixed places, which are the test's own while it runs: what kubelet writes down of
# devices it gave to Pods, and device-info files.
INFO = Path("/run/k8s.cni.cncf.io")
SCRIPT = f"""
mount --bind "$1" /var/lib
mount --bind "$2" {INFO}
exec "$0"
"""


def build():
    """The program's path; a test is skipped where it cannot be built."""
    done = subprocess.run([cluster.HERE / "multus/build"], capture_output=True, text=True)
    if done.returncode == 77:
        raise unittest.SkipTest(f"no Multus: {done.stderr.strip()}")
    if done.returncode:
        raise RuntimeError(f"tests/kube/multus/build: {done.stderr.strip()[-1000:]}")
    return done.stdout.strip()


class Multus:
    """The plugin as a runtime executes it on a node."""

    def __init__(self, program, node, kubeconfig):
        self.program, self.node = program, node
        self.folder = node.folder / "multus"
        self.devices, self.info = self.folder / "var-lib", self.folder / "k8s.cni.cncf.io"
        kept = self.devices / "kubelet/device-plugins"
        for place in (kept, self.info, self.folder / "bin", self.folder / "net.d"):
            place.mkdir(parents=True)
        self.checkpoint = kept / "kubelet_internal_checkpoint"
        (self.folder / "bin/podwire-cni").symlink_to(lab.program("podwire-cni"))
        shipped = json.loads((lab.ROOT / "conf/10-podwire.conflist").read_text())
        shipped["plugins"][0].update(self.folders())
        (self.folder / "net.d/10-podwire.conflist").write_text(json.dumps(shipped))
        self.configuration = {
            "cniVersion": "1.0.0", "name": "multus", "type": "multus", "clusterNetwork": "podwire",
            "kubeconfig": str(kubeconfig), "confDir": str(self.folder / "net.d"),
            "binDir": str(self.folder / "bin"), "cniDir": str(self.folder / "cache"),
            "logFile": str(self.folder / "log"), "logLevel": "verbose", "logToStderr": False}

    def folders(self):
        return {"runDir": str(self.node.run_dir), "stateDir": str(self.node.folder / "state")}

    def network(self, name, **keys):
        """podwire's configuration for a further network of a Pod."""
        return json.dumps({"cniVersion": "1.0.0", "name": name, "type": "podwire-cni",
                           "capabilities": {"CNIDeviceInfoFile": True}, **self.folders(), **keys})

    def give_devices(self, uid):
        """One for each further network, as kubelet's device manager writes it down."""
        entry = {"PodUID": uid, "ContainerName": "main", "ResourceName": RESOURCE,
                 "DeviceIDs": {"-1": DEVICES}, "AllocResp": ""}
        self.checkpoint.write_text(json.dumps({"Data": {
            "PodDeviceEntries": [entry], "RegisteredDevices": {RESOURCE: DEVICES}},
            "Checksum": 0}))

    def execute(self, command, pod, container, namespace):
        meta = pod["metadata"]
        done = subprocess.run(
            ["ip", "netns", "exec", self.node.namespace, "sh", "-ec", SCRIPT, self.program,
             str(self.devices), str(self.info)],
            input=json.dumps(self.configuration), capture_output=True, text=True, timeout=60,
            env={**lab.clean_environment(), "CNI_COMMAND": command, "CNI_CONTAINERID": container,
                 "CNI_IFNAME": "eth0", "CNI_NETNS": netns.path(namespace),
                 "CNI_PATH": str(self.folder / "bin"), "CNI_ARGS": ";".join((
                     "IgnoreUnknown=1", f"K8S_POD_NAMESPACE={meta['namespace']}",
                     f"K8S_POD_NAME={meta['name']}", f"K8S_POD_UID={meta['uid']}",
                     f"K8S_POD_INFRA_CONTAINER_ID={container}"))})
        if done.returncode:
            raise RuntimeError(f"multus {command}: {done.stdout.strip()} {done.stderr.strip()}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def files_of_devices(self):
        return {one.name: json.loads(one.read_text()) for one in self.info.rglob("*")
                if one.is_file()}


@unittest.skipIf(testpmd.missing(), testpmd.missing())
class SeveralNetworks(case.LabCase):
    container, pod_namespace = "multus-pod", f"{lab.PREFIX}-multus-pod"

    @classmethod
    def setUpClass(cls):
        cls.program = build()

    def setUp(self):
        super().setUp()
        if not INFO.exists():
            INFO.mkdir()
            self.addCleanup(INFO.rmdir)  # nothing is in it: ours was mounted over it
        kind = "NetworkAttachmentDefinition"
        self.lab.define(kind)
        self.addCleanup(self.admin.delete, "CustomResourceDefinition",
                        "network-attachment-definitions.k8s.cni.cncf.io")
        self.multus = Multus(self.program, self.node, self.cluster.write_kubeconfig(
            "multus.conf", certificate="admin"))
        self.define("fast", port={"kind": "memif"})
        self.define("vm")
        self.addCleanup(netns.remove, [self.pod_namespace])
        netns.create(self.pod_namespace)

    def define(self, name, **keys):
        self.admin.create({
            "apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition",
            "metadata": {"name": name, "namespace": self.namespace,
                         "annotations": {"k8s.v1.cni.cncf.io/resourceName": RESOURCE}},
            "spec": {"config": self.multus.network(name, **keys)}})

    def make_pod(self):
        """With two further networks; the second's kind of port is the Pod's own word."""
        pod = self.admin.create({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "multi", "namespace": self.namespace, "annotations": {
                NETWORKS: "fast, vm@vm0", "podwire.io/port.vm": "vhost-user"}},
            "spec": {"nodeName": "node-a", "terminationGracePeriodSeconds": 0,
                     "containers": [{"name": "main", "image": "none"}]}})
        self.addCleanup(self.remove, "Pod", "multi")
        self.eventually(lambda: any(p["pod"] == "default/multi" for p in self.node.ctl("pods")),
                        "podwired knows the Pod")
        self.multus.give_devices(pod["metadata"]["uid"])
        return pod

    def ports(self):
        return {p["interface"]: p for p in self.node.ctl("pods")
                if p["attached"] and p["pod"] == "default/multi"}

    def start(self, interface):
        """The program behind a port, by the line that podwirectl prints."""
        log = self.multus.folder / f"{interface}.log"
        process = testpmd.start(self.pod_namespace, self.ports()[interface]["peer"]["testpmd"],
                                f"multus-{interface}", log)
        self.addCleanup(testpmd.end, process)
        netns.wait_until(lambda: self.ports()[interface]["port"]["up"], 40,
                         f"{interface} is up: {log}", process)

    def test_kernel_eth0_and_fast_ports_of_their_networks(self):
        pod = self.make_pod()
        uid = pod["metadata"]["uid"]
        result = self.multus.execute("ADD", pod, self.container, self.pod_namespace)
        self.addCleanup(self.multus.execute, "DEL", pod, self.container, self.pod_namespace)
        ports = self.ports()
        socket = str(self.node.run_dir / f"ports/{uid}/vm0.sock")
        self.assertEqual({name: p["port"]["kind"] for name, p in ports.items()},
                         {"eth0": "tap", "net1": "memif", "vm0": "vhost-user"})
        self.check_addresses(result, ports)
        infos = {"net1": {"type": "memif", "version": "1.1.0", "memif": {
                     "role": "slave", "path": "@podwire/net1", "mode": "ethernet"}},
                 "vm0": {"type": "vhost-user", "version": "1.1.0", "vhost-user": {
                     "mode": "server", "path": socket}}}
        self.check_status(ports, infos)
        self.check_traffic(ports)
        self.multus.execute("CHECK", pod, self.container, self.pod_namespace)
        self.multus.execute("DEL", pod, self.container, self.pod_namespace)
        self.check_nothing_left(uid)
        self.multus.execute("DEL", pod, self.container, self.pod_namespace)

    def check_addresses(self, result, ports):
        """The runtime hears of eth0; each interface has its own, of both families."""
        self.assertEqual([ip["address"].split("/")[0] for ip in result["ips"]],
                         ports["eth0"]["ips"])
        every = [ip for port in ports.values() for ip in port["ips"]]
        self.assertEqual((len(every), len(set(every))), (6, 6), every)
        links = netns.ip("-n", self.pod_namespace, "-br", "link").splitlines()
        self.assertEqual({line.split()[0].split("@")[0] for line in links}, {"lo", "eth0"})

    def check_status(self, ports, infos):
        """What Multus tells of the Pod, and the files that it has it from."""
        status = json.loads(self.admin.get("Pod", "multi")["metadata"]["annotations"][STATUS])
        self.assertEqual([(s["name"], s["interface"], s.get("default", False)) for s in status],
                         [("podwire", "eth0", True), ("default/fast", "net1", False),
                          ("default/vm", "vm0", False)])
        for one in status:
            port = ports[one["interface"]]
            self.assertEqual((one["ips"], one["mac"]), (port["ips"], port["port"]["mac"]), one)
            self.assertEqual(one.get("device-info"), infos.get(one["interface"]), one)
        self.assertEqual(self.multus.files_of_devices(), {
            f"default-fast-{self.container}_net1": infos["net1"],
            f"default-vm-{self.container}_vm0": infos["vm0"]})

    def check_traffic(self, ports):
        done = self.lab.run("web-a", "ping", "-n", "-c", "1", "-W", "2", ports["eth0"]["ips"][0])
        self.assertEqual(done.returncode, 0, done.stdout)
        asker = testpmd.Asker(self.lab.namespace_of("web-a"))
        self.addCleanup(asker.close)
        for interface in ("net1", "vm0"):
            self.start(interface)
            asker.echoes(ports[interface]["ips"][0], 7000)

    def check_nothing_left(self, uid):
        self.assertEqual(self.ports(), {})
        self.assertEqual(self.multus.files_of_devices(), {})
        self.assertFalse((self.node.run_dir / "ports" / uid).exists())
        self.assertEqual(netns.ip("-n", self.pod_namespace, "-br", "link").split()[0::4], ["lo"])
        for place in (self.node.folder / "state", self.multus.folder / "cache"):
            left = [str(f) for f in place.rglob("*") if self.container in f.name]
            self.assertEqual(left, [])
        missing, counters = self.node.ledger_difference()
        self.assertEqual(missing, 0, counters)
