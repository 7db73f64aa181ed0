"""The node that vhost-user peers attack, and its well-behaved neighbours."""

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from node import BUILD, POD_IP, datagram, number_of, wait_until
from vhost_frontend import Frontend


class VhostNode:
    """tests/attack/vhost_node; pods a, b and c are to listen at self.socket["a"] and so on."""

    def __init__(self, *options, pods="abc", taps=None, wrapper=()):
        self.folder = Path(tempfile.mkdtemp(prefix="podwire-vhost-"))
        self.socket = {pod: str(self.folder / f"{pod}.sock") for pod in pods}
        self.command = [*wrapper, str(BUILD / "tests/attack/vhost_node"), *options,
                        *(f"{pod}={path}" for pod, path in self.socket.items()),
                        *(f"{pod}=tap:{netns}" for pod, netns in (taps or {}).items())]
        self.lock = threading.Lock()
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("vhost_node does not start")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def stop(self):
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)

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

    def wait_up(self, pod, timeout_s=10):
        wait_until(lambda: self.port(pod)["up"], f"port {pod} is up", timeout_s)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_kb(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


class Neighbour(threading.Thread):
    """Pod b sends to pod c all the time, in bursts that it awaits, and misses none."""

    BURST = 32

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node = node
        self.peers = [Frontend(node.socket[pod]) for pod in "bc"]
        for peer in self.peers:
            peer.accept().start()
        self.delivered, self.wrong, self.ending = 0, None, threading.Event()
        node.wait_up("b")
        node.wait_up("c")

    def run(self):
        sender, receiver = self.peers
        try:
            while not self.ending.is_set():
                numbers = range(self.delivered, self.delivered + self.BURST)
                sent = sender.send_frames([datagram("b", POD_IP["c"], n) for n in numbers])
                got = [number_of(f) for f in receiver.wait_frames(self.BURST, 20)]
                if sent != self.BURST or got != list(numbers):
                    self.wrong = f"{got} instead of {numbers}"
                    return
                self.delivered += self.BURST
                time.sleep(0.001)  # leaves the others a share of a small machine
        except Exception as error:  # told by progress() and finish()
            self.wrong = repr(error)

    def progress(self):
        """Waits until another burst has passed."""
        before = self.delivered
        wait_until(lambda: self.delivered > before or self.wrong, "the neighbour's next burst", 30)
        if self.wrong:
            raise AssertionError(f"the neighbour lost something: {self.wrong}")

    def finish(self):
        self.ending.set()
        self.join(30)
        for peer in self.peers:
            peer.close()
        if self.wrong:
            raise AssertionError(f"the neighbour lost something: {self.wrong}")
