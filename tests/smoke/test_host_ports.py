"""A container's hostPort (CNI's portMappings): the same port at several addresses and protocols
leads to several pods, from outside, from the node itself, also at 127.0.0.1, and from the pod
itself."""
import json
import socket
import sys

import smoke
from smoke import cni_list, lab, netns

PORT = 54323


def ask(namespace, address, port=PORT):
    """What answers there, as JSON; None when nobody does."""
    done = netns.run(namespace, ["curl", "-s", "-m", "3", f"http://{address}:{port}/"])
    return json.loads(done.stdout) if done.returncode == 0 else None


def ask_udp(namespace, address, port=PORT):
    with netns.open_socket(namespace, socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(3)
        client.sendto(b"x" * 40, (address, port))
        return client.recv(100).split(b" ")[0].decode()


with smoke.node() as n:
    n.start()
    chain = cni_list.List("podwire", [n.plugin(capabilities={"portMappings": True})])

    def start(name, *mappings):
        keys = ("hostIP", "protocol", "hostPort", "containerPort")
        result = chain.add(name, n.sandbox(name), runtime={
            "portMappings": [dict(zip(keys, m)) for m in mappings]})
        log = n.folder / f"{name}.log"
        process = netns.spawn(n.pods[name], [
            sys.executable, "-u", str(lab.ROOT / "tests/lib/pod_program.py"), name, "8080"], log)
        netns.wait_until(lambda: "serving" in log.read_text(), 20, f"the program of {name}",
                         process)
        return result["ips"][0]["address"].split("/")[0]

    start("at-local", ("127.0.0.1", "TCP", PORT, 8080))
    start("at-node", (smoke.NODE, "TCP", PORT, 8080))
    start("by-udp", (smoke.NODE, "UDP", PORT, 9000))
    start("anywhere", ("", "tcp", 8000, 8080), ("0.0.0.0", "sctp", 8000, 9000))

    assert ask(n.namespace, "127.0.0.1")["pod"] == "at-local"
    assert ask(n.namespace, smoke.NODE)["pod"] == "at-node"
    assert ask_udp(n.namespace, smoke.NODE) == "by-udp"
    assert ask(n.peer, smoke.NODE)["pod"] == "at-node"
    assert ask_udp(n.peer, smoke.NODE) == "by-udp"
    for where, address in ((n.namespace, "127.0.0.1"), (n.namespace, smoke.NODE)):
        assert ask(where, address, 8000)["pod"] == "anywhere", address
    outside = ask(n.peer, smoke.NODE, 8000)
    assert (outside["pod"], outside["client"]) == ("anywhere", smoke.PEER), outside
    inside = ask(n.pods["at-node"], smoke.NODE, 8000)
    assert inside["pod"] == "anywhere", inside
    hairpin = ask(n.pods["anywhere"], smoke.NODE, 8000)
    assert (hairpin["pod"], hairpin["client"]) == ("anywhere", smoke.NODE), hairpin

    # One port leads to one pod: a second one is refused until the first is gone.
    try:
        chain.add("late", n.sandbox("late"), runtime={"portMappings": [
            {"hostPort": 8000, "containerPort": 8080, "protocol": "tcp"}]})
        raise AssertionError("two pods have one hostPort")
    except cni_list.Refused as error:
        assert error.code == 11 and "hostPort 8000/tcp is taken" in error.sentence, error
    # They outlive podwired, and end with their pods.
    n.stop()
    n.start()
    assert ask(n.peer, smoke.NODE, 8000)["pod"] == "anywhere"
    assert ask(n.namespace, "127.0.0.1")["pod"] == "at-local"
    for name in ("at-local", "at-node", "by-udp", "anywhere"):
        chain.remove(name)
    assert ask(n.peer, smoke.NODE, 8000) is None and ask(n.namespace, "127.0.0.1") is None
    assert "10.244" not in netns.run(n.namespace, ["nft", "list", "ruleset"]).stdout
    missing, counters = n.ledger_difference()
    assert missing == 0, counters
