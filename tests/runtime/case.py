"""What the tests share: a node with podwired, containerd beside it, and the Pods a test asks
for."""

import json
import os
import unittest

import containerd
import lab
import smoke

PODS = int(os.environ.get("RUNTIME_PODS", "30"))

# Pods that want a fast port by annotation, and a Service of each.
FAST = "".join(f"""---
apiVersion: v1
kind: Pod
metadata:
  name: {kind}
  namespace: default
  labels: {{app: {kind}}}
  annotations: {{podwire.io/port.eth0: {kind}}}
spec: {{nodeName: node-a, containers: [{{name: main, image: none}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: {kind}, namespace: default}}
spec:
  clusterIP: {address}
  selector: {{app: {kind}}}
  ports: [{{port: 7, protocol: UDP, targetPort: 7000}}]
""" for kind, address in (("memif", "10.96.0.21"), ("vhost-user", "10.96.0.22")))

node = runtime = None


def conflist():
    """The one that is shipped, for this node's folders."""
    made = json.loads((lab.ROOT / "conf/10-podwire.conflist").read_text())
    for plugin in made["plugins"]:
        plugin.update(runDir=str(node.run_dir), stateDir=str(node.folder / "state"))
    return made


def start():
    global node, runtime
    node = smoke.SmokeNode()
    node.up()
    (node.manifests / "cluster.yaml").write_text(smoke.many_pods(PODS, "10.244.0.0/22") + FAST)
    node.start()
    runtime = containerd.Containerd(node.folder / "containerd", conflist())
    runtime.start()


def stop():
    if runtime is not None:
        runtime.stop()
    if node is not None:
        node.down()


class RuntimeCase(unittest.TestCase):
    def setUp(self):
        self.node, self.runtime, self.cri = node, runtime, runtime.cri

    def tearDown(self):
        self.doCleanups()
        self.assert_nothing_left()

    def attached(self):
        return {p["pod"]: p for p in self.node.ctl("pods") if p["attached"]}

    def run_pod(self, name, **options):
        """(sandbox, its configuration, its addresses); removed when the test ends."""
        config = self.cri.sandbox_config(name, **options)
        sandbox = self.cri.run_sandbox(config)
        self.addCleanup(self.end_pod, sandbox)
        return sandbox, config, self.cri.addresses(sandbox)

    def end_pod(self, sandbox):
        self.cri.stop_sandbox(sandbox)
        self.cri.remove_sandbox(sandbox)

    def program(self, sandbox, config, *command):
        return self.cri.start_container(sandbox, config, containerd.IMAGE, list(command))

    def assert_nothing_left(self):
        self.assertEqual(self.attached(), {})
        self.assertEqual(self.node.left_behind(), [])
        self.assertEqual([f.name for f in (self.node.run_dir / "ports").glob("*")], [])
        missing, counters = self.node.ledger_difference()
        self.assertEqual(missing, 0, counters)
