"""CNI under faults: 50 at once, the plugin killed at any point, namespaces gone, the disk full,
DELs in any order. Whatever happens, DEL and GC leave nothing, and no address is given twice."""
import os
import random
import shutil
import signal
import statistics
import subprocess
import threading
import time

import smoke
from smoke import cni_list, lab, netns

AT_ONCE = 50
dice = random.Random(7)

with smoke.node() as n:
    n.start()
    networks = n.folder / "networks"
    own = cni_list.List("podwire", [n.plugin()], "1.1.0")
    delegated = cni_list.List("given", [n.plugin(ipam={
        "type": "host-local", "dataDir": str(networks),
        "ranges": [[{"subnet": "10.77.0.0/24"}]]})], "1.0.0")
    collector = cni_list.List("given", delegated.plugins, "1.1.0")
    names = [f"c{i}" for i in range(AT_ONCE)]
    paths = dict(zip(names, lab.in_parallel(n.sandbox, names)))

    def attached():
        return {p["container"] for p in n.ctl("pods") if p["attached"]}

    def nothing_left():
        assert not attached() and not n.left_behind(), (attached(), n.left_behind())
        # An empty one is of a host-local that was killed before it wrote whose it is: nobody's.
        given = [p.name for p in networks.rglob("10.*") if p.stat().st_size]
        assert not given, given
        for name in names:
            assert netns.exists(n.pods[name]) and "eth0" not in netns.ip("-n", n.pods[name],
                                                                         "-br", "link")

    # 50 at once, then DEL of all in any order, some twice, some at the same time.
    took, lock = [], threading.Lock()

    def add(name):
        began = time.monotonic()
        result = own.add(name, paths[name])
        with lock:
            took.append(time.monotonic() - began)
        return result["ips"][0]["address"]

    addresses = lab.in_parallel(add, names, AT_ONCE)
    assert len(set(addresses)) == AT_ONCE and attached() == set(names)
    print(f"50 ADDs at once: median {statistics.median(took) * 1e3:.0f} ms, "
          f"slowest {max(took) * 1e3:.0f} ms")
    order = names + dice.sample(names, 20)
    dice.shuffle(order)
    lab.in_parallel(lambda name: own.remove(name, netns=paths[name]), order, 10)
    nothing_left()

    # Killed at any point of an ADD with an IPAM plugin behind it.
    def killed_add(name):
        plugin = delegated.plugins[0]
        configuration = {**plugin, "cniVersion": "1.0.0", "name": "given"}
        process = subprocess.Popen(
            [lab.program("podwire-cni")], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True, env={
                **lab.clean_environment(), "CNI_COMMAND": "ADD", "CNI_CONTAINERID": name,
                "CNI_NETNS": paths[name], "CNI_IFNAME": "eth0", "CNI_PATH": delegated.path})
        process.stdin.write(lab.json.dumps(configuration).encode())
        process.stdin.close()
        time.sleep(dice.random() * 0.03)  # the fault itself is at no particular time
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    lab.in_parallel(killed_add, names, 10)
    # A runtime that remembers the attempt says DEL; one that has forgotten it too, GC.
    for name in names[::2]:
        delegated.remove(name, netns=paths[name])
    collector.collect_garbage([])
    # podwired may still have been at a killed one's ADD.
    netns.wait_until(lambda: collector.collect_garbage([]) or not attached(), 10, "nobody attached")
    nothing_left()

    # The namespace is gone: at ADD a clear refusal, at DEL no matter.
    try:
        own.add("gone", "/run/netns/pw-nobody")
        raise AssertionError("an ADD without a namespace succeeds")
    except cni_list.Refused as error:
        assert error.code in (8, 11) and "/run/netns/pw-nobody" in error.sentence, error
    own.add("c0", paths["c0"])
    netns.remove([n.pods["c0"]])
    own.remove("c0", netns=paths["c0"])
    own.remove("c0", netns="")
    n.sandbox("c0")
    nothing_left()

    # The disk is full: refused whole, and what is attached goes on and can be removed.
    n.stop()
    state = n.folder / "state"
    shutil.rmtree(state)
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(state)], check=True)
    try:
        n.start()
        own.add("c1", paths["c1"])
        filler = state / "attachments" / "filler"
        try:
            with open(filler, "wb", buffering=0) as file:
                while True:
                    file.write(bytes(1024))
        except OSError:
            pass
        for case in (own, delegated):
            try:
                case.add("c2", paths["c2"])
                raise AssertionError("an ADD that cannot be recorded succeeds")
            except cni_list.Refused as error:
                assert error.code == 5 and "No space left" in error.sentence, error
        assert attached() == {"c1"}
        own.check("c1")
        own.remove("c1")
        filler.unlink()
        address = own.add("c2", paths["c2"])["ips"][0]["address"]
        own.remove("c2")
        assert address and not attached() and not n.left_behind(), n.left_behind()
    finally:
        n.stop()
        subprocess.run(["umount", str(state)], check=True)

    # Nobody but root may ask.
    n.start()
    for socket in ("cni.sock", "podwired.sock"):
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-c",
             "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])",
             str(n.run_dir / socket)], capture_output=True, text=True)
        assert "PermissionError" in done.stderr, done
