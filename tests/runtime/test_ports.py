"""Pods of containerd whose annotation asks for a port that is no kernel interface: a DPDK program
in the pod's network namespace, started by the line that `podwirectl pods` prints, answers for a
Service."""
import contextlib
import os
import unittest

import case
import netns
import testpmd


@unittest.skipIf(testpmd.missing(), testpmd.missing())
class PortsByAnnotation(case.RuntimeCase):
    def setUp(self):
        super().setUp()
        client, _, _ = self.run_pod("a")
        self.asker = testpmd.Asker(self.cri.network_namespace(client))
        self.addCleanup(self.asker.close)

    def port(self, kind):
        return self.attached()[f"default/{kind}"]["port"]

    def start(self, kind, namespace):
        line = self.attached()[f"default/{kind}"]["peer"]["testpmd"]
        log = self.node.folder / f"testpmd-{kind}.log"
        process = testpmd.start(namespace, line, f"runtime-{kind}", log)
        self.addCleanup(testpmd.end, process)
        netns.wait_until(lambda: self.port(kind)["up"], 40, f"{kind} is up: {log}", process)
        return process

    def check(self, kind, service, socket):
        """Returns the pod's sandbox and namespace."""
        sandbox, _, (address,) = self.run_pod(kind, annotations={"podwire.io/port.eth0": kind})
        namespace = self.cri.network_namespace(sandbox)
        self.assertEqual(netns.ip("-n", namespace, "-br", "link").split()[0::4], ["lo"])
        self.assertEqual(self.attached()[f"default/{kind}"]["socket"], socket)
        self.assertEqual((self.port(kind)["kind"], self.port(kind)["up"]), (kind, False))
        process = self.start(kind, namespace)
        self.asker.echoes(service, 7)
        self.asker.echoes(address, 7000)
        # The program comes anew, as a container's does that ended: the pod is the same.
        testpmd.end(process)
        netns.wait_until(lambda: not self.port(kind)["up"], 20, f"{kind} is down")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(socket)  # DPDK does not serve one that a killed program has left
        self.start(kind, namespace)
        self.asker.echoes(service, 7)
        return sandbox, namespace

    def test_memif(self):
        _, namespace = self.check("memif", "10.96.0.21", "@podwire/eth0")
        self.assertIn("@podwire/eth0", netns.run(namespace, ["cat", "/proc/net/unix"]).stdout)

    def test_vhost_user(self):
        path = self.node.run_dir / "ports/uid-vhost-user/eth0.sock"
        sandbox, _ = self.check("vhost-user", "10.96.0.22", str(path))
        self.assertTrue(path.is_socket())
        # The sandbox ends while its program still serves the socket.
        self.cri.stop_sandbox(sandbox)
        self.assertFalse(path.parent.exists())
        self.assertNotIn("default/vhost-user", self.attached())
