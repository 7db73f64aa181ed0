"""Debian's containerd with root, state, socket and CNI folders of its own, and an image made here
of Debian's busybox, since no registry is asked.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import cri
import lab
import netns

IMAGE = "podwire.test/busybox:1"
BUSYBOX = "/bin/busybox"
PROGRAMS = ("containerd", "ctr", "runc", "containerd-shim-runc-v2")

CONFIG = """version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
                    "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  disable_tcp_service = true
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{folder}/cni-bin"
    conf_dir = "{folder}/cni-conf"
"""


def missing():
    """Why containers cannot be run on this machine, or None."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            return f"{program} is not installed (scripts/install test)"
    if not os.path.isfile(BUSYBOX):
        return f"{BUSYBOX} is not there (scripts/install test)"
    if not os.path.isdir("/sys/fs/cgroup/pids") and not os.path.exists(
            "/sys/fs/cgroup/cgroup.controllers"):
        return "no cgroups are mounted"
    return None


def _tar(members):
    """members: (name, mode, content, or the name that a link leads to)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, mode, content in members:
            info = tarfile.TarInfo(name)
            info.mode = mode
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def image_archive():
    """A docker-archive with one layer: busybox under the names that the tests use."""
    links = [(f"bin/{name}", 0o777, "busybox") for name in
             ("sh", "sleep", "ping", "wget", "httpd", "ip", "cat", "nc", "hostname")]
    layer = _tar([(d, 0o755, None) for d in ("bin", "etc", "tmp", "proc", "sys", "dev")] +
                 [("bin/busybox", 0o755, Path(BUSYBOX).read_bytes()),
                  ("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n")] + links)
    config = json.dumps({
        "architecture": "amd64", "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sleep", "1000000"]},
        "rootfs": {"type": "layers",
                   "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [IMAGE],
                            "Layers": ["layer.tar"]}]).encode()
    return _tar([("config.json", 0o644, config), ("layer.tar", 0o644, layer),
                 ("manifest.json", 0o644, manifest)])


class Containerd:
    """`conflist` is what it finds in its CNI folder."""

    def __init__(self, folder, conflist):
        self.folder, self.conflist = Path(folder), conflist
        self.socket = self.folder / "containerd.sock"
        self.log = self.folder / "containerd.log"
        self.process = self.cri = None

    def start(self):
        for name in ("cni-bin", "cni-conf"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for program in (lab.program("podwire-cni"), "/usr/lib/cni/loopback"):
            link = self.folder / "cni-bin" / Path(program).name
            if not link.exists():
                link.symlink_to(program)
        self.write_conflist()
        (self.folder / "config.toml").write_text(CONFIG.format(
            folder=self.folder, image=IMAGE, snapshotter=self.snapshotter()))
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(
                ["containerd", "--config", str(self.folder / "config.toml")],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True, env=lab.clean_environment())
        netns.wait_until(self.answers, 60, f"containerd: {self.log}", self.process)
        self.ctr("image", "import", "-", input=image_archive())
        self.cri = cri.Runtime(self.socket)
        netns.wait_until(self.cri_answers, 30, f"containerd's CRI: {self.log}", self.process)

    def write_conflist(self):
        """Atomically: containerd watches the folder."""
        draft = self.folder / "cni-conf" / ".new"
        draft.write_text(json.dumps(self.conflist))
        draft.rename(self.folder / "cni-conf" / "10-podwire.conflist")

    def snapshotter(self):
        """overlayfs where the kernel has it; copies of the files are slower but always work."""
        return "overlayfs" if "overlay" in Path("/proc/filesystems").read_text() else "native"

    def answers(self):
        return self.socket.exists() and self.ctr("version", check=False).returncode == 0

    def cri_answers(self):
        try:
            self.cri.call("Version", timeout_s=5)
            return True
        except cri.grpc.RpcError:
            return False

    def ctr(self, *arguments, namespace="k8s.io", check=True, timeout_s=60, **options):
        done = subprocess.run(["ctr", "--address", str(self.socket), "--namespace", namespace,
                               *arguments], capture_output=True, timeout=timeout_s, **options)
        if check and done.returncode:
            raise RuntimeError(f"ctr {' '.join(arguments)}: {done.stderr.decode()[-800:]}")
        return done

    def ctr_run_with_cni(self, name, command, timeout_s=60):
        """`ctr run --cni`, whose folders are fixed: ours are mounted there, for it alone."""
        os.makedirs("/etc/cni/net.d", exist_ok=True)
        os.makedirs("/opt/cni/bin", exist_ok=True)
        script = ("set -e; mount --make-rslave /; "
                  f"mount --bind {self.folder}/cni-conf /etc/cni/net.d; "
                  f"mount --bind {self.folder}/cni-bin /opt/cni/bin; exec \"$@\"")
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", "ctr", "--address", str(self.socket),
             "--namespace", "k8s.io", "run", "--rm", "--cni", "--snapshotter", self.snapshotter(),
             IMAGE, name, *command],
            capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL)

    def stop(self):
        """Ends what still runs in containers, then containerd, then what it leaves mounted."""
        if self.cri is not None:
            with contextlib.suppress(cri.grpc.RpcError):
                for item in self.cri.call("ListPodSandbox").get(1, []):
                    sandbox = cri.decode(item)[1][0].decode()
                    with contextlib.suppress(cri.grpc.RpcError):
                        self.cri.stop_sandbox(sandbox)
                        self.cri.remove_sandbox(sandbox)
            self.cri.close()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
        with contextlib.suppress(OSError):
            mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
            for place in sorted((m for m in mounts if m.startswith(f"{self.folder}/")),
                                reverse=True):
                subprocess.run(["umount", "-l", place], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)
