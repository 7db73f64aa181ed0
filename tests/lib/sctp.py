"""A little SCTP (RFC 9260) in user space, enough for one association that carries messages: many
kernels, and that of most test machines, have none. Checksums are the real CRC32c, and a packet with
a wrong one is refused. Where the kernel has SCTP its own sockets are used instead.
"""

import errno
import os
import random
import select
import socket
import struct
import time

DATA, INIT, INIT_ACK, SACK, ABORT, COOKIE_ECHO, COOKIE_ACK = 0, 1, 2, 3, 6, 10, 11
_COOKIE_PARAMETER = 7

_TABLE = []
for _byte in range(256):
    _crc = _byte
    for _ in range(8):
        _crc = (_crc >> 1) ^ (0x82F63B78 if _crc & 1 else 0)
    _TABLE.append(_crc)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def kernel_has_sctp():
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError as error:
        if error.errno == errno.EPROTONOSUPPORT:
            return False
        raise
    return True


def chunk(kind, flags, value):
    length = 4 + len(value)
    return struct.pack("!BBH", kind, flags, length) + value + bytes(-length % 4)


def packet(source_port, destination_port, tag, *chunks):
    body = b"".join(chunks)
    head = struct.pack("!HHI", source_port, destination_port, tag)
    crc = crc32c(head + bytes(4) + body)
    return head + struct.pack("<I", crc) + body  # the checksum travels low byte first


def parse(data):
    """(source port, destination port, tag, [(kind, flags, value)]); None when it is not sound."""
    if len(data) < 16 or crc32c(data[:8] + bytes(4) + data[12:]) != \
            struct.unpack_from("<I", data, 8)[0]:
        return None
    source_port, destination_port, tag = struct.unpack_from("!HHI", data)
    chunks, at = [], 12
    while at + 4 <= len(data):
        kind, flags, length = struct.unpack_from("!BBH", data, at)
        if length < 4 or at + length > len(data):
            return None
        chunks.append((kind, flags, data[at + 4:at + length]))
        at += length + (-length % 4)
    return source_port, destination_port, tag, chunks


def _payload(family, data):
    """A raw IPv4 socket gives the IP header too."""
    return data[(data[0] & 15) * 4:] if family == socket.AF_INET else data


def init_chunk(kind, tag, extra=b""):
    return chunk(kind, 0, struct.pack("!IIHHI", tag, 65536, 1, 1, 1) + extra)


def data_chunk(tsn, message):
    return chunk(DATA, 3, struct.pack("!IHHI", tsn, 0, 0, 0) + message)


def echo_reply(data, port, name):
    """What an echo server on `port` answers to the SCTP packet `data`, or None. It keeps nothing
    between packets: the peer's tag travels in the cookie, and ours is the peer's, turned round."""
    parsed = parse(data)
    if parsed is None or parsed[1] != port:
        return None
    source_port, _, tag, chunks = parsed
    answers = []
    peer_tag = tag ^ 0xFFFFFFFF
    for kind, _, value in chunks:
        if kind == INIT and len(value) >= 16:
            peer_tag = struct.unpack_from("!I", value)[0]
            cookie = struct.pack("!HHI", _COOKIE_PARAMETER, 8, peer_tag)
            answers.append(init_chunk(INIT_ACK, peer_tag ^ 0xFFFFFFFF, cookie))
        elif kind == COOKIE_ECHO:
            answers.append(chunk(COOKIE_ACK, 0, b""))
        elif kind == DATA and len(value) >= 12:
            tsn = struct.unpack_from("!I", value)[0]
            answers.append(chunk(SACK, 0, struct.pack("!IIHH", tsn, 65536, 0, 0)))
            answers.append(data_chunk(tsn, name.encode() + b" " + value[12:]))
    return packet(port, source_port, peer_tag, *answers) if answers else None


class RawClient:
    """One association from a raw socket. `raw` is an open SOCK_RAW socket of IPPROTO_SCTP."""

    def __init__(self, raw, address, port, timeout_s):
        self.raw, self.address, self.port = raw, address, port
        self.family = raw.family
        self.local_port = random.randint(20000, 60000)
        self.deadline = time.monotonic() + timeout_s
        self.tsn = 1
        raw.connect((address, 0))  # so that nothing but this address's packets are read

    def _send(self, tag, *chunks):
        self.raw.send(packet(self.local_port, self.port, tag, *chunks))

    def _expect(self, tag, kind):
        while True:
            left = self.deadline - time.monotonic()
            if left <= 0 or not select.select([self.raw], [], [], left)[0]:
                raise TimeoutError(f"no SCTP chunk of type {kind} from {self.address}")
            parsed = parse(_payload(self.family, self.raw.recv(65535)))
            if parsed is None or parsed[:2] != (self.port, self.local_port):
                continue
            if parsed[2] != tag:
                raise ValueError(f"SCTP tag {parsed[2]:#x} instead of {tag:#x}")
            for found, _, value in parsed[3]:
                if found == kind:
                    return value

    def connect(self):
        mine = random.randint(1, 0xFFFFFFFF)
        self._send(0, init_chunk(INIT, mine))
        answer = self._expect(mine, INIT_ACK)
        self.peer_tag, self.my_tag = struct.unpack_from("!I", answer)[0], mine
        kind, length = struct.unpack_from("!HH", answer, 16)
        if kind != _COOKIE_PARAMETER:
            raise ValueError("INIT ACK without a cookie")
        self._send(self.peer_tag, chunk(COOKIE_ECHO, 0, answer[20:16 + length]))
        self._expect(mine, COOKIE_ACK)

    def echo(self, message):
        self._send(self.peer_tag, data_chunk(self.tsn, message))
        self.tsn += 1
        return self._expect(self.my_tag, DATA)[12:]


def echo(open_socket, family, address, port, message, timeout_s=5):
    """One association with an echo server: its answer. `open_socket(family, kind, protocol)`."""
    if kernel_has_sctp():
        with open_socket(family, socket.SOCK_STREAM, socket.IPPROTO_SCTP) as client:
            client.settimeout(timeout_s)
            client.connect((address, port))
            client.send(message)
            return client.recv(65535)
    with open_socket(family, socket.SOCK_RAW, socket.IPPROTO_SCTP) as raw:
        client = RawClient(raw, address, port, timeout_s)
        client.connect()
        return client.echo(message)


def serve(port, name):
    """Echoes for ever on both families, the pod's name before the message."""
    if kernel_has_sctp():
        return _serve_kernel(port, name)
    sockets = [socket.socket(f, socket.SOCK_RAW, socket.IPPROTO_SCTP)
               for f in (socket.AF_INET, socket.AF_INET6)]
    while True:
        for ready in select.select(sockets, [], [])[0]:
            data, peer = ready.recvfrom(65535)
            answer = echo_reply(_payload(ready.family, data), port, name)
            if answer:
                ready.sendto(answer, (peer[0], 0))


def _serve_kernel(port, name):
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", port))
    listener.listen(64)
    while True:
        client, _ = listener.accept()
        if os.fork() == 0:
            while message := client.recv(65535):
                client.send(name.encode() + b" " + message)
            os._exit(0)
        client.close()
