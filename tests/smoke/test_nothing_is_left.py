"""Pods of every kind of port come all at once, are sent packets, and go all at once: afterwards not
one address, port, socket, file, descriptor or buffer is held; each address can be had again."""
import json
import os
import random
import re

import smoke
from smoke import cni_list, lab, netns

KINDS = ("tap", "memif", "vhost-user")
PODS = 62  # every address of a /26 but its first and last
ARGUMENTS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME="


def held(n):
    """All that an attachment may hold, but its address."""
    status, ports = n.ctl("status"), n.ctl("counters")["ports"]
    files = [str(p) for p in (n.run_dir / "ports").rglob("*")] if n.run_dir.exists() else []
    return {
        "attached": [p["container"] for p in n.ctl("pods") if p["attached"]],
        "ports": sorted(p["name"] for p in ports),
        "files": n.left_behind(), "sockets": files,
        "descriptors": len(os.listdir(f"/proc/{n.process.pid}/fd")),
        "buffers": {t["table"]: t["used"] for t in status["tables"] if "buffers" in t["table"]},
    }


with smoke.node() as n:
    (n.manifests / "cluster.yaml").write_text(smoke.many_pods(PODS, "10.244.1.0/26"))
    n.start()
    chains = {kind: cni_list.List(kind, [n.plugin(
        port={"kind": kind}, capabilities={"bandwidth": True, "CNIDeviceInfoFile": True})],
        "1.1.0") for kind in KINDS}
    dice = random.Random(6)

    def chain_of(i):
        return chains[KINDS[i % len(KINDS)]]

    def attach(i):
        result = chain_of(i).add(f"p{i}", netns.path(n.pods[f"p{i}"]), arguments=f"{ARGUMENTS}p{i}",
                                 runtime={"CNIDeviceInfoFile": str(n.folder / f"devinfo/{i}.json"),
                                          "bandwidth": {"egressRate": 10 ** 9,
                                                        "egressBurst": 10 ** 9}})
        return result["ips"][0]["address"]

    def come_and_go():
        order = list(range(PODS))
        dice.shuffle(order)
        addresses = {}
        lab.in_parallel(lambda i: addresses.update({i: attach(i)}), order, PODS)
        assert len(set(addresses.values())) == PODS, sorted(addresses.values())
        for i in range(0, PODS, len(KINDS)):
            address = addresses[i].split("/")[0]
            assert netns.run(n.peer, ["ping", "-nq", "-c", "1", "-W", "5", address]
                             ).returncode == 0, address
        dice.shuffle(order)
        lab.in_parallel(lambda i: chain_of(i).remove(f"p{i}"), order, PODS)

    for i in range(PODS):
        n.sandbox(f"p{i}")
    come_and_go()  # what is made once, for the first of a kind, is there from here on
    missing, counters = n.ledger_difference()
    assert missing == 0, counters
    before = held(n)
    assert not (before["attached"] or before["files"] or before["sockets"]), before
    assert before["ports"] == ["host", "uplink0"], before["ports"]
    for _ in range(2):
        come_and_go()
        missing, counters = n.ledger_difference()
        assert missing == 0, counters
        netns.wait_until(lambda: held(n) == before, 10, f"{json.dumps(before)} again")
        assert not list((n.folder / "devinfo").glob("*")), "device-info files are left"
    for i in range(PODS):
        names = netns.run(n.pods[f"p{i}"], ["cat", "/proc/net/unix", "/proc/net/dev"]).stdout
        assert "@podwire" not in names and not re.search(r"^ *eth0:", names, re.M), names
