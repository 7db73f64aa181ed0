"""A hostile memif peer harms its own port alone: it goes down by a named reason, the neighbour
under traffic loses nothing, the ledger closes, and the port works again once the peer behaves."""

import atexit
import contextlib
import functools
import os
import socket
import time
import unittest

import memif
from node import Neighbour, Node, POD_IP, balance, datagram, number_of, wait_until

PAGE = 4096


@functools.cache
def attacked():
    """One node and its neighbours for all attacks."""
    node = Node()
    neighbour = Neighbour(node)
    neighbour.start()
    atexit.register(node.stop)
    return node, neighbour


class Attack(unittest.TestCase):
    def setUp(self):
        self.node, self.neighbour = attacked()
        self.neighbour.progress()

    def tearDown(self):
        """Whatever was done: the neighbour goes on, and pod a is served again."""
        self.neighbour.progress()
        self.behave()

    def connect(self, **options):
        """A connection that the server takes: it makes one wait that has just misbehaved."""
        return self.node.client("a", **options)

    def behave(self):
        with self.connect() as peer:
            peer.handshake()
            wait_until(lambda: self.node.port("a")["up"], "port a is up again")
            self.both_ways(peer)

    def both_ways(self, peer):
        """Frames from the neighbour arrive, and this pod's are taken."""
        self.neighbour.to_pod("a", range(8))
        self.assertEqual([number_of(f) for f in peer.wait_frames(8)], list(range(8)))
        before = self.node.port("a")["rx"]
        peer.send_frames([datagram("a", "10.244.1.99", n) for n in range(8)])
        wait_until(lambda: self.node.port("a")["rx"] == before + 8, "pod a's frames are taken")

    def refused(self, peer, reason):
        """The server ends the connection by a sentence that holds `reason`."""
        self.assertIn(reason, peer.disconnected())
        self.assertIn(reason, self.node.wait_down("a"))

    # ---- descriptors and indices, while connected ----

    def descriptor(self, reason, **fields):
        with self.connect() as peer:
            peer.handshake()
            ring = peer.to_server[0]
            good = {"length": 64, "offset": peer.buffer(True, 0, 0)}
            for i in range(4):
                ring.descriptor(i, **{**good, **(fields if i == 2 else {})})
            ring.head(4)
            peer.wake()
            self.refused(peer, reason)

    def test_descriptor_offset_out_of_range(self):
        self.descriptor("beyond its region", offset=0xffffff00)

    def test_descriptor_at_the_very_end(self):
        size = memif_size()
        self.descriptor("beyond its region", offset=size - 63)

    def test_descriptor_length_out_of_range(self):
        self.descriptor("beyond its region", length=0xffffffff)

    def test_descriptor_region_out_of_range(self):
        self.descriptor("a region that there is not", region=0xfff0)

    def test_chain_without_end(self):
        with self.connect() as peer:
            peer.handshake()
            ring = peer.to_server[0]
            for i in range(ring.size):
                ring.descriptor(i, flags=memif.NEXT, length=16, offset=peer.buffer(True, 0, 0))
            ring.head(ring.size)
            peer.wake()
            self.refused(peer, "a chain of descriptors does not end")

    def test_head_runs_away(self):
        with self.connect() as peer:
            peer.handshake()
            peer.to_server[0].head(peer.to_server[0].size + 1)
            peer.wake()
            self.refused(peer, "further ahead")

    def test_head_runs_back(self):
        with self.connect() as peer:
            peer.handshake()
            peer.to_server[0].head(0xffff)
            peer.wake()
            self.refused(peer, "further ahead")

    def to_pod(self, peer):
        """A frame for pod a, so that podwire looks at the ring to the client."""
        self.neighbour.to_pod("a", [1])

    def test_bad_buffers_for_podwire_to_fill(self):
        for fields, reason in (({"region": 9, "length": 2048}, "a region that there is not"),
                               ({"offset": 0xfffffff0, "length": 2048}, "beyond its region"),
                               ({"length": 0xffffffff}, "beyond its region")):
            with self.subTest(fields), self.connect() as peer:
                peer.handshake(offer=False)
                ring = peer.to_client[0]
                for i in range(ring.size):
                    ring.descriptor(i, **fields)
                ring.head(ring.size)
                self.to_pod(peer)
                self.refused(peer, reason)

    def test_offered_head_runs_away(self):
        with self.connect() as peer:
            peer.handshake(offer=False)
            peer.to_client[0].head(40000)
            self.to_pod(peer)
            self.refused(peer, "further ahead")

    def test_descriptors_that_change_under_way(self):
        """Read once: what is checked is what is used."""
        with self.connect() as peer:
            peer.handshake()
            ring = peer.to_server[0]
            for i in range(ring.size):
                ring.descriptor(i, length=64, offset=peer.buffer(True, 0, i))
            until = time.monotonic() + 0.5
            while time.monotonic() < until and not peer.hung_up():
                ring.head((ring.tail() + ring.size) & 0xffff)
                peer.wake()
                for i in range(0, ring.size, 8):
                    ring.descriptor(i, region=0xfff0, length=0xffffffff, offset=0xffffffff)
                    ring.descriptor(i, length=64, offset=peer.buffer(True, 0, i))
            # Caught in the act, or never.
            if peer.hung_up():
                self.node.wait_down("a")

    def test_frames_that_are_none(self):
        """Too short or too long to be a frame: lost, counted, and the port stays up."""
        missed = self.node.port("a")["missed"]
        with self.connect(log2_size=8, buffer_bytes=2048) as peer:
            peer.handshake()
            ring = peer.to_server[0]
            whole = peer.size - peer.buffers_at
            shapes = [(0, 0), (0, 13)] + [(memif.NEXT, min(whole, 60000)), (0, min(whole, 60000))]
            for i, (flags, length) in enumerate(shapes):
                ring.descriptor(i, flags=flags, length=length, offset=peer.buffers_at)
            ring.seen = ring.head(len(shapes))
            peer.wake()
            wait_until(lambda: ring.tail() == len(shapes), "all are taken")
            wait_until(lambda: self.node.port("a")["missed"] == missed + 3, "all are counted")
            self.assertTrue(self.node.port("a")["up"])

    def test_no_buffers_ever_returned(self):
        """A peer that never reads: what is for it is dropped by name, and nobody else waits."""
        before = self.node.stats()
        with self.connect() as peer:
            peer.handshake(offer=False)
            for burst in range(20):
                self.neighbour.to_pod("a", range(32))
                self.neighbour.progress()
            full = before["drops"].get("port_full", 0) + 640
            wait_until(lambda: self.node.stats()["drops"].get("port_full", 0) == full, "dropped")

    # ---- memory ----

    def shrink(self, to_bytes, sealable):
        with self.connect(sealable=sealable) as peer:
            peer.handshake()
            self.both_ways(peer)
            os.ftruncate(peer.memfd, to_bytes)
            # Nothing that we touch ourselves any more. podwire looks at the ring all the time, or
            # when its eventfd says so.
            peer.wake()
            self.refused(peer, "was cut while in use")

    def test_memory_cut_to_nothing(self):
        self.shrink(0, sealable=False)

    def test_memory_cut_behind_the_rings(self):
        with self.connect(sealable=False) as peer:
            peer.handshake()
            ring = peer.to_server[0]
            far = peer.buffer(True, 0, 200)
            for i in range(8):
                ring.descriptor(i, length=64, offset=far)
            os.ftruncate(peer.memfd, (peer.buffers_at + PAGE) // PAGE * PAGE)
            ring.head(8)
            peer.wake()
            self.refused(peer, "was cut while in use")

    def test_sealable_memory_is_sealed(self):
        with self.connect(sealable=True) as peer:
            peer.handshake()
            with self.assertRaises(PermissionError):
                os.ftruncate(peer.memfd, 0)

    # ---- handshake ----

    def region(self, reason, **fields):
        with self.connect() as peer:
            peer.until_configuring()
            peer.add_region(**fields)
            self.refused(peer, reason)

    def test_region_larger_than_its_file(self):
        self.region("with a file of", size=1 << 29)

    def test_region_of_a_terabyte(self):
        self.region("bytes together", size=1 << 40)

    def test_region_of_nothing(self):
        self.region("size 0", size=0)

    def test_region_out_of_order(self):
        self.region("region index 3", index=3)

    def test_region_without_descriptor(self):
        self.region("with 0 descriptors", fds=[])

    def test_region_that_is_no_memory(self):
        with open("/proc/self/status") as other:
            self.region("no file in memory", fds=[other.fileno()], size=4096)

    def test_region_read_only(self):
        fd = os.memfd_create("peer")
        os.ftruncate(fd, 1 << 20)
        read_only = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
        self.region("mmap: Permission denied", fds=[read_only], size=1 << 20)
        os.close(read_only)
        os.close(fd)

    def test_regions_without_end(self):
        with self.connect() as peer:
            peer.until_configuring()
            for i in range(64):
                peer.add_region(i, size=PAGE)
                peer.expect(memif.ACK)
            peer.add_region(64, size=PAGE)
            self.refused(peer, "more than 64")

    def ring(self, reason, **fields):
        with self.connect() as peer:
            peer.until_configuring()
            peer.add_region()
            peer.expect(memif.ACK)
            peer.add_ring(**{"index": 0, "to_server": True, **fields})
            self.refused(peer, reason)

    def test_ring_offset_out_of_range(self):
        self.ring("in a region of", offset=0xffffff80)

    def test_ring_that_reaches_beyond_its_region(self):
        self.ring("in a region of", offset=memif_size() - 256)

    def test_ring_offset_odd(self):
        self.ring("offset 8", offset=8)

    def test_ring_in_no_region(self):
        self.ring("region 5 is not there", region=5)

    def test_ring_of_two_billion(self):
        self.ring("log2 size 31", log2_size=31)

    def test_ring_index_out_of_range(self):
        self.ring("index after 0", index=500)

    def test_ring_with_private_header(self):
        self.ring("private header", header=64)

    def test_ring_with_unknown_flags(self):
        self.ring("flags 6", flags=6)

    def test_ring_without_eventfd(self):
        self.ring("with 0 descriptors", fds=[])

    def test_ring_with_a_pipe_for_eventfd(self):
        ends = os.pipe()
        self.ring("no eventfd", fds=[ends[1]])
        for end in ends:
            os.close(end)

    def test_ring_without_cookie(self):
        self.ring("holds no ring", offset=memif_size() - 65536)

    def test_ring_twice(self):
        with self.connect() as peer:
            peer.until_connecting()
            peer.add_ring(0, True)
            self.refused(peer, "index after 1")

    def test_connect_without_rings(self):
        with self.connect() as peer:
            peer.until_configuring()
            peer.send(memif.CONNECT)
            self.refused(peer, "without a ring each way")

    def test_init_of_other_version_interface_and_mode(self):
        for fields, reason in (({"version": 0x300}, "version 768"), ({"mode": 1}, "mode 1"),
                               ({"interface": 4}, "interface id 4")):
            with self.subTest(fields), self.connect() as peer:
                peer.expect(memif.HELLO)
                peer.init(**fields)
                self.refused(peer, reason)

    def test_messages_out_of_turn(self):
        for kind in (memif.ACK, memif.HELLO, memif.ADD_REGION, memif.CONNECT, 0, 77):
            with self.subTest(kind), self.connect() as peer:
                peer.expect(memif.HELLO)
                fds = [0] if kind == memif.ADD_REGION else []
                peer.send(kind, fds=fds)
                self.refused(peer, "out of turn")

    def test_message_sizes(self):
        for size in (1, 2, 127, 129, 4096):
            with self.subTest(size), self.connect() as peer:
                peer.expect(memif.HELLO)
                peer.send(memif.INIT, size=size)
                self.assertRegex(peer.disconnected(), "a message of")

    # ---- floods ----

    def test_flood_of_messages(self):
        with self.connect() as peer:
            peer.handshake()
            with contextlib.suppress(OSError):
                for _ in range(10000):
                    peer.send(memif.ACK)
            self.refused(peer, "out of turn")

    def test_flood_of_descriptors(self):
        with self.connect() as peer:
            peer.until_configuring()
            peer.add_region(fds=[0] * 250)
            self.refused(peer, "too many descriptors")

    def test_descriptors_where_none_belong(self):
        with self.connect() as peer:
            peer.expect(memif.HELLO)
            peer.send(memif.INIT, fds=[0, 1, 2])
            self.refused(peer, "with 3 descriptors")

    def test_flood_of_connections(self):
        """One at a time is served, with pauses: the memif thread stays nearly idle."""
        began, tries = time.monotonic(), 0
        before = cpu_seconds(self.node.process.pid, "memif")
        while tries < 25 or time.monotonic() < began + 1:
            other = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            other.settimeout(0.01)
            with contextlib.suppress(OSError):
                other.connect(memif.address(self.node.socket["a"]))
                other.send(b"x")
            other.close()
            tries += 1
        used = cpu_seconds(self.node.process.pid, "memif") - before
        self.assertLess(used, 0.3 * (time.monotonic() - began))

    def test_half_open_sockets(self):
        """Who connects and says nothing is sent away, and those behind get their turn."""
        silent = [self.connect() for _ in range(3)]
        self.refused(silent[0], "did not finish its handshake")
        for peer in silent:
            peer.close()

    def test_eventfd_that_would_block(self):
        """A full counter and no O_NONBLOCK: write(2) would hang podwire's worker for ever."""
        with self.connect() as peer:
            for event in peer.events:
                os.set_blocking(event, True)
                os.eventfd_write(event, 0xfffffffffffffffe)
            peer.handshake()
            for ring in peer.to_client:
                ring.flags(0)  # wake me
            for _ in range(20):
                self.neighbour.to_pod("a", range(8))
                peer.wait_frames(8)
                self.neighbour.progress()

    # ---- afterwards ----

    def test_nothing_is_left_behind(self):
        """Killed in the middle and back, again and again: descriptors, buffers, memory."""
        self.behave()
        wait_until(lambda: not self.node.port("a")["up"], "gone")
        descriptors, before = self.node.descriptors(), self.node.stats()
        resident = self.node.resident_kb()
        for _ in range(40):
            child = os.fork()
            if child == 0:
                peer = self.node.client("a").handshake()
                peer.send_frames([datagram("a", "10.244.1.99", n) for n in range(32)])
                os.kill(os.getpid(), 9)
            self.assertEqual(os.waitpid(child, 0)[1], 9)
            self.node.wait_down("a")
        # "At most": a port is down a moment before its link's descriptors and memory are given
        # back, so that the figures from before may hold one link more; a leak would hold forty.
        wait_until(lambda: self.node.descriptors() <= descriptors, "descriptors are back")
        wait_until(lambda: self.node.stats()["watched"] <= before["watched"], "memory is back")
        self.assertLess(self.node.resident_kb() - resident, 1024)


def memif_size():
    peer_rings, log2_size, buffer_bytes = 2, 8, 2048
    ring = memif.RING_HEADER + (memif.DESCRIPTOR << log2_size)
    return peer_rings * (ring + (buffer_bytes << log2_size))


def cpu_seconds(pid, thread):
    """User and system time of a process's thread of that name."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/stat") as stat:
            name, _, rest = stat.read().partition("(")[2].partition(") ")
        if name == thread:
            fields = rest.split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    raise RuntimeError(f"no thread {thread}")


class Ledger(unittest.TestCase):
    def test_it_closes_after_attacks_and_every_buffer_is_back(self):
        node = Node()
        before = node.stats()
        try:
            for cut in (False, True):
                with node.client("a", sealable=False) as peer, node.client("b") as other:
                    peer.handshake()
                    other.handshake()
                    for burst in range(50):
                        peer.send_frames([datagram("a", POD_IP["b"], n) for n in range(64)])
                        other.receive_frames()
                    if cut:
                        os.ftruncate(peer.memfd, 0)
                        peer.wake()
                        node.wait_down("a")
                node.wait_down("b")
            settled = wait_until(lambda: (s := node.stats())["buffers"] == before["buffers"] and s,
                                 "buffers are back")
            self.assertEqual(balance(before, settled), "")
            self.assertGreater(settled["received"], 100)
        finally:
            node.stop()


if __name__ == "__main__":
    unittest.main()
