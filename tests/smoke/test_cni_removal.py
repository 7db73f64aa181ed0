"""What takes the plugin off a node: in reverse of the installation, as often as one likes, with one
sentence where something stays; never while a pod is attached, the state only without podwired."""
import contextlib
import shutil
import subprocess
from pathlib import Path

import smoke
import yaml
from smoke import cni_list

FILE = Path(smoke.lab.__file__).resolve().parents[2] / "conf/kubernetes/cni-removal.yaml"
spec = yaml.safe_load(FILE.read_text())["spec"]["template"]["spec"]
step, = spec["initContainers"]


@contextlib.contextmanager
def in_use(path):
    """Nobody can remove it meanwhile: something is mounted there."""
    subprocess.run(["mount", "--bind", path, path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


with smoke.node() as n:
    root = n.folder / "host"
    binaries, lists, lib = root / "bin", root / "net.d", root / "lib"
    for each in (binaries, lists, lib, root / "run"):
        each.mkdir(parents=True)
    script = step["args"][0]
    for inside, here in (("/host/run/podwire", n.run_dir),
                         ("/host/lib/podwire", n.folder / "state"),
                         ("/usr/local/bin/podwirectl", smoke.lab.program("podwirectl")),
                         ("/host/bin", binaries), ("/host/net.d", lists)):
        assert inside in script, f"{inside} is not in the script any more"
        script = script.replace(inside, str(here))
    mounts = {m["mountPath"]: m["name"] for m in step["volumeMounts"]}
    paths = {v["name"]: v["hostPath"]["path"] for v in spec["volumes"]}
    assert {m: paths[name] for m, name in mounts.items()} == {
        "/host/bin": "/opt/cni/bin", "/host/net.d": "/etc/cni/net.d",
        "/host/lib": "/var/lib", "/host/run": "/run"}
    plugin, active = binaries / "podwire-cni", lists / "10-podwire.conflist"
    others = [binaries / "portmap", lists / "99-other.conflist"]

    def install():
        plugin.write_bytes(b"plugin")
        (binaries / ".podwire-cni.new").write_bytes(b"half a pl")
        active.write_text("{}")

    def names():
        return sorted(p.name for each in (binaries, lists) for p in each.iterdir())

    def remove(sentence=""):
        """Fails with exactly this sentence, or succeeds in silence."""
        done = subprocess.run([*step["command"], script], capture_output=True, text=True,
                              check=False)
        said = f"podwire-removal: {sentence}\n" if sentence else ""
        assert (done.stderr, done.stdout) == (said, ""), done
        assert (done.returncode == 0) == (not said), done

    for other in others:
        other.write_text("another's")
    install()
    whole = names()
    n.start()
    chain = cni_list.List("podwire", [n.plugin()])
    chain.add("a", n.sandbox("a"))
    record = n.folder / "state/attachments/a-eth0.json"
    remove(f"pods are attached still, one by {record}: drain this node")
    assert names() == whole, names()
    chain.remove("a")

    # podwired is there: list and plugin go, its state does not.
    remove("podwired is running still: delete its DaemonSet")
    assert names() == sorted(p.name for p in others), names()
    remove("podwired is running still: delete its DaemonSet")
    assert n.ctl("status")["synced"] and (n.folder / "state/attachments").is_dir()
    n.stop()

    # What cannot be removed: the list stays, and then so does the plugin.
    install()
    with in_use(active):
        remove(f"{active} is not removed: rm: cannot remove '{active}': Device or resource busy")
        assert names() == whole, names()
    remove()
    assert names() == sorted(p.name for p in others), names()
    assert not (n.folder / "state").exists() and not n.run_dir.exists()
    remove()
    # A node that never had it.
    shutil.rmtree(lists)
    remove()
