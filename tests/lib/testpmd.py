"""dpdk-testpmd as a pod's program: started by the line that `podwirectl pods` prints, it sends
every datagram back to where it came from.
"""

import contextlib
import os
import shlex
import shutil
import signal
import socket

import netns

PROGRAM = "dpdk-testpmd"
# What a test machine needs beside the line: no hugepages, two cores shared with everybody.
_COMMON = ["-l", "0,1", "--no-huge", "-m", "160", "--no-telemetry", "--no-shconf"]
_ECHO = ["--forward-mode=5tswap", "--auto-start", "--nb-cores=1", "--total-num-mbufs=4096",
         "--no-mlockall", "--stats-period=1000"]


def missing():
    return None if shutil.which(PROGRAM) else f"{PROGRAM} is not installed (scripts/install test)"


def start(namespace, ready_line, name, log):
    """`ready_line` as podwire says it, word for word, in a pod's network namespace; `name` is the
    program's alone on this machine."""
    words = shlex.split(ready_line)
    at = words.index("--")
    return netns.spawn(namespace, [*words[:at], *_COMMON, f"--file-prefix=pw-{name}", "--",
                                   *words[at + 1:], *_ECHO], log)


def end(process):
    """At once, as pods end whose time is over."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Asker:
    """Sends from a pod with a kernel interface, whose network namespace this is."""

    def __init__(self, namespace):
        self.socket = netns.open_socket(namespace, socket.AF_INET, socket.SOCK_DGRAM)

    def close(self):
        self.socket.close()

    def ask(self, address, port, wait_s=1.0):
        """True when what is sent there comes back from there."""
        self.socket.settimeout(wait_s)
        text = os.urandom(8)
        self.socket.sendto(text, (address, port))
        with contextlib.suppress(TimeoutError):
            while True:
                if self.socket.recvfrom(100) == (text, (address, port)):
                    return True
        return False

    def echoes(self, address, port, count=20):
        """Waits for the first answer; then every one must come."""
        netns.wait_until(lambda: self.ask(address, port), 40, f"{address}:{port} echoes")
        for _ in range(count):
            assert self.ask(address, port, 10), f"{address}:{port}: an echo is lost"
