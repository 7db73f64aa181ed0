"""The DaemonSet's installation of the plugin: whole files at any moment, a plugin that runs is
replaced, the list comes last and not at all when the plugin cannot be installed."""
import json
import subprocess
import tempfile
import threading
from pathlib import Path

import smoke
import yaml

FILE = Path(smoke.lab.__file__).resolve().parents[2] / "conf/kubernetes/daemonset.yaml"
documents = list(yaml.safe_load_all(FILE.read_text()))
config = next(d for d in documents if d["kind"] == "ConfigMap")["data"]
daemonset = next(d for d in documents if d["kind"] == "DaemonSet")
step, = (c for c in daemonset["spec"]["template"]["spec"]["initContainers"]
         if c["name"] == "install-cni")

with tempfile.TemporaryDirectory() as folder:
    root = Path(folder)
    image, etc, binaries, lists = (root / n for n in ("image", "etc", "bin", "net.d"))
    for each in (image, etc, binaries, lists):
        each.mkdir()
    script = step["args"][0]
    for inside, here in (("/usr/local/lib/podwire", image), ("/etc/podwire", etc),
                         ("/host/bin", binaries), ("/host/net.d", lists)):
        assert inside in script, f"{inside} is not in the script any more"
        script = script.replace(inside, str(here))
    conflist = config["10-podwire.conflist"]
    assert json.loads(conflist) == json.loads((FILE.parents[1] / "10-podwire.conflist").read_text())
    (etc / "10-podwire.conflist").write_text(conflist)
    (image / "podwire-cni").write_bytes(Path("/bin/sleep").read_bytes())
    plugin, active = binaries / "podwire-cni", lists / "10-podwire.conflist"

    def install():
        return subprocess.run([*step["command"], script], capture_output=True, text=True,
                              check=False)

    def names():
        return sorted(p.name for each in (binaries, lists) for p in each.iterdir())

    # Without a place for the plugin there is no list that names it.
    binaries.rename(root / "away")
    done = install()
    assert done.returncode != 0 and not active.exists(), done
    (root / "away").rename(binaries)

    done = install()
    assert done.returncode == 0 and names() == ["10-podwire.conflist", "podwire-cni"], done
    assert plugin.stat().st_mode & 0o777 == 0o755 and active.stat().st_mode & 0o777 == 0o644

    # Again and again, while the plugin runs and somebody reads: never half a file, never none.
    running = subprocess.Popen([plugin, "60"])
    wrong, ended = [], threading.Event()

    def read():
        while not ended.is_set():
            try:
                if active.read_text() != conflist:
                    wrong.append("the list is not whole")
                if plugin.stat().st_size != (image / "podwire-cni").stat().st_size:
                    wrong.append("the plugin is not whole")
            except OSError as error:
                wrong.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(10):
            done = install()
            assert done.returncode == 0, done
    finally:
        ended.set()
        reader.join()
        running.kill()
        running.wait()
    assert not wrong, wrong[:3]
    assert names() == ["10-podwire.conflist", "podwire-cni"], names()
