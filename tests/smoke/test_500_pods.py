"""One node carries 500 pods: each has an address of its own and answers; DEL leaves nothing."""
import random
from pathlib import Path

import smoke
from smoke import lab, netns

PODS = 500


def descriptors(n):
    return len(list((Path("/proc") / str(n.process.pid) / "fd").iterdir()))


with smoke.node() as n:
    (n.manifests / "cluster.yaml").write_text(smoke.many_pods(PODS, "10.244.0.0/22"))
    n.start()
    before = descriptors(n)
    addresses = {}

    def add(i):
        addresses[i] = n.pod(f"p{i}")

    lab.in_parallel(add, range(PODS))
    assert len(set(addresses.values())) == PODS, "two pods have one address"
    assert sum(p["attached"] for p in n.ctl("pods")) == PODS
    for i in random.Random(1).sample(range(PODS), 20):
        assert netns.run(n.peer, ["ping", "-n", "-c", "1", "-W", "2", addresses[i]]).returncode == 0
        assert n.ping(f"p{i}", addresses[(i + 250) % PODS]), (i, addresses[i])
    missing, counters = n.ledger_difference()
    assert missing == 0, counters

    lab.in_parallel(lambda i: n.cni("DEL", f"p{i}", n.pods[f"p{i}"], ("default", f"p{i}")),
                    range(PODS))
    assert not [p for p in n.ctl("pods") if p["attached"]]
    netns.wait_until(lambda: descriptors(n) <= before + 2, 10,
                     f"{descriptors(n)} open descriptors, {before} before the pods")
