"""Pods whose ports are memif and vhost-user, by the network's configuration and by annotation: real
DPDK peers, started by the lines that `podwirectl pods` prints, echo what a kernel pod sends through
Services; policy counts; podwired is killed in between; DEL leaves nothing."""
import json
import signal
import stat
import subprocess
import sys

import smoke
import testpmd
from cni_list import refused
from smoke import cni_list, lab, netns

OBJECTS = """---
apiVersion: v1
kind: Pod
metadata: {name: m, namespace: default, labels: {app: m}}
spec: {nodeName: node-a, containers: [{name: main, image: none}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: v
  namespace: default
  labels: {app: v}
  annotations: {podwire.io/port.eth0: vhost-user}
spec: {nodeName: node-a, containers: [{name: main, image: none}]}
---
apiVersion: v1
kind: Service
metadata: {name: m, namespace: default}
spec:
  clusterIP: 10.96.0.21
  selector: {app: m}
  ports: [{port: 7, protocol: UDP, targetPort: 7000}]
---
apiVersion: v1
kind: Service
metadata: {name: v, namespace: default}
spec:
  clusterIP: 10.96.0.22
  selector: {app: v}
  ports: [{port: 7, protocol: UDP, targetPort: 7000}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: guarded, namespace: default}
spec:
  podSelector: {matchExpressions: [{key: app, operator: In, values: [m, v]}]}
  policyTypes: [Ingress]
  ingress:
    - from: [{podSelector: {matchLabels: {app: client}}}]
      ports: [{protocol: UDP, port: 7000}]
"""


class Test:
    def __init__(self, node):
        self.n, self.peers, self.askers = node, {}, {}

    def pods(self):
        return {(p["container"], p["interface"]): p for p in self.n.ctl("pods") if p["attached"]}

    def start_peer(self, container, interface="eth0"):
        line = self.pods()[container, interface]["peer"]["testpmd"]
        name = f"{container}-{interface}"
        self.peers[container, interface] = testpmd.start(self.n.pods[container], line, name,
                                                         self.n.folder / f"{name}.log")
        netns.wait_until(lambda: self.pods()[container, interface]["port"]["up"], 40,
                         f"{container}/{interface} is up", self.peers[container, interface])

    def end_peer(self, container, interface="eth0"):
        testpmd.end(self.peers.pop((container, interface)))

    def asker(self, pod):
        if pod not in self.askers:
            self.askers[pod] = testpmd.Asker(self.n.pods[pod])
        return self.askers[pod]

    def back_by_itself(self, container, interface, address, port):
        """Waits until the peer echoes again after podwired's death. DPDK's memif server (22.11)
        unmaps its client's memory while its worker may read it, and dies of that one time in
        thirty; then it is started anew, as its kubelet would."""
        process = self.peers[container, interface]
        netns.wait_until(lambda: self.ask("a", address, port) or process.poll() is not None, 40,
                         f"{container}/{interface} is back")
        if process.poll() is not None:
            assert process.returncode == -signal.SIGSEGV, process.returncode
            print(f"{container}/{interface}: dpdk-testpmd fell over podwired's death")
            self.start_peer(container, interface)
        self.echoes(address, port)

    def ask(self, pod, address, port, wait_s=1.0):
        return self.asker(pod).ask(address, port, wait_s)

    def echoes(self, address, port):
        self.asker("a").echoes(address, port)


def main(n):
    n.add_objects(OBJECTS, a="client")
    n.start()
    test = Test(n)
    arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME="
    capabilities = {"CNIDeviceInfoFile": True}
    default = cni_list.List("podwire", [n.plugin(capabilities=capabilities)], "1.1.0")
    fast = cni_list.List("fast", [n.plugin(port={"kind": "memif"}, capabilities=capabilities)],
                         "1.1.0")
    back = cni_list.List("back", [n.plugin(port={"kind": "memif", "role": "client", "mtu": 1400,
                                                 "socket": "@back"})], "1.1.0")
    info = {c: n.folder / f"devinfo/{c}.json" for c in "mva"}
    for name in ("a", "b"):
        n.pod(name)
    kept_files = n.left_behind()

    # Refusals: the code and one sentence, and nothing is left.
    m, v = n.sandbox("m"), n.sandbox("v")
    for port, sentence in (
            ({"kind": "veth"}, 'port.kind: "veth" is none of tap, vhost-user, memif'),
            ({"kind": "memif", "quees": 2}, "port.quees is no option of a port"),
            ({"kind": "memif", "queues": 17}, "port.queues: 17; a memif port has 1 to 16"),
            ({"queues": 2}, "port.queues: has no meaning for a tap"),
            ({"kind": "memif", "socket": f"/run/{'x' * 105}"},
             f"port.socket: /run/{'x' * 105} has 110 bytes, the path of a socket at most 107"),
            ({"kind": "vhost-user", "role": "server"},
             "port.role: the pod serves a vhost-user socket, podwire is its client"),
            ({"kind": "memif", "socket": "/run/x.sock", "mode": "0666"},
             "port.mode: 0666 lets everybody in; give port.owner or port.group")):
        wrong = cni_list.List("wrong", [n.plugin(port=port)], "1.1.0")
        refused(lambda wrong=wrong: wrong.add("m", m, arguments=arguments + "m"), 7, sentence)
    for place in ("/tmp/m.sock", "/tmp/"):
        public = cni_list.List("wrong", [n.plugin(port={"kind": "memif", "socket": place})])
        refused(lambda public=public: public.add("m", m, arguments=arguments + "m"), 7,
                "port.socket: everybody may write to /tmp; choose another folder")
    assert n.left_behind() == kept_files, n.left_behind()

    # Addresses, the pod's folder, and where its program finds all this.
    result = fast.add("m", m, arguments=arguments + "m",
                      runtime={"CNIDeviceInfoFile": str(info["m"])})
    interface = result["interfaces"][0]
    address = result["ips"][0]["address"].split("/")[0]
    assert interface == {"name": "eth0", "sandbox": m, "mtu": 1500, "mac": interface["mac"],
                         "socketPath": "@podwire/eth0"}, result
    assert json.loads(info["m"].read_text()) == {
        "type": "memif", "version": "1.1.0",
        "memif": {"role": "slave", "path": "@podwire/eth0", "mode": "ethernet"}}
    extra = back.add("m", m, "net1", arguments + "m")
    second = extra["ips"][0]["address"].split("/")[0]
    assert extra["interfaces"][0]["mtu"] == 1400 and second != address, extra
    uid = "0b5c7e5e-0000-4000-8000-000000000001"
    result = default.add("v", v, arguments=f"{arguments}v;K8S_POD_UID={uid}",
                         runtime={"CNIDeviceInfoFile": str(info["v"])})
    path = n.run_dir / f"ports/{uid}/eth0.sock"
    assert result["interfaces"][0]["socketPath"] == str(path), result
    assert json.loads(info["v"].read_text()) == {
        "type": "vhost-user", "version": "1.1.0",
        "vhost-user": {"mode": "server", "path": str(path)}}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o770, oct(path.parent.stat().st_mode)
    for name in "mv":
        assert netns.ip("-n", n.pods[name], "-br", "link").split()[0::4] == ["lo"], name
    for checked in (lambda: fast.check("m"), lambda: back.check("m", "net1"),
                    lambda: default.check("v")):
        checked()
    refused(lambda: fast.add("m", m, "net2", arguments + "m", {}) and fast.add(
        "other", m, "net2", arguments + "m"), 11,
        "port.socket: @podwire/net2 is taken by default/m/net2")
    fast.remove("m", "net2")
    default.status()

    # Traffic through the Services, and past them what policy says.
    for container, name in (("m", "eth0"), ("m", "net1"), ("v", "eth0")):
        assert not test.pods()[container, name]["port"]["up"]
        test.start_peer(container, name)
    for service in ("10.96.0.21", "10.96.0.22"):
        test.echoes(service, 7)
    test.echoes(second, 7000)
    denied = n.drops("policy_ingress")
    for target in (("10.96.0.21", 7), ("10.96.0.22", 7), (second, 7000)):
        assert not test.ask("b", *target, wait_s=0.2), f"{target}: policy does not count"
    assert not test.ask("a", address, 7001, wait_s=0.2), "policy lets another port pass"
    assert n.drops("policy_ingress") == denied + 4
    missing, counters = n.ledger_difference()
    assert missing == 0, counters

    # podwired is killed: the sockets it served are stale, peers come back by themselves where they
    # can. DPDK's memif client does not; it is started anew.
    n.stop(signal.SIGKILL)
    test.end_peer("m")
    n.start()
    test.start_peer("m")
    test.back_by_itself("m", "net1", second, 7000)
    for service in ("10.96.0.21", "10.96.0.22"):
        test.echoes(service, 7)
    assert not test.ask("b", "10.96.0.21", 7, wait_s=0.2)
    for checked in (lambda: fast.check("m"), lambda: back.check("m", "net1"),
                    lambda: default.check("v")):
        checked()

    # DEL: not one file, socket or port. One comes while podwired is away.
    before = subprocess.run(["ls", f"/proc/{n.process.pid}/fd"], capture_output=True, text=True,
                            check=True).stdout.count("\n")
    fast.remove("m")
    assert not info["m"].exists()
    (path.parent / "of the pod").write_text("left")
    default.remove("v")
    assert not info["v"].exists() and not list((n.run_dir / "ports").iterdir())
    assert set(test.pods()) == {("a", "eth0"), ("b", "eth0"), ("m", "net1")}
    n.stop()
    back.remove("m", "net1")
    n.start()
    netns.wait_until(lambda: set(test.pods()) == {("a", "eth0"), ("b", "eth0")}, 10, "net1's end")
    names = netns.run(n.pods["m"], ["cat", "/proc/net/unix"]).stdout
    assert "@podwire/" not in names, names
    assert n.left_behind() == kept_files, n.left_behind()
    after = subprocess.run(["ls", f"/proc/{n.process.pid}/fd"], capture_output=True, text=True,
                           check=True).stdout.count("\n")
    assert after <= before, (before, after)


if why := testpmd.missing():
    print(why)
    sys.exit(77)
else:
    with smoke.node() as smoke_node:
        try:
            main(smoke_node)
        except BaseException:
            print(lab.log_tail(smoke_node.log, 12))
            raise
