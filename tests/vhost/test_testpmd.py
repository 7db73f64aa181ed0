"""DPDK programs as pods: dpdk-testpmd listens on the socket (virtio-user), podwire connects."""

import os
import shutil
import socket
import subprocess
import time
import unittest

import netns
from node import POD_IP, wait_until
from vhost_node import VhostNode

NETNS = "pw-vhost-pmd"
MAC = {"a": "0a:00:00:00:00:02", "b": "0a:00:00:00:00:03"}


class Testpmd:
    """Answers ARP and echo requests, on every queue."""

    def __init__(self, socket, mac, queues=1):
        if os.path.exists(socket):
            os.unlink(socket)
        device = f"net_virtio_user0,path={socket},server=1,queues={queues},mac={mac}"
        self.log = open(f"{socket}.log", "w+")
        self.process = subprocess.Popen(
            ["dpdk-testpmd", "--no-huge", "-m", "128", "--no-pci", "--no-telemetry", "--no-shconf",
             f"--file-prefix=podwire-test-{os.getpid()}", "-l", "0,1", "--vdev", device, "--",
             "--forward-mode=icmpecho", "--auto-start", "--no-mlockall", "--total-num-mbufs=4096",
             f"--rxq={queues}", f"--txq={queues}", "--stats-period=1000"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


class WithTestpmd(unittest.TestCase):
    def setUp(self):
        if shutil.which("dpdk-testpmd") is None:
            self.skipTest("needs dpdk-testpmd")
        netns.remove([NETNS])
        netns.create(NETNS)
        self.addCleanup(netns.remove, [NETNS])
        self.node = VhostNode("--workers", "2", "--queues", "2", pods="a",
                              taps={"b": netns.path(NETNS)})
        self.addCleanup(self.node.stop)
        netns.ip_batch(NETNS, [f"link set eth0 address {MAC['b']} mtu 1480 up",
                               f"addr add {POD_IP['b']}/32 dev eth0",
                               "route add 169.254.1.1 dev eth0",
                               "route add default via 169.254.1.1"])

    def answers(self, timeout_s=30):
        began = time.monotonic()
        wait_until(lambda: netns.run(NETNS, ["ping", "-c", "1", "-W", "1", POD_IP["a"]],
                                     20).returncode == 0, "testpmd answers", timeout_s)
        return time.monotonic() - began

    def balanced(self):
        def closes():
            now = self.node.stats()
            return now["received"] + now["originated"] == \
                now["sent"] + now["dropped"] + now["holding"]
        wait_until(closes, "the ledger closes")

    def test_answers_on_two_queues(self):
        peer = Testpmd(self.node.socket["a"], MAC["a"], 2)
        self.addCleanup(peer.kill)
        self.answers()
        done = netns.run(NETNS, ["ping", "-q", "-c", "200", "-i", "0.002", "-s", "1400",
                                 POD_IP["a"]], 60)
        self.assertIn(" 0% packet loss", done.stdout)
        self.balanced()

    def test_what_the_pod_calls_its_socket_is_its_own_affair(self):
        """A container binds under the path of its mount, not under podwire's. And a link in the
        socket's place is not followed."""
        path = self.node.socket["a"]
        decoy = socket.socket(socket.AF_UNIX)
        self.addCleanup(decoy.close)
        decoy.bind(f"{path}.decoy")
        decoy.listen()
        decoy.setblocking(False)
        os.symlink(f"{path}.decoy", path)
        peer = Testpmd(f"{path}.inside", MAC["a"])
        self.addCleanup(peer.kill)
        wait_until(lambda: os.path.exists(f"{path}.inside"), "testpmd listens", 30)
        os.rename(f"{path}.inside", path)  # over the link
        self.answers()
        with self.assertRaises(BlockingIOError):
            decoy.accept()

    def test_peer_and_podwire_are_killed_in_turn(self):
        peer = Testpmd(self.node.socket["a"], MAC["a"])
        self.addCleanup(lambda: peer.kill())
        self.answers()
        self.node.kill()
        self.node.start()
        took = self.answers()
        print(f"# podwire killed and restarted: testpmd answers after {took:.2f} s")
        self.assertLess(took, 3)
        open_before = self.node.descriptors()
        for _ in range(3):
            peer.kill()
            wait_until(lambda: not self.node.port("a")["up"], "the port is down")
            peer = Testpmd(self.node.socket["a"], MAC["a"])
            self.answers()
        self.assertLessEqual(self.node.descriptors(), open_before)
        self.balanced()


if __name__ == "__main__":
    unittest.main()
