"""A virtual machine whose network card is a vhost-user socket: Debian's cloud kernel under QEMU's
software emulation (never KVM, which test machines lack), an initramfs made here, a shell on its
serial line.
"""

import glob
import gzip
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

QEMU = "qemu-system-x86_64"
MODULES = ["drivers/virtio/virtio_ring", "drivers/virtio/virtio",
           "drivers/virtio/virtio_pci_modern_dev", "drivers/virtio/virtio_pci_legacy_dev",
           "drivers/virtio/virtio_pci", "net/core/failover", "drivers/net/net_failover",
           "drivers/net/virtio_net"]
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in /modules/*; do insmod $module; done
while [ ! -e /sys/class/net/eth0 ]; do usleep 10000; done
ip link set lo up
ip link set eth0 mtu 1480 up
ip addr add $POD_ADDRESS/32 dev eth0
ip route add 169.254.1.1 dev eth0
ip route add default via 169.254.1.1
stty -echo
echo "guest is up"
PS1= exec sh
"""


def kernel():
    found = sorted(glob.glob("/boot/vmlinuz-*-cloud-amd64"))
    return found[-1] if found else None


def missing():
    """Why no guest runs here, or None."""
    if shutil.which(QEMU) is None:
        return "needs qemu-system-x86"
    if kernel() is None:
        return "needs linux-image-cloud-amd64"
    return None if shutil.which("iperf3") else "needs iperf3"


def libraries(program):
    text = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return re.findall(r"(/\S+)", text)


def newc(name, data=b"", mode=0o100755):
    """One file of a cpio archive (Linux Documentation/driver-api/early-userspace/buffer-format)."""
    encoded = name.encode() + b"\0"
    fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0]
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def make_initramfs(path):
    tree = Path("/lib/modules") / kernel().removeprefix("/boot/vmlinuz-") / "kernel"
    files = {"bin/busybox": Path("/bin/busybox").read_bytes(), "init": INIT.encode(),
             "bin/iperf3": Path(shutil.which("iperf3")).read_bytes()}
    for library in libraries(shutil.which("iperf3")):
        files[library.lstrip("/")] = Path(library).read_bytes()
    for number, module in enumerate(MODULES):
        files[f"modules/{number:02}.ko"] = (tree / f"{module}.ko").read_bytes()
    folders = {"proc", "sys", "dev", "tmp"}
    for name in files:
        folders.update(str(parent) for parent in Path(name).parents if str(parent) != ".")
    archive = b"".join(newc(folder, mode=0o40755) for folder in sorted(folders))
    archive += b"".join(newc(name, data) for name, data in files.items())
    path.write_bytes(gzip.compress(archive + newc("TRAILER!!!", mode=0), 1))


# What no line says: without vectors, since Debian's QEMU 7.2 crashes in
# msix_set_vector_notifiers() when vhost and MSI-X meet without KVM.
CARD = "vectors=0,mrg_rxbuf=on,romfile="


def network_words(socket, mac, queues=1):
    return ["-object", "memory-backend-memfd,id=memory,size=256M,share=on",
            "-numa", "node,memdev=memory",
            "-chardev", f"socket,id=port,path={socket},server=on,wait=off",
            "-netdev", f"vhost-user,id=net,chardev=port,queues={queues}",
            "-device", f"virtio-net-pci,netdev=net,mac={mac},mq={'on' if queues > 1 else 'off'},"
                       f"{CARD}"]


class Guest:
    """Boots at once; wait_up() before run(). `network` are QEMU's words for its card."""

    def __init__(self, folder, name, socket, address, mac="", queues=1, processors=1,
                 network=None):
        self.name, self.socket, self.output = name, socket, b""
        initramfs = Path(folder) / "initramfs"
        if not initramfs.exists():
            make_initramfs(initramfs)
        self.command = [
            QEMU, "-accel", "tcg", "-cpu", "max", "-smp", str(processors), "-m", "256",
            "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
            *(network or network_words(socket, mac, queues)),
            "-kernel", kernel(), "-initrd", str(initramfs),
            "-append", f"console=ttyS0 loglevel=4 panic=-1 no_timer_check POD_ADDRESS={address}"]
        self.start()

    def start(self):
        if os.path.exists(self.socket):
            os.unlink(self.socket)  # of one that was killed
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.output = b""

    def wait_for(self, pattern, timeout_s):
        deadline = time.monotonic() + timeout_s
        while not (found := re.search(pattern, self.output)):
            self.output += self.process.stdout.read() or b""
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"guest {self.name}: no {pattern!r} within {timeout_s} s; last "
                                   f"words: {self.output[-600:].decode(errors='replace')}")
            time.sleep(0.01)
        self.output = self.output[found.end():]
        return found

    def wait_up(self, timeout_s=180):
        self.wait_for(rb"guest is up\r?\n", timeout_s)
        return self

    def run(self, command, timeout_s=60):
        """(exit code, output) of a shell command."""
        self.process.stdin.write(f"{command}; echo \"=$?=\"\n".encode())
        self.process.stdin.flush()
        before = self.wait_for(rb"(?s)^(.*?)=(\d+)=\r?\n", timeout_s)
        return int(before[2]), before[1].decode(errors="replace")

    def start_in_background(self, command):
        self.run(f"({command} >/tmp/log 2>&1 &)")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
