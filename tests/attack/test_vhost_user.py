"""A hostile vhost-user peer harms its own port alone: it goes down by a named reason, the neighbour
under traffic loses nothing, the ledger closes, and the port works again once the peer behaves."""

import atexit
import contextlib
import functools
import os
import struct
import subprocess
import sys
import time
import unittest

import vhost_frontend as vhost
from node import balance, datagram, number_of, wait_until
from vhost_frontend import GUEST, NEXT, USER, WRITE, Frontend
from vhost_node import Neighbour, VhostNode


def to_itself(number):
    """A datagram of pod a that comes back to it through a Service."""
    return datagram("a", "10.96.0.11", number, to_port=53)


@functools.cache
def attacked():
    """One node and its neighbours for all attacks."""
    node = VhostNode()
    neighbour = Neighbour(node)
    neighbour.start()

    def end():
        neighbour.finish()
        node.stop()
    atexit.register(end)
    return node, neighbour


class Attack(unittest.TestCase):
    def setUp(self):
        self.node, self.neighbour = attacked()
        self.before = self.node.stats()
        self.peer = Frontend(self.node.socket["a"])
        self.peer.accept()

    def tearDown(self):
        """Whatever was done: the neighbour goes on, pod a is served again, nothing is missing."""
        self.peer.close()
        self.neighbour.progress()
        with_manners = Frontend(self.node.socket["a"])
        try:
            with_manners.accept().start()
            self.node.wait_up("a")
            with_manners.send_frames([to_itself(n) for n in range(8)])
            self.assertEqual([number_of(f) for f in with_manners.wait_frames(8)], list(range(8)))
        finally:
            with_manners.close()
        self.ledger_closes()

    def ledger_closes(self):
        """The neighbour goes on: a moment without packets on the way has to be found."""
        last = []

        def balanced():
            last[:] = [balance(self.before, self.node.stats())]
            return not last[0]
        try:
            wait_until(balanced, "the ledger closes")
        except TimeoutError as error:
            raise AssertionError(f"{error}: {last[0]}") from error

    def reason(self):
        return self.node.port("a")["down_reason"]

    def refused(self, *words):
        """The connection ends, and the port says why, in one of these words."""
        self.peer.hung_up()
        wait_until(lambda: any(word in self.reason() for word in words),
                   f"{words} in '{self.reason()}'")
        self.assertFalse(self.node.port("a")["up"])

    def started(self, **options):
        if options:
            self.peer.close()
            self.peer = Frontend(self.node.socket["a"], **options)
            self.peer.accept()
        self.peer.start()
        self.node.wait_up("a")
        return self.peer

    # ---- descriptors and rings, under way ----

    def chain(self, words, *descriptors):
        self.started().send_chain(descriptors)
        self.refused(words)

    def test_descriptor_address_out_of_range(self):
        self.chain("outside the shared memory", (0xDEAD_0000_0000, 64, 0, 0))

    def test_descriptor_address_below_the_region(self):
        self.chain("outside the shared memory", (GUEST - 32, 64, 0, 0))

    def test_descriptor_that_ends_behind_the_region(self):
        self.chain("outside the shared memory", (GUEST + vhost.SIZE - 63, 64, 0, 0))

    def test_descriptor_whose_end_wraps_around(self):
        self.chain("outside the shared memory", (0xFFFF_FFFF_FFFF_FFC0, 128, 0, 0))

    def test_huge_length(self):
        self.chain("outside the shared memory", (GUEST + vhost.BUFFERS, 0xFFFF_FFFF, 0, 0))

    def test_second_descriptor_out_of_range(self):
        self.chain("outside the shared memory", (GUEST + vhost.BUFFERS, 64, NEXT, 1),
                   (0, 64, 0, 0))

    def test_chain_loop_of_one(self):
        self.chain("does not end", (GUEST + vhost.BUFFERS, 1, NEXT, 0))

    def test_chain_loop_of_two(self):
        at = GUEST + vhost.BUFFERS
        self.chain("does not end", (at, 1, NEXT, 1), (at, 1, NEXT, 0))

    def test_chain_loop_without_bytes(self):
        at = GUEST + vhost.BUFFERS
        self.chain("does not end", (at, 0, NEXT, 1), (at, 0, NEXT, 0))

    def test_chain_goes_on_behind_the_ring(self):
        self.chain("behind the last descriptor", (GUEST + vhost.BUFFERS, 64, NEXT, 0xFFFF))

    def test_head_behind_the_ring(self):
        self.started().offer(1, [0xFFFF])
        self.refused("begins behind the last descriptor")

    def test_indirect_descriptor(self):
        self.chain("indirect", (GUEST + vhost.BUFFERS, 64, vhost.INDIRECT, 0))

    def test_write_only_descriptor_to_read_from(self):
        self.chain("wrong direction", (GUEST + vhost.BUFFERS, 64, WRITE, 0))

    def test_avail_index_runs_away(self):
        self.started().offer(1, [], jump=40000)
        self.refused("more buffers are offered")

    def test_avail_index_one_too_far(self):
        peer = self.started()
        peer.offer(1, [], jump=peer.size + 1)
        self.refused("more buffers are offered")

    def test_runt_descriptors(self):
        """Shorter than the virtio-net header, or than an Ethernet header behind it: lost, named."""
        peer = self.started()
        missed = self.node.port("a")["missed"]
        at = GUEST + vhost.BUFFERS
        for number in range(26):
            peer.write_descriptor(1, number, at, number)
        peer.offer(1, range(26))
        wait_until(lambda: self.node.port("a")["missed"] == missed + 26, "all runts are missed")
        self.assertTrue(self.node.port("a")["up"])

    def test_frame_too_long(self):
        peer = self.started()
        missed = self.node.port("a")["missed"]
        peer.send_chain([(GUEST, 60000, NEXT, 1), (GUEST, 60000, 0, 0)])
        wait_until(lambda: self.node.port("a")["missed"] == missed + 1, "the frame is missed")
        self.assertTrue(self.node.port("a")["up"])

    def test_lying_virtio_headers(self):
        """Offloads that contradict the frame."""
        peer = self.started()
        missed = self.node.port("a")["missed"]
        frame = to_itself(1)
        lies = [struct.pack("<BBHHHHH", *fields, 0) for fields in (
            (1, 0, 0, 0, 0xFFFF, 0xFFFF), (1, 1, 54, 1, 34, 16), (0, 1, 54, 1400, 34, 16),
            (1, 4, 54, 1400, 34, 16), (1, 3, 0, 1400, 34, 6), (1, 0xFF, 0, 0, 0, 0),
            (1, 0, 0, 0, 60, 10))]
        for lie in lies:
            peer.send_frames([frame], header=lie)
        wait_until(lambda: self.node.port("a")["missed"] == missed + len(lies), "all are missed")

    def to_pod(self):
        """A frame for pod a, so that podwire looks at its receive ring."""
        self.peer.send_frames([to_itself(1)])

    def test_bad_buffers_to_fill(self):
        for address, length, flags, following, words in (
                (0xDEAD_0000_0000, 2048, WRITE, 0, "outside the shared memory"),
                (GUEST + vhost.SIZE - 100, 2048, WRITE, 0, "outside the shared memory"),
                (GUEST, 2048, 0, 0, "wrong direction"),
                (GUEST, 4, WRITE, 0, "no room for the virtio-net header"),
                (GUEST + vhost.BUFFERS, 12, WRITE | NEXT, 0xFFF0, "behind the last descriptor"),
                (GUEST + vhost.BUFFERS, 12, WRITE | NEXT, 7, "does not end")):
            with self.subTest(words):
                peer = self.started(size=64)
                for number in range(peer.size):
                    to = 7 if following == 7 and number == 7 else following
                    peer.write_descriptor(0, number, address, length if number != 7 else 0
                                          if following == 7 else length, flags, to)
                self.to_pod()
                self.refused(words)

    def test_offered_index_of_buffers_to_fill_runs_away(self):
        peer = self.started()
        peer.offer(0, [], jump=5000)
        self.to_pod()
        self.refused("more buffers are offered")

    def test_buffers_never_given(self):
        """Its own frames are lost as port_full; nobody else's, and no buffer of ours stays."""
        peer = self.peer
        peer.make_memory()
        peer.negotiate()
        peer.set_memory()
        for ring in range(2):
            peer.set_ring(ring)
        self.node.wait_up("a")
        full = self.before["drops"].get("port_full", 0)
        self.assertEqual(peer.send_frames([to_itself(n) for n in range(64)]), 64)
        wait_until(lambda: self.node.stats()["drops"].get("port_full", 0) >= full + 64,
                   "64 frames are dropped as port_full")

    def test_descriptors_that_change_under_way(self):
        """Read once: what is checked is what is used."""
        peer = self.started()
        stop = time.monotonic() + 0.5
        good = struct.pack("<QIHH", GUEST + vhost.BUFFERS, 64, 0, 0)
        bad = struct.pack("<QIHH", 0xDEAD_0000_0000, 0xFFFF_FFFF, 0, 0)
        while time.monotonic() < stop and self.node.port("a")["up"]:
            for number in range(0, peer.size, 16):
                at = peer.desc_at(1) + 16 * number
                peer.memory[at:at + 16] = good
            peer.offer(1, range(0, peer.size, 16))
            for number in range(0, peer.size, 16):
                at = peer.desc_at(1) + 16 * number
                peer.memory[at:at + 16] = bad
        self.node.stats()

    # ---- memory ----

    def test_memory_shrinks_to_nothing(self):
        peer = self.started()
        os.ftruncate(peer.fd, 0)
        os.eventfd_write(peer.events[3], 1)
        self.refused("took shared memory away")

    def test_memory_shrinks_while_frames_flow(self):
        peer = self.started()
        peer.send_frames([to_itself(n) for n in range(200)])
        os.ftruncate(peer.fd, 4096)
        os.eventfd_write(peer.events[3], 1)
        self.refused("took shared memory away")

    def test_memory_shrinks_while_the_library_sets_up(self):
        """Nothing is guarded by a size that was right a moment ago."""
        peer = self.peer
        peer.make_memory()
        peer.negotiate()
        peer.set_memory()
        os.ftruncate(peer.fd, 0)
        for ring in range(2):
            try:
                peer.set_ring(ring)
            except OSError:
                break
        # Cut before the table was looked at, or after.
        self.refused("took shared memory away", "of a file of 0")

    def test_memory_shrinks_as_a_new_table_comes(self):
        """The library looks at rings while it handles the table, before anybody can watch it."""
        other = os.memfd_create("other", os.MFD_CLOEXEC)
        shrinking = subprocess.Popen(
            [sys.executable, "-c", "import os\nwhile True:\n"
             f" os.ftruncate({other}, {vhost.SIZE})\n os.ftruncate({other}, 0)"], pass_fds=[other])
        try:
            for _ in range(8):
                peer = self.started()
                try:
                    for turn in range(1, 50):
                        peer.send(vhost.SET_MEM_TABLE, struct.pack("<II", 1, 0) +
                                  peer.region(guest=GUEST + turn * 4096), [other])
                except OSError:
                    pass
                self.peer.close()  # refused for one reason or another, or not caught in the act
                self.peer = Frontend(self.node.socket["a"]).accept()
                self.node.stats()  # it lives
        finally:
            shrinking.kill()
            shrinking.wait()
            os.close(other)

    def table(self, words, *regions, fds=None, count=None):
        self.peer.make_memory()
        self.peer.negotiate()
        if fds is None:
            fds = [self.peer.fd] * len(regions)
        self.peer.send(vhost.SET_MEM_TABLE, struct.pack(
            "<II", len(regions) if count is None else count, 0) + b"".join(regions), fds)
        self.refused(words)

    def test_region_of_a_terabyte_over_a_small_file(self):
        self.table("of a file of", self.peer.region(size=1 << 40))

    def test_region_at_an_offset_behind_the_file(self):
        self.table("of a file of", self.peer.region(size=4096, offset=vhost.SIZE))

    def test_region_whose_offset_overflows(self):
        self.table("of a file of", self.peer.region(size=8192, offset=(1 << 64) - 4096))

    def test_region_whose_addresses_wrap(self):
        self.table("wrap around", self.peer.region(guest=(1 << 64) - 4096))

    def test_region_of_nothing(self):
        self.table("of a file of", self.peer.region(size=0))

    def test_more_regions_than_can_be(self):
        self.table("sends a memory table of 200 regions", self.peer.region(), count=200)

    def test_more_regions_than_descriptors(self):
        self.table("are not as many", self.peer.region(), self.peer.region(guest=1 << 40),
                   fds=[])

    def test_memory_that_is_no_memory(self):
        read, write = os.pipe()
        null = os.open("/dev/zero", os.O_RDWR)
        try:
            for fd in (read, null):
                with self.subTest(fd=fd):
                    self.table("neither a memfd", self.peer.region(), fds=[fd])
                    self.peer.close()
                    self.peer = Frontend(self.node.socket["a"]).accept()
        finally:
            for fd in (read, write, null):
                os.close(fd)

    def ring_at(self, **where):
        peer = self.peer
        peer.make_memory()
        peer.negotiate()
        peer.set_memory()
        for ring in range(2):
            with contextlib.suppress(ConnectionError):  # it may hang up at the first already
                peer.set_ring(ring, **where)

    def test_ring_outside_the_memory(self):
        """No ring of it ever runs: the library does not find it, or we refuse it."""
        for name in ("desc", "avail", "used"):
            for at in (USER - 4096, USER + vhost.SIZE - 64, 0, 0xFFFF_FFFF_FFFF_F000):
                with self.subTest(name, at=hex(at)):
                    self.ring_at(**{name: at})
                    wait_until(lambda: any(words in self.reason() for words in (
                        "its queues", "a ring is")), "the port has not come up")
                    self.assertFalse(self.node.port("a")["up"])
                    self.peer.close()
                    self.peer = Frontend(self.node.socket["a"]).accept()

    def test_misaligned_ring(self):
        self.ring_at(desc=USER + 8)
        self.refused("a ring is not in the shared memory")

    # ---- messages ----

    def message(self, words, request, payload=b"", **options):
        self.peer.send(request, payload, **options)
        self.refused(words)

    def test_ring_sizes_that_cannot_be(self):
        for size in (0, 3, 8192, 32768, 0xFFFF_FFFF):
            with self.subTest(size):
                self.message("entries", vhost.SET_VRING_NUM, struct.pack("<II", 0, size))
                self.peer.close()
                self.peer = Frontend(self.node.socket["a"]).accept()

    def test_ring_numbers_that_cannot_be(self):
        for number in (2, 200, 255):
            with self.subTest(number):
                self.message("names ring", vhost.SET_VRING_NUM, struct.pack("<II", number, 256))
                self.peer.close()
                self.peer = Frontend(self.node.socket["a"]).accept()

    def test_ring_number_beyond_the_protocol(self):
        """The library hangs up by itself."""
        self.peer.send(vhost.SET_VRING_NUM, struct.pack("<II", 70000, 256))
        self.peer.hung_up()

    def test_log(self):
        for request in (vhost.SET_LOG_BASE, vhost.SET_LOG_FD):
            with self.subTest(request):
                log = os.memfd_create("log")
                os.ftruncate(log, 4096)
                self.message("was not negotiated", request, struct.pack("<QQ", 1 << 40, 0),
                             fds=[log])
                os.close(log)
                self.peer.close()
                self.peer = Frontend(self.node.socket["a"]).accept()

    def test_log_of_a_ring(self):
        self.message("a log of a ring", vhost.SET_VRING_ADDR,
                     struct.pack("<IIQQQQ", 0, 1, USER, USER, USER, USER))

    def test_inflight_and_the_like(self):
        for request in (vhost.GET_INFLIGHT_FD, vhost.SET_INFLIGHT_FD, vhost.POSTCOPY_ADVISE,
                        vhost.IOTLB_MSG, vhost.SET_SLAVE_REQ_FD, 24, 25, 26, 27, 29, 30, 39, 0,
                        41, 9999, 0xFFFF_FFFF):
            with self.subTest(request):
                self.message("was not negotiated", request,
                             struct.pack("<QQHH", 1 << 40, 0, 1, 1024))
                self.peer.close()
                self.peer = Frontend(self.node.socket["a"]).accept()

    def test_features_that_were_not_offered(self):
        for request, bit, words in ((vhost.SET_FEATURES, 26, "takes features"),
                                    (vhost.SET_FEATURES, 33, "takes features"),
                                    (vhost.SET_FEATURES, 34, "takes features"),
                                    (vhost.SET_FEATURES, 28, "takes features"),
                                    (vhost.SET_PROTOCOL_FEATURES, 12, "takes protocol features")):
            with self.subTest(bit=bit):
                self.message(words, request, struct.pack("<Q", 1 << bit))
                self.peer.close()
                self.peer = Frontend(self.node.socket["a"]).accept()

    def test_kick_that_is_no_eventfd(self):
        read, write = os.pipe()
        for request in (vhost.SET_VRING_KICK, vhost.SET_VRING_CALL, vhost.SET_VRING_ERR):
            with self.subTest(request):
                self.message("without one eventfd", request, struct.pack("<Q", 0), fds=[read])
                self.peer.close()
                self.peer = Frontend(self.node.socket["a"]).accept()
        os.close(read)
        os.close(write)

    def test_call_that_would_block(self):
        """Its counter is full and it may block: a worker that wrote to it would never return."""
        call = os.eventfd(0, 0)
        os.eventfd_write(call, 0xFFFF_FFFF_FFFF_FFFE)
        peer = self.peer
        peer.make_memory()
        peer.negotiate()
        peer.set_memory()
        for ring in range(2):
            if ring == 0:
                peer.post_buffers(0)
            peer.set_ring(ring, call=os.dup(call))
        self.node.wait_up("a")
        peer.send_frames([to_itself(n) for n in range(8)])
        wait_until(lambda: self.node.port("a")["tx"] > self.before["ports"]["a"]["tx"],
                   "frames go out")
        self.neighbour.progress()
        os.close(call)

    def test_descriptor_flood(self):
        """Hundreds of descriptors in one message, and with a message that takes none."""
        open_before = self.node.descriptors()
        fds = [os.dup(0) for _ in range(200)]
        for request in (vhost.SET_MEM_TABLE, vhost.GET_FEATURES, vhost.SET_VRING_CALL):
            for _ in range(4):
                try:
                    self.peer.send(request, struct.pack("<Q", 0), fds=fds)
                except OSError:
                    pass
                self.peer.close()
                self.peer = Frontend(self.node.socket["a"])
                self.peer.accept()
        for fd in fds:
            os.close(fd)
        wait_until(lambda: self.node.descriptors() <= open_before + 4, "they are all closed")

    def test_descriptors_with_a_ring_that_cannot_be(self):
        """The library meets the number before podwire does; what came with it is closed all the
        same, and for a number that it takes as well."""
        open_before = self.node.descriptors()
        for number in (70000, 256, 200):
            for request in (vhost.SET_VRING_NUM, vhost.SET_VRING_ADDR, vhost.SET_VRING_BASE,
                            vhost.GET_VRING_BASE, vhost.SET_VRING_ENABLE, vhost.SET_INFLIGHT_FD):
                self.peer.send(request, struct.pack("<IIQQQQ", number, number, 0, 0, 0, 0),
                               fds=[0] * 8)
                self.peer.hung_up()
                self.peer.close()
                self.peer = Frontend(self.node.socket["a"]).accept()
        wait_until(lambda: self.node.descriptors() <= open_before + 4, "they are all closed")

    def test_descriptors_with_a_ring_that_is(self):
        self.peer.send(vhost.SET_VRING_NUM, struct.pack("<II", 0, 256), fds=[0, 0])
        self.refused("SET_VRING_NUM with 2 descriptors")

    def test_message_flood(self):
        try:
            while True:
                self.peer.ask(vhost.GET_FEATURES)
        except (ConnectionError, TimeoutError):
            pass
        self.refused("more messages than")

    def test_message_flood_without_reading_answers(self):
        self.peer.connection.settimeout(5)
        try:
            for _ in range(100_000):
                self.peer.send(vhost.GET_FEATURES)
        except OSError:
            pass
        self.refused("does not read the answers")

    def test_message_longer_than_any(self):
        self.peer.send(vhost.SET_FEATURES, bytes(8), size=0xFFFF_FFFF)
        self.peer.hung_up()

    def test_message_of_the_wrong_length(self):
        self.message("bytes", vhost.SET_FEATURES, bytes(4))

    def test_half_a_message(self):
        """It never sends the rest: others are served meanwhile."""
        self.peer.send(vhost.SET_FEATURES, b"", size=8)
        with_manners = Frontend(self.node.socket["a"] + "-unused")
        with_manners.close()
        self.peer.hung_up(5)

    def test_half_a_header(self):
        self.peer.connection.sendall(b"\1\0\0\0\1")
        self.peer.hung_up(5)

    def test_half_open(self):
        """It accepts and says nothing: the port waits, and says for what."""
        wait_until(lambda: "has not set up its queues" in self.reason(), "the reason")
        self.neighbour.progress()

    def test_noise(self):
        noise = bytes((7 * n * n + 13 * n) & 0xFF for n in range(4096))
        for turn in range(10):
            try:
                self.peer.connection.sendall(noise[turn * 64:])
            except OSError:
                pass
            self.peer.hung_up()
            self.peer.close()
            self.peer = Frontend(self.node.socket["a"]).accept()

    def test_rings_set_up_anew_under_way(self):
        peer = self.started()
        for _ in range(50):
            peer.send_frames([to_itself(n) for n in range(16)])
            for ring in range(2):
                peer.send(vhost.SET_VRING_ADDR, struct.pack(
                    "<IIQQQQ", ring, 0, USER + peer.desc_at(ring), USER + peer.used_at(ring),
                    USER + peer.avail_at(ring), 0))
            peer.frames()
        self.node.wait_up("a")

    def test_reset_owner_under_way(self):
        peer = self.started()
        peer.send_frames([to_itself(n) for n in range(16)])
        peer.send(vhost.RESET_OWNER)
        wait_until(lambda: not self.node.port("a")["up"], "the port is down")

    def test_hundred_connections(self):
        """Killed and come again: no descriptor, buffer or watch of ours stays."""
        self.started()
        self.peer.close()
        wait_until(lambda: not self.node.port("a")["up"], "the port is down")
        open_before, resident = self.node.descriptors(), self.node.resident_kb()
        watched = self.node.stats()["watched"]
        for _ in range(100):
            peer = Frontend(self.node.socket["a"]).accept().start()
            self.node.wait_up("a")
            peer.send_frames([to_itself(n) for n in range(4)])
            peer.close()
        wait_until(lambda: not self.node.port("a")["up"], "the port is down")
        wait_until(lambda: self.node.descriptors() <= open_before, "descriptors are closed")
        wait_until(lambda: self.node.stats()["watched"] <= watched, "memory is let go")
        self.assertLess(self.node.resident_kb() - resident, 1024)


class AfterAnother(unittest.TestCase):
    def test_fault_goes_with_its_peer(self):
        """A queue that one peer broke, and the next does not use, is not held against the next."""
        node = VhostNode("--queues", "2", pods="a")
        try:
            bad = Frontend(node.socket["a"], pairs=2).accept().start()
            node.wait_up("a")
            bad.send_chain([(0, 64, 0, 0)], pair=1)
            bad.hung_up()
            bad.close()
            wait_until(lambda: "broke a queue" in node.port("a")["down_reason"], "the reason")
            good = Frontend(node.socket["a"]).accept().start()
            node.wait_up("a")
            # For some turns of the keeper, which asks whether the peer is wanted.
            until = time.monotonic() + 0.4
            while time.monotonic() < until:
                good.send_frames([to_itself(n) for n in range(8)])
                self.assertEqual([number_of(f) for f in good.wait_frames(8)], list(range(8)))
            good.close()
        finally:
            node.stop()


if __name__ == "__main__":
    unittest.main()
