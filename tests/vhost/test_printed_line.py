"""A virtual machine as a pod of podwired's: attached by podwire-cni, started by the words that
`podwirectl pods` prints for QEMU."""

import shlex
import unittest

import guest as guests
import netns
import smoke

OBJECTS = """---
apiVersion: v1
kind: Pod
metadata: {name: v, namespace: default, labels: {app: v}}
spec: {nodeName: node-a, containers: [{name: main, image: none}]}
---
apiVersion: v1
kind: Service
metadata: {name: v, namespace: default}
spec:
  clusterIP: 10.96.0.31
  selector: {app: v}
  ports: [{port: 80, protocol: TCP, targetPort: 5201}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: guarded, namespace: default}
spec:
  podSelector: {matchLabels: {app: v}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]
"""
# What the line leaves to whoever starts it.
MEMORY = "256M"


class PrintedLine(unittest.TestCase):
    def setUp(self):
        if why := guests.missing():
            self.skipTest(why)
        node = smoke.node()
        self.node = node.__enter__()
        self.addCleanup(node.__exit__, None, None, None)

    def start_node(self):
        self.node.add_objects(OBJECTS, a="client")
        self.node.start()
        for pod in "ab":
            self.node.pod(pod)

    def attach(self):
        """The address of pod v, whose port is vhost-user."""
        default = smoke.cni_list.List("podwire", [self.node.plugin(port={"kind": "vhost-user"})])
        result = default.add("v", self.node.sandbox("v"),
                             arguments="IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=v")
        return result["ips"][0]["address"].split("/")[0]

    def port(self):
        return next(p for p in self.node.ctl("pods") if p["container"] == "v")

    def connects(self, pod, address, port):
        done = netns.run(self.node.pods[pod],
                         ["iperf3", "-c", address, "-p", str(port), "-n", "200K",
                          "--connect-timeout", "2000"], 60)
        return done.returncode == 0

    def test_it_boots_and_serves(self):
        self.start_node()
        address = self.attach()
        words = shlex.split(self.port()["peer"]["qemu"].replace("size=MEMORY", f"size={MEMORY}"))
        words[-1] += f",{guests.CARD}"
        self.assertTrue(words[-1].startswith("virtio-net-pci,"), words)
        guest = guests.Guest(self.node.folder, "v", self.port()["socket"], address, network=words)
        self.addCleanup(guest.kill)
        guest.wait_up()
        netns.wait_until(lambda: self.port()["port"]["up"], 40, "the guest's port is up")
        guest.start_in_background("iperf3 -s")
        # iperf3 refuses who comes while it still ends the test before.
        for name, target in (("itself", (address, 5201)), ("its Service", ("10.96.0.31", 80))):
            netns.wait_until(lambda target=target: self.connects("a", *target), 30,
                             f"the guest serves as {name}")
        denied = self.node.drops("policy_ingress")
        self.assertFalse(self.connects("b", "10.96.0.31", 80), "policy does not count")
        self.assertGreater(self.node.drops("policy_ingress"), denied)
        code, output = guest.run(  # masqueraded
            f"for n in $(seq 10); do ping -c 1 -W 1 {smoke.PEER} && break; done")
        self.assertEqual(code, 0, output)
        missing, counters = self.node.ledger_difference()
        self.assertEqual(missing, 0, counters)


if __name__ == "__main__":
    unittest.main()
