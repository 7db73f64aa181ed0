"""The guest's side of a vhost-user socket, played by hand: it listens, shares memory, and runs its
rings. It keeps the protocol unless it is told not to.

Sources: QEMU docs/interop/vhost-user.rst, virtio 1.2 section 2.7.
"""

import array
import ctypes
import mmap
import os
import select
import socket
import struct
import time

GET_FEATURES, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE = 1, 2, 3, 4, 5
SET_LOG_BASE, SET_LOG_FD, SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE = 6, 7, 8, 9, 10
GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR = 11, 12, 13, 14
GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_VRING_ENABLE = 15, 16, 17, 18
POSTCOPY_ADVISE, GET_INFLIGHT_FD, SET_INFLIGHT_FD, IOTLB_MSG, SET_SLAVE_REQ_FD = 28, 31, 32, 22, 21

NEXT, WRITE, INDIRECT = 1, 2, 4
MRG_RXBUF, MQ, PROTOCOL_FEATURES, VERSION_1 = 1 << 15, 1 << 22, 1 << 30, 1 << 32
HEADER = 12
GUEST, USER = 0x1_0000_0000, 0x7F00_0000_0000  # addresses of the shared memory, seen by the guest
SIZE = 4 << 20
RING, BUFFERS, BUFFER = 0x8000, 0x10_0000, 2048


def eventfd():
    return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)


class Frontend:
    """`size` entries a ring, `pairs` of rings. listen() first, then start() or messages by hand."""

    def __init__(self, path, size=256, pairs=1, features=MRG_RXBUF | VERSION_1):
        self.path, self.size, self.pairs = path, size, pairs
        self.features = features | PROTOCOL_FEATURES
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.path.exists(path):
            os.unlink(path)
        self.listener.bind(path)
        self.listener.listen(8)
        self.connection = None
        self.fd = self.memory = None
        self.events = []

    # ---- the socket ----

    def accept(self, timeout_s=10):
        self.listener.settimeout(timeout_s)
        self.connection = self.listener.accept()[0]
        self.connection.settimeout(timeout_s)
        return self

    def send(self, request, payload=b"", fds=(), flags=1, size=None):
        """One message; `size` is what its header says, and may be a lie."""
        message = struct.pack("<III", request, flags, len(payload) if size is None else size)
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.connection.sendmsg([message + payload], control)

    def ask(self, request, payload=b""):
        """The answer's payload."""
        self.send(request, payload)
        head = self._exactly(12)
        return self._exactly(struct.unpack("<III", head)[2])

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            part = self.connection.recv(count - len(data))
            if not part:
                raise ConnectionError("podwire hung up")
            data += part
        return data

    def hung_up(self, timeout_s=10):
        """Waits until the node has closed the connection."""
        self.connection.settimeout(timeout_s)
        try:
            while self.connection.recv(4096):
                pass
        except ConnectionError:
            pass
        return True

    def close(self):
        self.hang_up()
        self.listener.close()
        if os.path.exists(self.path):
            os.unlink(self.path)

    def hang_up(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        for event in self.events:
            os.close(event)
        self.events = []
        self.view = None
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
        if self.memory is not None:
            self.memory.close()
            self.memory = None

    # ---- setting up ----

    def make_memory(self, size=SIZE):
        self.fd = os.memfd_create("guest", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, size)
        self.memory = mmap.mmap(self.fd, size)
        self.avail_next = [0] * (2 * self.pairs)
        self.used_seen = [0] * (2 * self.pairs)
        self.free = [list(range(self.size)) for _ in range(2 * self.pairs)]

    def region(self, guest=GUEST, size=SIZE, user=USER, offset=0):
        return struct.pack("<QQQQ", guest, size, user, offset)

    def set_memory(self):
        self.send(SET_MEM_TABLE, struct.pack("<II", 1, 0) + self.region(), [self.fd])

    def negotiate(self):
        offered = struct.unpack("<Q", self.ask(GET_FEATURES))[0]
        self.send(SET_OWNER)
        self.ask(GET_PROTOCOL_FEATURES)
        self.send(SET_PROTOCOL_FEATURES, struct.pack("<Q", 1))
        self.send(SET_FEATURES, struct.pack("<Q", self.features))
        return offered

    def desc_at(self, ring):
        return ring * RING

    def avail_at(self, ring):
        return ring * RING + 0x4000

    def used_at(self, ring):
        return ring * RING + 0x5000

    def set_ring(self, ring, desc=None, avail=None, used=None, size=None, kick=None, call=None):
        where = [USER + at if given is None else given for given, at in
                 ((desc, self.desc_at(ring)), (used, self.used_at(ring)),
                  (avail, self.avail_at(ring)))]
        self.send(SET_VRING_NUM, struct.pack("<II", ring, size or self.size))
        self.send(SET_VRING_BASE, struct.pack("<II", ring, 0))
        self.send(SET_VRING_ADDR, struct.pack("<IIQQQQ", ring, 0, *where, 0))
        for request, given in ((SET_VRING_CALL, call), (SET_VRING_KICK, kick)):
            event = eventfd() if given is None else given
            self.events.append(event)
            self.send(request, struct.pack("<Q", ring), [event])
        self.send(SET_VRING_ENABLE, struct.pack("<II", ring, 1))

    def start(self):
        """Everything that a guest does until its rings run; receive buffers are there."""
        self.make_memory()
        self.negotiate()
        self.set_memory()
        for ring in range(2 * self.pairs):
            if ring % 2 == 0:
                self.post_buffers(ring)
            self.set_ring(ring)
        return self

    # ---- rings ----

    def buffer_at(self, ring, number):
        return BUFFERS + ring * self.size * BUFFER + number * BUFFER

    def write_descriptor(self, ring, number, address, length, flags=0, following=0):
        struct.pack_into("<QIHH", self.memory, self.desc_at(ring) + 16 * number, address, length,
                         flags, following)

    def offer(self, ring, heads, jump=0):
        """Puts heads of chains into the available ring; `jump` moves its index further."""
        at = self.avail_at(ring)
        for head in heads:
            slot = self.avail_next[ring] % self.size
            struct.pack_into("<H", self.memory, at + 4 + 2 * slot, head)
            self.avail_next[ring] = (self.avail_next[ring] + 1) & 0xFFFF
        # One store of two bytes, after the ring.
        ctypes.c_uint16.from_buffer(self.memory, at + 2).value = \
            (self.avail_next[ring] + jump) & 0xFFFF
        # The queue's own eventfd: calls and kicks alternate in self.events.
        if 2 * ring + 1 < len(self.events):
            os.eventfd_write(self.events[2 * ring + 1], 1)

    def post_buffers(self, ring):
        numbers, self.free[ring] = self.free[ring], []
        for number in numbers:
            self.write_descriptor(ring, number, GUEST + self.buffer_at(ring, number), BUFFER, WRITE)
        self.offer(ring, numbers)

    def used(self, ring):
        """(head, length) of every chain that came back since the last call."""
        at, came = self.used_at(ring), []
        index = struct.unpack_from("<H", self.memory, at + 2)[0]
        while self.used_seen[ring] != index:
            slot = self.used_seen[ring] % self.size
            came.append(struct.unpack_from("<II", self.memory, at + 4 + 8 * slot))
            self.used_seen[ring] = (self.used_seen[ring] + 1) & 0xFFFF
        return came

    def send_frames(self, frames, pair=0, header=bytes(HEADER)):
        """As many as there is room for, each in one buffer; the number."""
        ring = 2 * pair + 1
        self.free[ring] += [head for head, _ in self.used(ring)]
        heads = []
        for frame in frames[:len(self.free[ring])]:
            number = self.free[ring].pop()
            data = header + frame
            at = self.buffer_at(ring, number)
            self.memory[at:at + len(data)] = data
            self.write_descriptor(ring, number, GUEST + at, len(data))
            heads.append(number)
        if heads:
            self.offer(ring, heads)
        return len(heads)

    def send_chain(self, descriptors, pair=0):
        """One chain of (address, length, flags, next), written from descriptor 0 on."""
        ring = 2 * pair + 1
        for number, (address, length, flags, following) in enumerate(descriptors):
            self.write_descriptor(ring, number, address, length, flags, following)
        self.offer(ring, [0])

    def frames(self, pair=0):
        """What has come, without virtio-net headers; its buffers are offered again."""
        ring, frames, heads = 2 * pair, [], []
        pending = self.used(ring)
        while pending:
            head, length = pending.pop(0)
            at = self.buffer_at(ring, head)
            buffers = struct.unpack_from("<H", self.memory, at + 10)[0]
            data = self.memory[at + HEADER:at + length]
            heads.append(head)
            for _ in range(buffers - 1):
                head, length = pending.pop(0)
                at = self.buffer_at(ring, head)
                data += self.memory[at:at + length]
                heads.append(head)
            frames.append(bytes(data))
        if heads:
            self.offer(ring, heads)
        return frames

    def wait_frames(self, count, timeout_s=10, pair=0):
        frames, deadline = [], time.monotonic() + timeout_s
        call = self.events[4 * pair]
        while True:
            frames += self.frames(pair)
            if len(frames) >= count or time.monotonic() > deadline:
                return frames
            if select.select([call], [], [], 0.05)[0]:
                os.eventfd_read(call)
