"""The public memif protocol (2.0) from the peer's side, as libmemif speaks it: a client with its
memory, rings and frames. Every step can be taken alone and every field be wrong, so that it is the
tool of the attack suite too.

    with memif.Client("@name") as client:
        client.handshake()
        client.send_frames([frame, ...])
        frames = client.receive_frames()

Names that begin with "@" are abstract sockets of the caller's network namespace.
"""

import array
import contextlib
import fcntl
import mmap
import os
import select
import socket
import struct
import time

ACK, HELLO, INIT, ADD_REGION, ADD_RING, CONNECT, CONNECTED, DISCONNECT = range(1, 9)
VERSION, COOKIE, RING_HEADER, DESCRIPTOR = 0x200, 0x3E31F20, 128, 16
MESSAGE = 128
NEXT, MASK_INTERRUPT, TO_SERVER = 1, 1, 1
SEALS = fcntl.F_SEAL_SHRINK


class Closed(Exception):
    """The other side has ended the connection; the text is what it said."""


def address(name):
    return "\0" + name[1:] if name.startswith("@") else name


class Ring:
    """A ring in shared memory, its indices and descriptors at hand."""

    def __init__(self, memory, halves, offset, log2_size):
        self.memory, self.offset, self.size = memory, offset, 1 << log2_size
        self.halves = halves  # the same as 16-bit words: struct would write an index bytewise
        self.seen = 0  # what we have taken or filled so far

    def _u16(self, at, value=None):
        if value is None:
            return self.halves[(self.offset + at) // 2]
        self.halves[(self.offset + at) // 2] = value = value & 0xffff
        return value

    def flags(self, value=None):
        return self._u16(4, value)

    def head(self, value=None):
        return self._u16(6, value)

    def tail(self, value=None):
        return self._u16(64, value)

    def descriptor(self, index, flags=0, region=0, length=0, offset=0):
        """Writes one."""
        struct.pack_into("=HHIII", self.memory, self.place(index), flags, region, length, offset, 0)

    def read(self, index):
        """flags, region, length, offset"""
        return struct.unpack_from("=HHII", self.memory, self.place(index))

    def place(self, index):
        return self.offset + RING_HEADER + DESCRIPTOR * (index % self.size)

    def initialise(self):
        struct.pack_into("=IHH", self.memory, self.offset, COOKIE, 0, 0)
        self.tail(0)


class Client:
    def __init__(self, name, rings=1, log2_size=8, buffer_bytes=2048, seals=0, sealable=True):
        self.rings, self.log2_size, self.buffer_bytes = rings, log2_size, buffer_bytes
        ring_bytes = RING_HEADER + (DESCRIPTOR << log2_size)
        self.buffers_at = 2 * rings * ring_bytes
        self.size = self.buffers_at + 2 * rings * (buffer_bytes << log2_size)
        self.memfd = os.memfd_create("peer", os.MFD_CLOEXEC | (os.MFD_ALLOW_SEALING if sealable
                                                              else 0))
        os.ftruncate(self.memfd, self.size)
        if seals:
            fcntl.fcntl(self.memfd, fcntl.F_ADD_SEALS, seals)
        self.memory = mmap.mmap(self.memfd, self.size)
        self.halves = memoryview(self.memory).cast("H")
        both = [Ring(self.memory, self.halves, i * ring_bytes, log2_size)
                for i in range(2 * rings)]
        self.to_server, self.to_client = both[:rings], both[rings:]
        for ring in self.to_server + self.to_client:
            ring.initialise()
            ring.flags(MASK_INTERRUPT)
        self.events = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(2 * rings)]
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(address(name))  # waits while the server's backlog is full
        self.socket.settimeout(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()
        for fd in [self.memfd, *self.events]:
            with contextlib.suppress(OSError):
                os.close(fd)
        self.events, self.memfd = [], -1
        self.halves.release()
        self.memory.close()

    # ---- messages ----

    def send(self, kind, body=b"", fds=(), size=MESSAGE):
        data = (struct.pack("=H", kind) + body).ljust(size, b"\0")[:size]
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([data], passed)

    def receive(self):
        data = b""
        # That the other side left something unread is told first, what it said after that.
        for _ in range(2):
            with contextlib.suppress(ConnectionError):
                data = self.socket.recv(MESSAGE)
                break
        if not data:
            raise Closed("without a word")
        kind = struct.unpack_from("=H", data)[0]
        if kind == DISCONNECT:
            raise Closed(data[6:102].split(b"\0")[0].decode())
        return kind, data[2:]

    def expect(self, kind):
        got, body = self.receive()
        assert got == kind, f"message {got} instead of {kind}"
        return body

    def disconnected(self, timeout_s=10):
        """What the other side says when it ends the connection."""
        self.socket.settimeout(timeout_s)
        try:
            while True:
                self.receive()
        except Closed as why:
            return str(why)

    def init(self, version=VERSION, interface=0, mode=0, secret=b"", name=b"python"):
        self.send(INIT, struct.pack("=HIB24s32s", version, interface, mode, secret, name))

    def add_region(self, index=0, size=None, fds=None):
        self.send(ADD_REGION, struct.pack("=HQ", index, self.size if size is None else size),
                  [self.memfd] if fds is None else fds)

    def add_ring(self, index, to_server, region=0, offset=None, log2_size=None, header=0, fds=None,
                 flags=None):
        place = index if to_server else self.rings + index
        ring = (self.to_server + self.to_client)[place % (2 * self.rings)]
        self.send(ADD_RING, struct.pack(
            "=HHHIBH", int(to_server) if flags is None else flags, index, region,
            ring.offset if offset is None else offset,
            self.log2_size if log2_size is None else log2_size, header),
            [self.events[place % (2 * self.rings)]] if fds is None else fds)

    def until_configuring(self):
        self.expect(HELLO)
        self.init()
        self.expect(ACK)

    def until_connecting(self):
        self.until_configuring()
        self.add_region()
        self.expect(ACK)
        for to_server in (True, False):
            for i in range(self.rings):
                self.add_ring(i, to_server)
                self.expect(ACK)

    def handshake(self, offer=True):
        self.until_connecting()
        if offer:
            for i in range(self.rings):
                self.offer(i)
        self.send(CONNECT, b"python".ljust(32, b"\0"))
        self.expect(CONNECTED)
        return self

    # ---- frames ----

    def buffer(self, to_server, ring, index):
        """Where the buffer of a descriptor is."""
        number = ring if to_server else self.rings + ring
        place = (number << self.log2_size) + index % (1 << self.log2_size)
        return self.buffers_at + place * self.buffer_bytes

    def offer(self, ring=0):
        """Every buffer of a ring to the client, for the server to fill."""
        r = self.to_client[ring]
        for i in range(r.size):
            r.descriptor(i, length=self.buffer_bytes, offset=self.buffer(False, ring, i))
        r.head(r.size)

    def send_frames(self, frames, ring=0):
        """As many as there is room for; how many."""
        r = self.to_server[ring]
        room = r.size - ((r.seen - r.tail()) & 0xffff)
        for i, frame in enumerate(frames[:room]):
            at = self.buffer(True, ring, r.seen + i)
            self.memory[at:at + len(frame)] = frame
            r.descriptor(r.seen + i, length=len(frame), offset=at)
        sent = min(room, len(frames))
        r.seen = r.head((r.seen + sent) & 0xffff)
        if not r.flags() & MASK_INTERRUPT:
            self.wake(ring)
        return sent

    def wake(self, ring=0):
        os.eventfd_write(self.events[ring], 1)

    def receive_frames(self, ring=0):
        """What has come, chains put together; the buffers go back."""
        r = self.to_client[ring]
        frames, parts = [], []
        end = r.tail()
        while r.seen != end:
            flags, _, length, offset = r.read(r.seen)
            parts.append(self.memory[offset:offset + length])
            r.descriptor(r.seen, length=self.buffer_bytes, offset=offset)
            r.seen = (r.seen + 1) & 0xffff
            if not flags & NEXT:
                frames.append(b"".join(parts))
                parts = []
        r.head((r.seen + r.size) & 0xffff)
        return frames

    def wait_frames(self, count, timeout_s=10, ring=0):
        deadline = time.monotonic() + timeout_s
        frames = []
        while len(frames) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(frames)} frames of {count} within {timeout_s} s")
            came = self.receive_frames(ring)
            frames += came
            if not came:
                time.sleep(0.0001)  # for the test's other threads, and podwire
        return frames

    def hung_up(self):
        """Whether the connection has ended, without waiting."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))
