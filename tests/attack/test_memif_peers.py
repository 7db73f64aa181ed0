"""Peers that keep to the rules, as pods have them: dpdk-testpmd's net_memif in both roles, and a
client on libmemif's protocol with several queues and large frames."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import unittest

import memif
from node import POD_IP, Node, balance, datagram, number_of, wait_until

FRAMES = 2000


@contextlib.contextmanager
def testpmd(role, socket, abstract=True, queues=1):
    """Sends every datagram back where it came from (5tswap)."""
    prefix = f"podwire-test-{os.getpid()}-{role}"
    command = ["dpdk-testpmd", "-l", "0,1", "--no-huge", "-m", "192", "--no-pci", "--no-telemetry",
               "--log-level=error", f"--file-prefix={prefix}", "--no-shconf",
               f"--vdev=net_memif0,role={role},socket={socket},"
               f"socket-abstract={'yes' if abstract else 'no'}",
               "--", "--forward-mode=5tswap", "--auto-start", "--nb-cores=1", f"--rxq={queues}",
               f"--txq={queues}", "--total-num-mbufs=4096"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@unittest.skipUnless(shutil.which("dpdk-testpmd"), "needs dpdk-testpmd")
class Testpmd(unittest.TestCase):
    def echo(self, node, process, sizes=(64, 600, 1494)):
        """Pod c's datagrams to pod a, where testpmd runs, come back through podwire, every one."""
        wait_until(lambda: node.port("a")["up"] or process.poll() is not None, "testpmd", 60)
        self.assertIsNone(process.poll(), "testpmd ended")
        with node.client("c") as peer:
            peer.handshake()
            wait_until(lambda: node.port("c")["up"], "c is up")
            self.until_it_forwards(peer)
            before = node.stats()
            for size in sizes:
                for first in range(0, FRAMES, 50):
                    numbers = list(range(first, first + 50))
                    peer.send_frames([datagram("c", POD_IP["a"], n, size) for n in numbers])
                    back = peer.wait_frames(50, 30)
                    self.assertEqual([number_of(f) for f in back], numbers)
                    self.assertEqual({len(f) for f in back}, {size})
            self.assertEqual(balance(before, node.stats()), "")
            self.assertEqual(node.stats()["dropped"], before["dropped"])

    def until_it_forwards(self, peer):
        """testpmd connects, and offers its buffers some time later. Until then podwire drops."""
        probe, last = [datagram("c", POD_IP["a"], 0)], [datagram("c", POD_IP["a"], 1)]
        wait_until(lambda: peer.send_frames(probe) and peer.receive_frames(), "forwarding", 60)
        peer.send_frames(last)
        wait_until(lambda: 1 in map(number_of, peer.receive_frames()), "the last probe is back")

    def test_client_of_our_server_killed_and_back(self):
        node = Node()
        try:
            for _ in range(2):
                with testpmd("client", node.socket["a"][1:]) as process:
                    self.echo(node, process)
                self.assertEqual(node.wait_down("a"), "it closed its connection")
        finally:
            node.stop()

    def test_server_of_our_client(self):
        node = Node(clients="a")
        try:
            with testpmd("server", node.socket["a"][1:]) as process:
                self.echo(node, process)
            node.wait_down("a")
        finally:
            node.stop()

    def test_sockets_in_the_file_system(self):
        with tempfile.TemporaryDirectory() as folder:
            for role, clients in (("client", ""), ("server", "a")):
                with self.subTest(role):
                    path = f"{folder}/{role}.sock"
                    node = Node(clients=clients, sockets={"a": path})
                    try:
                        with testpmd(role, path, abstract=False) as process:
                            self.echo(node, process, [64])
                    finally:
                        node.stop()


class Queues(unittest.TestCase):
    def test_each_worker_polls_its_own(self):
        node = Node("--workers", "2", "--queues", "2")
        try:
            with node.client("a", rings=2) as a, node.client("c", rings=2) as c:
                a.handshake()
                c.handshake()
                wait_until(lambda: node.port("a")["up"] and node.port("c")["up"], "both are up")
                for ring in (0, 1):
                    a.send_frames([datagram("a", POD_IP["c"], n) for n in range(40)], ring)
                    # The worker that received it sends it, on the queue of its own number.
                    back = c.wait_frames(40, ring=ring)
                    self.assertEqual([number_of(f) for f in back], list(range(40)))
                    self.assertEqual(c.receive_frames(1 - ring), [])
        finally:
            node.stop()

    def test_frames_above_the_mtu_are_dropped_by_name(self):
        node = Node()
        try:
            with node.client("a") as a, node.client("c") as c:
                a.handshake()
                c.handshake()
                wait_until(lambda: node.port("a")["up"] and node.port("c")["up"], "both are up")
                frame = datagram("a", POD_IP["c"], 7, 9014)
                ring = a.to_server[0]
                for i in range(5):  # in five buffers of 2,048 bytes
                    part = frame[i * 2048:(i + 1) * 2048]
                    at = a.buffer(True, 0, i)
                    a.memory[at:at + len(part)] = part
                    ring.descriptor(i, memif.NEXT if i < 4 else 0, length=len(part), offset=at)
                ring.seen = ring.head(5)
                a.wake()
                wait_until(lambda: node.stats()["drops"].get("too_big") == 1, "too_big")
        finally:
            node.stop()


if __name__ == "__main__":
    unittest.main()
