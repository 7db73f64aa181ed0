"""Network namespaces: making and removing them, sockets and processes inside them.

A socket stays in the namespace it was opened in, so a test opens it there and uses it from here.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


def path(name):
    return f"/run/netns/{name}"


def exists(name):
    return os.path.exists(path(name))


def ip(*arguments, check=True):
    """Runs `ip ...`; an error says which command."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if check and done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def ip_batch(name, commands):
    """Runs several `ip` commands in one process, in namespace `name`."""
    done = subprocess.run(["ip", "-n", name, "-batch", "-"], input="\n".join(commands) + "\n",
                          capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip -n {name}: {done.stderr.strip()}")


def create(name):
    ip("netns", "add", name)
    ip("-n", name, "link", "set", "lo", "up")


def processes(name):
    return [int(p) for p in ip("netns", "pids", name, check=False).split()]


def end_processes(names, term_timeout_s=5):
    """Ends what runs in the namespaces: asked first, then killed."""
    deadline = time.monotonic() + term_timeout_s
    asked = set()
    while pids := [p for n in names if exists(n) for p in processes(n)]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                elif pid not in asked:
                    asked.add(pid)
                    os.kill(pid, signal.SIGTERM)
        _reap(pids)
        time.sleep(0.01)


def _reap(pids):
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def remove(names):
    """Ends every process in the namespaces and removes them."""
    end_processes(names)
    for name in names:
        if exists(name):
            ip("netns", "del", name, check=False)


def _enter(fd):
    if _libc.setns(fd, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def inside(name):
    """The calling thread is in namespace `name` for the length of the block."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        there = os.open(path(name), os.O_RDONLY)
        try:
            _enter(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _enter(home)
    finally:
        os.close(home)


def open_socket(name, family, kind, protocol=0):
    with inside(name):
        return socket.socket(family, kind, protocol)


def run(name, command, timeout_s=10, **options):
    """Runs a command in the namespace and returns the finished process, output captured."""
    return subprocess.run(["ip", "netns", "exec", name, *command], text=True, capture_output=True,
                          timeout=timeout_s, stdin=subprocess.DEVNULL, **options)


def spawn(name, command, log, **options):
    """Starts a program in the namespace that outlives us; its output goes to the file `log`."""
    with open(log, "ab") as output:
        return subprocess.Popen(["ip", "netns", "exec", name, *command], stdin=subprocess.DEVNULL,
                                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                                **options)


def wait_until(condition, timeout_s, what, process=None):
    """Waits until `condition()` is true; raises TimeoutError naming `what`. `process` must live."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{what}: the process ended with code {process.returncode}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s} s")
        time.sleep(0.005)
    return value
