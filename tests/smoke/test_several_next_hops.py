"""Several next hops in Linux's table: flows are spread, keep theirs, and move only with it."""
import select
import socket

import smoke
from smoke import netns

MACS = {"172.18.0.21": "02:00:00:00:02:21", "172.18.0.22": "02:00:00:00:02:22"}
FLOWS = 64


def hops(*gateways):
    return "".join(f" nexthop via {gateway} dev podwire0 weight 1" for gateway in gateways)


def ways(wire, flows):
    """By flow, the Ethernet address that its packet is sent to."""
    while select.select([wire], [], [], 0)[0]:
        wire.recv(65535)
    for flow in flows:
        flow.sendto(b"x", ("198.51.100.9", 53))
    ports, seen = {flow.getsockname()[1] for flow in flows}, {}
    while len(seen) < len(ports):
        assert select.select([wire], [], [], 5)[0], f"{len(ports) - len(seen)} packets do not come"
        frame = wire.recv(65535)
        port = int.from_bytes(frame[34:36], "big")
        if frame[12:14] == b"\x08\0" and frame[23] == 17 and port in ports:
            seen[port] = frame[:6].hex(":")
    return seen


with smoke.node() as n:
    n.start()
    n.pod("a")
    netns.ip_batch(n.namespace, [f"neigh add {address} lladdr {mac} dev podwire0 nud permanent"
                                 for address, mac in MACS.items()])
    netns.ip_batch(n.namespace, ["route add 198.51.100.0/24" + hops(*MACS)])
    wire = netns.open_socket(n.peer, socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind(("eth0", 3))
    flows = []
    for _ in range(FLOWS):
        flows.append(netns.open_socket(n.pods["a"], socket.AF_INET, socket.SOCK_DGRAM))
        flows[-1].bind(("", 0))  # without natOutgoing the port stays the pod's

    def route():
        return (n.ctl("routes", "--to", "198.51.100.9") or [{}])[-1]

    netns.wait_until(lambda: route().get("kind") == "several", 5, "several next hops")
    assert {path["mac"] for path in route()["paths"]} == set(MACS.values()), route()
    first = ways(wire, flows)
    assert set(first.values()) == set(MACS.values()), first
    assert ways(wire, flows) == first, "a flow changes its way"
    kept = "172.18.0.22"
    netns.ip_batch(n.namespace, ["route replace 198.51.100.0/24" + hops(kept)])
    netns.wait_until(lambda: route().get("kind") == "link", 5, "one next hop")
    assert set(ways(wire, flows).values()) == {MACS[kept]}
    netns.ip_batch(n.namespace, ["route replace 198.51.100.0/24" + hops(*MACS)])
    netns.wait_until(lambda: route().get("kind") == "several", 5, "several next hops again")
    assert ways(wire, flows) == first, "flows do not come back to their ways"
