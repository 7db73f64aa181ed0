"""The attacked node and its well-behaved neighbours."""

import json
import os
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lib"))
import memif  # noqa: E402

BUILD = ROOT / os.environ.get("PODWIRE_BUILD", "build")
GATEWAY = bytes.fromhex("eeeeeeeeeeee")
POD_MAC = {"a": "0a0000000002", "b": "0a0000000003", "c": "0a0000000004"}
POD_IP = {"a": "10.244.1.2", "b": "10.244.1.3", "c": "10.244.1.4"}


def ip_sum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xffff) + (total >> 16)
    return 0xffff - ((total & 0xffff) + (total >> 16))


def datagram(source, to_ip, number, size=64, to_port=5300):
    """A UDP frame of a pod, as it sends it; `number` is in its payload."""
    addresses = bytes(int(b) for ip in (POD_IP[source], to_ip) for b in ip.split("."))
    payload = struct.pack("!I", number).ljust(max(size - 42, 4), b".")
    header = struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(payload), 0, 0x4000, 64, 17, 0) + addresses
    header = header[:10] + struct.pack("!H", ip_sum(header)) + header[12:]
    udp = struct.pack("!HHHH", 4000, to_port, 8 + len(payload), 0)  # without a checksum
    return GATEWAY + bytes.fromhex(POD_MAC[source]) + b"\x08\0" + header + udp + payload


def number_of(frame):
    return struct.unpack_from("!I", frame, 42)[0]


def wait_until(condition, what, timeout_s=10):
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s} s")
        time.sleep(0.002)
    return value


class Node:
    """tests/attack/memif_node; the pods' sockets are self.socket["a"] and so on."""

    def __init__(self, *options, clients=(), sockets=None):
        self.socket = {pod: f"@podwire-attack-{os.getpid()}-{id(self)}-{pod}" for pod in "abc"}
        self.socket.update(sockets or {})
        places = [f"{pod}={name}{',client' if pod in clients else ''}"
                  for pod, name in self.socket.items()]
        self.process = subprocess.Popen([BUILD / "tests/attack/memif_node", *options, *places],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)
        self.lock = threading.Lock()
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("memif_node does not start")

    def stop(self):
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()

    def stats(self):
        with self.lock:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"podwire's node ended with code {self.process.wait()}")
        return json.loads(line)

    def port(self, pod):
        return self.stats()["ports"][pod]

    def wait_down(self, pod):
        """The reason."""
        wait_until(lambda: not self.port(pod)["up"], f"port {pod} goes down")
        return self.port(pod)["down_reason"]

    def client(self, pod, **options):
        return memif.Client(self.socket[pod], **options)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_kb(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def balance(before, after):
    """Empty, or how the ledger does not close between two moments without packets on the way."""
    moved = {k: after[k] - before[k] for k in ("received", "originated", "sent", "dropped",
                                               "holding")}
    came, went = (moved["received"] + moved["originated"],
                  moved["sent"] + moved["dropped"] + moved["holding"])
    return "" if came == went else f"{came} came, {went} went: {moved}, {after['drops']}"


class Neighbour(threading.Thread):
    """Pod b sends to pod c all the time, in bursts that it awaits, and misses none."""

    BURST = 32

    def __init__(self, node):
        super().__init__(daemon=True)
        self.sender, self.receiver = node.client("b").handshake(), node.client("c").handshake()
        self.delivered, self.wrong, self.ending = 0, None, threading.Event()
        wait_until(lambda: node.port("b")["up"] and node.port("c")["up"], "neighbours are up")

    def run(self):
        try:
            while not self.ending.is_set():
                numbers = range(self.delivered, self.delivered + self.BURST)
                sent = self.sender.send_frames([datagram("b", POD_IP["c"], n) for n in numbers])
                got = [number_of(f) for f in self.receiver.wait_frames(self.BURST, 20)]
                if sent != self.BURST or got != list(numbers):
                    self.wrong = f"{got} instead of {numbers}"
                    return
                self.delivered += self.BURST
        except Exception as error:  # told by finish()
            self.wrong = repr(error)

    def to_pod(self, pod, numbers):
        """Pod c sends to another pod, beside what it receives."""
        frames = [datagram("c", POD_IP[pod], n) for n in numbers]
        if self.receiver.send_frames(frames) != len(frames):
            raise AssertionError("pod c's ring is full")

    def progress(self):
        """Waits until another burst has passed."""
        before = self.delivered
        wait_until(lambda: self.delivered > before or self.wrong, "the neighbour's next burst", 30)
        if self.wrong:
            raise AssertionError(f"the neighbour lost something: {self.wrong}")

    def finish(self):
        self.ending.set()
        self.join(30)
        self.sender.close()
        self.receiver.close()
        if self.wrong:
            raise AssertionError(f"the neighbour lost something: {self.wrong}")
