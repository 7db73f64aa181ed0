"""What scripts/quickstart shows, one function a check. A check is given the lab, and the IP family
where it holds for both; it returns what it saw, or raises CheckFailed with the reason.

`together` checks only watch and talk: they run side by side. `alone` checks change something, and
run one after another behind them.
"""

import concurrent.futures
import contextlib
import errno
import json
import re
import select
import socket
import struct
import time

import netns
import sctp
from lab import (Capture, HOST_HTTP_PORT, HTTP_PORT, NODE_ADDRESSES, OUTSIDE,
                 TUNNEL_ADDRESSES)

SERVICES = {  # by name: the cluster addresses of conf/examples/two-nodes/services.yaml
    name: {4: f"10.96.0.{n}", 6: f"fd00:10:96::{n}"}
    for name, n in [("web", 10), ("echo", 11), ("self", 12), ("web-nodeport", 13),
                    ("web-local", 14), ("web-public", 15), ("web-sticky", 16), ("nobody", 17),
                    ("moving", 18), ("vault", 19), ("iperf", 20)]}
AF = {4: socket.AF_INET, 6: socket.AF_INET6}
ECHO_PORT = 9000
ATTEMPTS = 24  # one of two backends stays unused by chance once in 8 million


class CheckFailed(Exception):
    pass


def need(condition, reason):
    if not condition:
        raise CheckFailed(reason)


def url(address, port, path="/"):
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}{path}"


def curl(lab, who, address, port=HTTP_PORT, timeout_s=4, path="/"):
    """The serving pod's answer, by curl in the namespace of `who`."""
    done = lab.run(who, "curl", "-s", "-S", "-m", str(timeout_s), url(address, port, path),
                   timeout_s=timeout_s + 5)
    need(done.returncode == 0, f"{who} to {address} port {port}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def get(lab, who, family, address, port, timeout_s=4):
    """The same by a socket of our own, for many in a row."""
    try:
        with lab.socket(who, AF[family], socket.SOCK_STREAM) as client:
            client.settimeout(timeout_s)
            client.connect((address, port))
            need(client.getpeername()[:2] == (address, port), "peer is another address")
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            data = b""
            while part := client.recv(65536):
                data += part
    except OSError as error:
        raise CheckFailed(f"{who} to {address} port {port}: {error}") from None
    need(b"\r\n\r\n" in data, f"{who} to {address} port {port}: no answer but {data!r}")
    return json.loads(data.split(b"\r\n\r\n", 1)[1])


def udp_echo(lab, who, family, address, port, payload, timeout_s=3, client=None):
    """The echo's answer and whom it came from; from an unconnected socket, which takes any."""
    with contextlib.ExitStack() as stack:
        if client is None:
            client = stack.enter_context(lab.socket(who, AF[family], socket.SOCK_DGRAM))
        client.settimeout(timeout_s)
        try:
            client.sendto(payload, (address, port))
            answer, peer = client.recvfrom(65535)
        except OSError as error:
            raise CheckFailed(f"{who} to {address} UDP port {port}: {error}") from None
    return answer, peer[:2]


def backends_of(answers):
    counts = {}
    for name in answers:
        counts[name] = counts.get(name, 0) + 1
    return counts


def need_both(answers, where):
    counts = backends_of(answers)
    need(set(counts) == {"web-a", "web-b"}, f"{where}: only these answered: {counts}")
    return ", ".join(f"{name} {n}" for name, n in sorted(counts.items()))


def connect_error(lab, who, family, address, port, timeout_s):
    """(errno or None, seconds): how a connection attempt ends."""
    started = time.monotonic()
    with lab.socket(who, AF[family], socket.SOCK_STREAM) as client:
        client.settimeout(timeout_s)
        try:
            client.connect((address, port))
            return None, time.monotonic() - started
        except TimeoutError:
            return errno.ETIMEDOUT, time.monotonic() - started
        except OSError as error:
            return error.errno, time.monotonic() - started


# ---- pods ----

def pod_to_pod_on_one_node(lab, family):
    answer = curl(lab, "client-a", lab.pods["web-a"].addresses[family])
    need(answer["pod"] == "web-a", f"answer is from {answer['pod']}")
    need(answer["client"] == lab.pods["client-a"].addresses[family],
         f"web-a sees {answer['client']} as its client")
    return f"web-a sees {answer['client']}"


def ip_header(frame):
    """(protocol, source, destination) of a frame's outer IP header, or None."""
    kind = frame[12:14]
    if kind == b"\x08\x00" and len(frame) >= 34:
        return frame[23], socket.inet_ntop(socket.AF_INET, frame[26:30]), \
            socket.inet_ntop(socket.AF_INET, frame[30:34])
    if kind == b"\x86\xdd" and len(frame) >= 54:
        return frame[20], socket.inet_ntop(socket.AF_INET6, frame[22:38]), \
            socket.inet_ntop(socket.AF_INET6, frame[38:54])
    return None


def pod_to_pod_across_nodes(lab, family):
    """IPv4 in IPIP between the node addresses both ways; IPv6 as it is."""
    return to_web_b(lab, family, "client-a", lab.pods["client-a"].addresses[family])


def node_to_pod_across_nodes(lab, family):
    """The node itself: IPv4 from its tunnel address, so that the answer is in IPIP, too."""
    client = TUNNEL_ADDRESSES["node-a"] if family == 4 else NODE_ADDRESSES["node-a"][6]
    return f"from {client}, " + to_web_b(lab, family, "node-a", client)


def to_web_b(lab, family, who, client):
    a, b = NODE_ADDRESSES["node-a"][family], NODE_ADDRESSES["node-b"][family]
    web = lab.pods["web-b"].addresses[family]
    with Capture(lab, "node-a") as capture:
        answer = curl(lab, who, web)
        need(answer["pod"] == "web-b" and answer["client"] == client,
             f"{answer['pod']} sees {answer['client']}")
        ways = ((a, b, client, web), (b, a, web, client))
        for outer_from, outer_to, inner_from, inner_to in ways:
            if family == 6:
                found = capture.wait_for(lambda f: ip_header(f) == (6, inner_from, inner_to))
                need(found, f"no plain TCP {inner_from} > {inner_to} on the wire")
                continue

            def tunnelled(frame):
                return ip_header(frame) == (4, outer_from, outer_to) and \
                    ip_header(b"\0" * 12 + b"\x08\x00" + frame[34:]) == (6, inner_from, inner_to)
            found = capture.wait_for(tunnelled)
            need(found, f"no IPIP {outer_from} > {outer_to} around {inner_from} > {inner_to} "
                        "on the wire")
            need(found[14] == 0x45 and internet_checksum(found[14:34]) == 0,
                 "outer header with options or a wrong checksum")
        bare = [f for f in capture.frames if family == 4 and ip_header(f) and
                {client, web} <= set(ip_header(f)[1:])]
        need(not bare, "the packet is on the wire outside the tunnel, too")
    return "protocol 4 between " + f"{a} and {b}" if family == 4 else "routed as it is"


def internet_checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[:len(data) & ~1]))
    total += data[-1] << 8 if len(data) & 1 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def node_to_pod(lab, family):
    answer = curl(lab, "node-a", lab.pods["web-a"].addresses[family])
    need(answer["pod"] == "web-a", f"answer is from {answer['pod']}")
    need(answer["client"] == NODE_ADDRESSES["node-a"][family],
         f"web-a sees {answer['client']} as its client")
    return "its own pod sees the node's address"


def pod_to_node(lab, family):
    own = curl(lab, "client-a", NODE_ADDRESSES["node-a"][family], HOST_HTTP_PORT)
    need((own["pod"], own["client"]) == ("node-a", lab.pods["client-a"].addresses[family]),
         f"own node: {own}")
    other = curl(lab, "client-a", NODE_ADDRESSES["node-b"][family], HOST_HTTP_PORT)
    need(other["pod"] == "node-b", f"other node: {other}")
    return f"own node sees {own['client']}, the other {other['client']}"


def node_to_service(lab, family):
    return need_both([get(lab, "node-b", family, SERVICES["web"][family], 80)["pod"]
                      for _ in range(ATTEMPTS)], "node-b to web")


def node_to_outside(lab, family):
    answer = curl(lab, "node-b", OUTSIDE[family])
    need(answer["client"] == NODE_ADDRESSES["node-b"][family], f"outside sees {answer['client']}")
    back = curl(lab, "outside", NODE_ADDRESSES["node-b"][family], HOST_HTTP_PORT)
    need((back["pod"], back["client"]) == ("node-b", OUTSIDE[family]), f"and back: {back}")
    return "both ways, untranslated"


def pod_to_outside_masqueraded(lab, family):
    for who, node in (("client-a", "node-a"), ("client-b", "node-b")):
        answer = curl(lab, who, OUTSIDE[family])
        need(answer["pod"] == "outside", f"answer is from {answer['pod']}")
        need(answer["client"] == NODE_ADDRESSES[node][family],
             f"the outside host sees {answer['client']} for {who} on {node}")
    return "the outside host sees the nodes' addresses"


# ---- Services ----

def cluster_ip_all_backends(lab, family):
    address = SERVICES["web"][family]
    curl(lab, "client-a", address, 80)
    return need_both([get(lab, "client-a", family, address, 80)["pod"] for _ in range(ATTEMPTS)],
                     f"ClusterIP {address}")


def service_reply_source(lab, family):
    """An unconnected UDP socket takes whatever comes, so it shows who really answers."""
    address, names = SERVICES["echo"][family], []
    for _ in range(ATTEMPTS):
        answer, peer = udp_echo(lab, "client-b", family, address, 7, b"x" * 64)
        need(peer == (address, 7), f"reply comes from {peer}, not from the Service")
        names.append(answer.split(b" ")[0].decode())
    return f"UDP from {address}: " + need_both(names, "UDP echo")


def pod_to_itself(lab, family):
    address = SERVICES["self"][family]
    answer = curl(lab, "web-a", address, 80)
    need(answer["pod"] == "web-a", f"answer is from {answer['pod']}")
    need(answer["client"] != lab.pods["web-a"].addresses[family],
         "web-a sees itself as its client: the reply would not come back through the Service")
    return f"web-a sees {answer['client']}"


def node_port(lab, family, node):
    address = NODE_ADDRESSES[node][family]
    curl(lab, "outside", address, 30080)
    seen = need_both([get(lab, "outside", family, address, 30080)["pod"] for _ in range(ATTEMPTS)],
                     f"{address} port 30080")
    answer, peer = udp_echo(lab, "outside", family, address, 30007, b"x" * 64)
    need(peer == (address, 30007), f"UDP reply comes from {peer}")
    return seen


def node_port_local(lab, family):
    """externalTrafficPolicy Local: the asked node's own backend, and the client's true address."""
    for node, pod in (("node-a", "web-a"), ("node-b", "web-b")):
        for _ in range(4):
            answer = get(lab, "outside", family, NODE_ADDRESSES[node][family], 30081)
            need(answer["pod"] == pod, f"{node} answers with {answer['pod']}")
            need(answer["client"] == OUTSIDE[family], f"{pod} sees {answer['client']}")
    return "own backend, client's address kept"


def node_port_from_pod(lab, family):
    answers = [get(lab, "client-a", family, NODE_ADDRESSES[node][family], 30080)["pod"]
               for node in ("node-a", "node-b") for _ in range(ATTEMPTS // 2)]
    return need_both(answers, "a pod to port 30080 of both nodes")


def node_port_from_node(lab, family):
    """The node's own processes, to its own address and, IPv4 only, to 127.0.0.1: what Linux would
    deliver to itself. Under a Local policy too they may use every backend, as kube-proxy has it."""
    for node, addresses in NODE_ADDRESSES.items():
        for address in [addresses[family]] + ["127.0.0.1"] * (family == 4):
            for port in (30080, 30081):
                answers = [get(lab, node, family, address, port)["pod"] for _ in range(ATTEMPTS)]
                need_both(answers, f"{node} to {address} port {port}")
            _, peer = udp_echo(lab, node, family, address, 30007, b"x" * 64)
            need(peer == (address, 30007), f"{node}: UDP reply comes from {peer}")
    return "own address" + (" and 127.0.0.1" if family == 4 else "") + ", all backends"


def public_addresses(lab, family):
    pairs = {4: ("203.0.113.10", "203.0.113.20"), 6: ("fd00:203:113::10", "fd00:203:113::20")}
    seen = []
    for kind, address in zip(("load balancer", "external"), pairs[family]):
        names = [get(lab, "outside", family, address, 80)["pod"] for _ in range(ATTEMPTS)]
        seen.append(f"{kind} address: " + need_both(names, f"{kind} address {address}"))
    return "; ".join(seen)


def health_checks(lab, family):
    """What a load balancer outside asks: is the node fit, and has it endpoints of a Service?"""
    for node, addresses in NODE_ADDRESSES.items():
        for address, port, found in ((NODE_ADDRESSES[node][4], 10256, {"nodeEligible": True}),
                                     (addresses[family], 32090, {"localEndpoints": 1})):
            answer = curl(lab, "outside", address, port, path="/healthz")
            need(found.items() <= answer.items(), f"{node} port {port} says {answer}")
    return "10256 and 32090 of both nodes"


def client_affinity(lab, family):
    for who in ("client-a", "client-b"):
        names = {get(lab, who, family, SERVICES["web-sticky"][family], 80)["pod"]
                 for _ in range(16)}
        need(len(names) == 1, f"{who} was served by {sorted(names)}")
    return "16 connections of a client, one backend"


def no_endpoints_refused(lab, family):
    address = SERVICES["nobody"][family]
    error, seconds = connect_error(lab, "client-a", family, address, 80, 3)
    need(error == errno.ECONNREFUSED and seconds < 1,
         f"TCP: {errno.errorcode.get(error, 'connected')} after {seconds:.2f} s")
    with lab.socket("client-a", AF[family], socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.connect((address, 7))
        client.send(b"anyone?")
        try:
            client.recv(100)
            raise CheckFailed("UDP: somebody answered")
        except ConnectionRefusedError:
            pass
        except TimeoutError:
            raise CheckFailed("UDP: no ICMP port unreachable within 1 s") from None
    return f"TCP after {seconds * 1000:.0f} ms, UDP too"


def service_sctp(lab, family):
    address, names = SERVICES["echo"][family], []
    for i in range(ATTEMPTS):
        message = f"message {i}".encode()
        try:
            answer = sctp.echo(lambda *a: lab.socket("client-a", *a), AF[family], address, 7,
                               message)
        except (OSError, ValueError) as error:
            raise CheckFailed(f"association {i}: {error}") from None
        name, _, rest = answer.partition(b" ")
        need(rest == message, f"sent {message!r}, came back {answer!r}")
        names.append(name.decode())
    how = "kernel sockets" if sctp.kernel_has_sctp() else "own SCTP on raw sockets, kernel has none"
    return need_both(names, "SCTP echo") + f" ({how})"


def large_datagram_through_service(lab, family):
    """2,000 bytes are two fragments each way; both backends, so also through the tunnel."""
    address, names = SERVICES["echo"][family], []
    payload = bytes(i % 251 for i in range(2000))
    for _ in range(ATTEMPTS):
        answer, peer = udp_echo(lab, "client-a", family, address, 7, payload)
        name = answer.split(b" ")[0]
        need(peer == (address, 7), f"reply comes from {peer}")
        need(len(answer) == 2000 and answer[len(name) + 1:] == payload[len(name) + 1:],
             f"{len(answer)} bytes came back, or others than were sent")
        names.append(name.decode())
    return need_both(names, "2,000-byte UDP")


# ---- policy ----

def refused_silently(lab, who, family, address, port, node, reason):
    before = lab.nodes[node].drops(reason)
    error, _ = connect_error(lab, who, family, address, port, 1.2)
    need(error == errno.ETIMEDOUT,
         f"{who} to {address} port {port}: {errno.errorcode.get(error, 'connected')}, "
         "which should have been dropped")
    need(lab.nodes[node].drops(reason) > before,
         f"{who} to {address} port {port}: no drop was counted as {reason} on {node}")


def policy_ingress(lab, family):
    vault, service = lab.pods["vault"].addresses[family], SERVICES["vault"][family]
    for who in ("client-a", "client-b"):
        for address, port in ((vault, HTTP_PORT), (service, 80)):
            answer = get(lab, who, family, address, port)
            need(answer["pod"] == "vault", f"{who} was answered by {answer['pod']}")
    for who, port in (("wide-a", HTTP_PORT), ("client-a", 8081)):
        refused_silently(lab, who, family, vault, port, "node-b", "policy_ingress")
    refused_silently(lab, "client-a", family, service, 81, "node-b", "policy_ingress")
    return "client pods and port allowed, others dropped"


def policy_egress(lab, family):
    answer = get(lab, "stranger", family, lab.pods["web-b"].addresses[family], HTTP_PORT)
    need(answer["pod"] == "web-b", f"answered by {answer['pod']}")
    for address, port in ((lab.pods["web-a"].addresses[family], HTTP_PORT),
                          (lab.pods["vault"].addresses[family], HTTP_PORT),
                          (OUTSIDE[family], HTTP_PORT), (SERVICES["self"][family], 80)):
        refused_silently(lab, "stranger", family, address, port, "node-a", "policy_egress")
    return "its one peer allowed, others dropped"


def policy_explained(lab, family):
    """What the two checks above have seen, asked of both nodes: who decides, by name."""
    vault, web = lab.pods["vault"].addresses[family], lab.pods["web-a"].addresses[family]
    service = SERVICES["vault"][family]
    for node in ("node-a", "node-b"):
        for to, port in ((vault, HTTP_PORT), ("guarded/vault", HTTP_PORT), (service, 80)):
            status, answer = lab.nodes[node].explain("default/client-a", to, port)
            need(status == 0 and answer["verdict"] == "allow", f"{node}: {to}: {answer}")
            ingress = answer["ingress"]
            need((ingress["policy"], ingress["rule"]) == ("guarded/vault-ingress", 0),
                 f"{node}: {to} is allowed by {ingress}")
        for who, port, differs in (("default/wide-a", HTTP_PORT, "peer"),
                                   ("default/client-a", 8081, "port")):
            status, answer = lab.nodes[node].explain(who, vault, port)
            ingress = answer["ingress"]
            need(status == 1 and answer["verdict"] == "deny" and
                 ingress["policy"] == "guarded/vault-ingress" and
                 ingress["nearest"]["differs"] == [differs], f"{node}: {who} {port}: {answer}")
        status, answer = lab.nodes[node].explain("guarded/stranger", web, HTTP_PORT)
        need(status == 1 and answer["egress"]["policy"] == "guarded/stranger-egress" and
             answer["egress"]["nearest"]["differs"] == ["peer"] and
             answer["ingress"]["by"] == "not isolated", f"{node}: stranger: {answer}")
    return "both ends, on both nodes, by policy and rule"


def policy_drops_counted(lab, family):
    """Of the policy that refused, on the node that did. Others are refused meanwhile."""
    def drops(node):
        return {p["policy"]: p["drops"] for p in lab.nodes[node].ctl("policies")}
    before = {node: drops(node) for node in NODE_ADDRESSES}
    refused_silently(lab, "wide-a", family, lab.pods["vault"].addresses[family], HTTP_PORT,
                     "node-b", "policy_ingress")
    after = {node: drops(node) for node in NODE_ADDRESSES}
    more = {node: after[node]["guarded/vault-ingress"] - before[node]["guarded/vault-ingress"]
            for node in after}
    need(more["node-b"] > 0, f"not counted: {after}")
    need(more["node-a"] == 0, f"counted on another node: {after}")
    return "by name"


# ---- ICMP ----

def ping(lab, family):
    targets = {"own node's pod": lab.pods["web-a"].addresses[family],
               "other node's pod": lab.pods["web-b"].addresses[family],
               "own node": NODE_ADDRESSES["node-a"][family],
               "other node": NODE_ADDRESSES["node-b"][family], "outside": OUTSIDE[family]}
    for name, address in targets.items():
        done = lab.run("client-a", "ping", f"-{family}", "-n", "-c", "2", "-i", "0.05", "-W", "2",
                       address)
        need(done.returncode == 0 and "2 received" in done.stdout,
             f"{name} {address}: {done.stdout.strip().splitlines()[-1:]} {done.stderr.strip()}")
    done = lab.run("outside", "ping", f"-{family}", "-n", "-c", "1", "-W", "2",
                   NODE_ADDRESSES["node-b"][family])
    need(done.returncode == 0, "outside to node-b: no reply")
    return ", ".join(targets)


def traceroute(lab, family):
    """Each hop answers from an address, and the last is the pod itself: its port unreachable."""
    target = lab.pods["web-b"].addresses[family]
    done = lab.run("client-a", "traceroute", f"-{family}", "-n", "-q", "1", "-w", "1", "-m", "6",
                   target, timeout_s=15)
    hops = re.findall(r"^\s*\d+\s+(\S+)", done.stdout, re.MULTILINE)
    need(hops and hops[-1] == target, f"hops {hops}, last should be {target}: {done.stderr}")
    need(len(hops) >= 2 and "*" not in hops, f"a hop does not answer: {hops}")
    need(target not in hops[:-1] and len(set(hops)) == len(hops), f"hops repeat: {hops}")
    return " > ".join(hops)


def too_large(lab, family):
    """A full 1,500-byte datagram that may not be fragmented is answered with the path's MTU."""
    source = lab.pods["wide-a"].addresses[family]
    target = lab.pods["web-b"].addresses[family]
    icmp = socket.IPPROTO_ICMP if family == 4 else socket.IPPROTO_ICMPV6
    option = (socket.IPPROTO_IP, 10) if family == 4 else (socket.IPPROTO_IPV6, 23)
    with lab.socket("wide-a", AF[family], socket.SOCK_RAW, icmp) as errors, \
            lab.socket("wide-a", AF[family], socket.SOCK_DGRAM) as client:
        client.setsockopt(*option, 3)  # PMTUDISC_PROBE: never fragment, whatever was learnt
        client.connect((target, ECHO_PORT))
        client.send(bytes(1500 - (28 if family == 4 else 48)))
        port = client.getsockname()[1]
        deadline = time.monotonic() + 3
        while True:
            left = deadline - time.monotonic()
            need(left > 0 and select.select([errors], [], [], left)[0], "no ICMP error comes")
            data, peer = errors.recvfrom(2000)
            if family == 4:
                need(internet_checksum(data[:20]) == 0, "error's IP checksum is wrong")
                data = data[20:]
                need(internet_checksum(data) == 0, "ICMP checksum is wrong")
                wanted, quoted_at, l4_at = (3, 4), (12, 20), 20
            else:
                wanted, quoted_at, l4_at = (2, 0), (8, 40), 40
            if (data[0], data[1]) != wanted:
                continue
            quoted = data[8:]
            addresses = quoted[quoted_at[0]:quoted_at[1]]
            size = 4 if family == 4 else 16
            if struct.unpack_from("!HH", quoted, l4_at) == (port, ECHO_PORT):
                break
    mtu = struct.unpack_from("!H", data, 6)[0] if family == 4 else \
        struct.unpack_from("!I", data, 4)[0]
    need(mtu == 1480, f"the error names {mtu}")
    need((socket.inet_ntop(AF[family], addresses[:size]),
          socket.inet_ntop(AF[family], addresses[size:])) == (source, target),
         "the error quotes other addresses than were sent")
    return f"{peer[0]} says {mtu}"


# ---- throughput ----

def iperf3(lab, family):
    seen = []
    for name, who, address in (
            ("on a node", "client-a", lab.pods["web-a"].addresses[family]),
            ("across", "client-b", lab.pods["web-a"].addresses[family]),
            ("Service", "client-a", SERVICES["iperf"][family])):
        done = lab.run(who, "iperf3", "-c", address, "-t", "1", "-J", timeout_s=15)
        with contextlib.suppress(json.JSONDecodeError, KeyError):
            moved = json.loads(done.stdout)["end"]["sum_received"]
            need(moved["bytes"] > 1_000_000, f"{name}: {moved['bytes']} bytes in a second")
            seen.append(f"{name} {moved['bits_per_second'] / 1e9:.2f} Gbit/s")
            continue
        raise CheckFailed(f"{name}: iperf3 says {done.stdout[:300]} {done.stderr[:300]}")
    return ", ".join(seen)


# ---- change ----

def who_echoes(client):
    """The pod that answers a datagram of this socket, or None."""
    with contextlib.suppress(OSError):
        client.send(b"x" * 32)
        return client.recv(100).split(b" ")[0].decode()
    return None


def folder_change_in_force(lab):
    """Service `moving` goes from web-a to web-b and back, under one UDP socket that never pauses:
    its flow must follow, and within 100 ms of the file's change (median of five)."""
    path = lab.manifests / "endpoints.yaml"
    original = path.read_text()
    addresses = {name: lab.pods[name].addresses[4] for name in ("web-a", "web-b")}
    need(addresses["web-a"] in original, "endpoints.yaml does not name web-a")
    times = []
    try:
        with lab.socket("client-a", AF[4], socket.SOCK_DGRAM) as client:
            client.connect((SERVICES["moving"][4], 7))
            client.settimeout(0.02)
            netns.wait_until(lambda: who_echoes(client) == "web-a", 3, "web-a answers")
            for target in ("web-b", "web-a", "web-b", "web-a", "web-b"):
                node = "node-a" if target == "web-a" else "node-b"
                lab.write_manifest("endpoints.yaml",
                                   original.replace(addresses["web-a"], addresses[target])
                                   .replace("nodeName: node-a", f"nodeName: {node}"))
                started = time.monotonic()
                try:
                    netns.wait_until(lambda: who_echoes(client) == target, 5,
                                     f"{target} answers")
                except TimeoutError as error:
                    raise CheckFailed(f"after the change: {error}") from None
                times.append((time.monotonic() - started) * 1000)
    finally:
        lab.write_manifest("endpoints.yaml", original)
    median = sorted(times)[len(times) // 2]
    need(median <= 100, f"takes {median:.0f} ms, not 100")
    return f"a live UDP flow follows after {median:.0f} ms (worst {max(times):.0f})"


DENY_WEB_A = """apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: cut, namespace: default}
spec:
  podSelector: {matchLabels: {pod: web-a}}
  policyTypes: [Ingress]
"""


def policy_change_cuts(lab):
    """A connection under way ends when a policy comes that forbids it; a new one may be made when
    the policy is gone."""
    with lab.socket("client-b", AF[4], socket.SOCK_STREAM) as client:
        client.settimeout(3)
        client.connect((lab.pods["web-a"].addresses[4], HTTP_PORT))
        client.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        need(client.recv(1000), "no stream")
        lab.write_manifest("cut.yaml", DENY_WEB_A)
        try:
            started = time.monotonic()
            client.settimeout(0.3)
            try:
                while time.monotonic() - started < 3:
                    need(client.recv(65536), "the server ended the stream")
                raise CheckFailed("the stream goes on under a policy that forbids it")
            except TimeoutError:
                silent_after = time.monotonic() - started - 0.3
        finally:
            (lab.manifests / "cut.yaml").unlink()

    def allowed_again():
        with contextlib.suppress(CheckFailed):
            return get(lab, "client-b", 4, lab.pods["web-a"].addresses[4], HTTP_PORT, 1)
        return None

    netns.wait_until(allowed_again, 3, "a new connection without the policy")
    return f"silent after {silent_after * 1000:.0f} ms"


def bad_manifest_keeps_last_state(lab):
    node = lab.nodes["node-a"]
    path = lab.manifests / "services.yaml"
    original = path.read_text()
    try:
        lab.write_manifest("services.yaml", original.replace("port: 80, targetPort: http",
                                                             "port: 80000, targetPort: http", 1))
        problem = netns.wait_until(
            lambda: [p for p in node.problems()
                     if "services.yaml" in p], 3, "status names the bad manifest")[0]
        need("web" in problem and "port" in problem,
             f"the message does not say which object and field: {problem}")
        get(lab, "client-a", 4, SERVICES["web"][4], 80)
        get(lab, "client-a", 4, SERVICES["web-public"][4], 80)
        lab.write_manifest("services.yaml", "apiVersion: v1\nkind: [\n")
        netns.wait_until(lambda: [p for p in node.problems()
                                  if "services.yaml" in p and p != problem], 3,
                         "status names the syntax error")
        get(lab, "client-a", 4, SERVICES["web"][4], 80)
    finally:
        lab.write_manifest("services.yaml", original)
    netns.wait_until(lambda: not [p for p in node.problems()
                                  if "services.yaml" in p], 3, "the correction is picked up")
    return problem


def bgp_teaches_linux_and_podwire(lab, family):
    """node-b's pod range comes to node-a by BGP; and so does a route that no object tells of, put
    into Linux on node-b: bird there, bird here, Linux here, podwire here."""
    nodes, gateway = lab.nodes, NODE_ADDRESSES["node-b"][family]
    their_range = {4: "10.244.2.0/24", 6: "fd00:10:244:2::/64"}[family]
    extra = {4: "10.244.77.0/24", 6: "fd00:10:244:77::/64"}[family]

    def peer_is_up():
        return any(p["established"] and p["address"] == gateway
                   for p in nodes["node-a"].ctl("bgp")["peers"])

    def podwire_has(wanted):
        return any(r["prefix"] == extra for r in nodes["node-a"].ctl("routes")) == wanted

    netns.wait_until(peer_is_up, 20, f"a session with {gateway}")
    netns.wait_until(lambda: lab.linux_routes("node-a", family).get(their_range) == gateway, 10,
                     f"Linux's route to {their_range}")
    need(podwire_has(False), f"podwire has a route to {extra} too early")
    netns.ip("-n", nodes["node-b"].namespace, "route", "add", "blackhole", extra)
    started = time.monotonic()
    try:
        netns.wait_until(lambda: podwire_has(True), 10, f"podwire's route to {extra}")
        took = time.monotonic() - started
        need(lab.linux_routes("node-a", family).get(extra) == gateway, "Linux has another route")
    finally:
        netns.ip("-n", nodes["node-b"].namespace, "route", "del", "blackhole", extra)
    netns.wait_until(lambda: podwire_has(False), 10, f"{extra} to go")
    return f"{their_range} via {gateway}, {extra} after {took:.2f} s"


def restart_keeps_addresses(lab):
    node = lab.nodes["node-b"]
    before = netns.ip("-n", lab.pods["web-b"].namespace, "-br", "addr", "show", "dev", "eth0")
    started = time.monotonic()
    code = node.stop()
    need(code in (0, None), f"podwired ends with exit code {code}")
    node.start()
    gone = time.monotonic() - started
    after = netns.ip("-n", lab.pods["web-b"].namespace, "-br", "addr", "show", "dev", "eth0")
    need(before.split()[2:] == after.split()[2:], f"{before.strip()} became {after.strip()}")
    for family in (4, 6):
        def answers():
            with contextlib.suppress(CheckFailed):
                return get(lab, "client-a", family, lab.pods["web-b"].addresses[family],
                           HTTP_PORT, 1)["pod"] == "web-b"
            return False
        netns.wait_until(answers, 5, f"web-b answers over IPv{family}")
    return f"stop and start took {gone:.2f} s"


def ledger_balances(lab):
    """received + originated = sent + drops + holding on every node, once the wire is quiet."""
    seen = []
    for node in lab.nodes.values():
        missing, c = node.ledger_difference()
        need(missing == 0, f"{node.name}: {missing} packets unaccounted for in {c}")
        need(c["received"] > 100, f"{node.name} counts only {c['received']} packets")
        seen.append(f"{node.name} {c['received']} received, {sum(c['drops'].values())} dropped")
    return "; ".join(seen)


BOTH = [
    ("pod to pod on one node", pod_to_pod_on_one_node),
    ("pod to pod across nodes", pod_to_pod_across_nodes),
    ("node to pod", node_to_pod),
    ("pod to node", pod_to_node),
    ("node to Service", node_to_service),
    ("node to a pod across nodes", node_to_pod_across_nodes),
    ("node to outside and back", node_to_outside),
    ("pod to outside, masqueraded", pod_to_outside_masqueraded),
    ("ClusterIP uses all backends", cluster_ip_all_backends),
    ("replies come from the Service", service_reply_source),
    ("pod to itself through its Service", pod_to_itself),
    ("NodePort on node-a", lambda lab, family: node_port(lab, family, "node-a")),
    ("NodePort on node-b", lambda lab, family: node_port(lab, family, "node-b")),
    ("NodePort, local policy", node_port_local),
    ("NodePort from a pod", node_port_from_pod),
    ("NodePort from the node itself", node_port_from_node),
    ("load balancer and external address", public_addresses),
    ("health checks of load balancers", health_checks),
    ("ClientIP affinity", client_affinity),
    ("no endpoints: refused at once", no_endpoints_refused),
    ("SCTP through a Service", service_sctp),
    ("2,000-byte UDP through a Service", large_datagram_through_service),
    ("NetworkPolicy, ingress", policy_ingress),
    ("NetworkPolicy, egress", policy_egress),
    ("NetworkPolicy, explained", policy_explained),
    ("NetworkPolicy, drops by policy", policy_drops_counted),
    ("ping", ping),
    ("traceroute", traceroute),
    ("too large for the path", too_large),
]
ALONE = [
    *((f"BGP: bird teaches Linux, and Linux podwire, IPv{family}",
       lambda lab, f=family: bgp_teaches_linux_and_podwire(lab, f)) for family in (4, 6)),
    ("iperf3", lambda lab: iperf3(lab, 4)),
    ("a change in the folder is in force", folder_change_in_force),
    ("a policy change cuts a connection", policy_change_cuts),
    ("a bad manifest keeps the last good state", bad_manifest_keeps_last_state),
    ("received = sent + dropped", ledger_balances),
    ("a restart keeps pods' addresses", restart_keeps_addresses),
]


def all_checks():
    """(name, function of the lab, may run beside others)."""
    for name, function in BOTH:
        for family in (4, 6):
            yield f"{name}, IPv{family}", lambda lab, f=function, n=family: f(lab, n), True
    for name, function in ALONE:
        yield name, function, False


def run_one(lab, name, function):
    started = time.monotonic()
    try:
        detail, ok = function(lab), True
    except (CheckFailed, RuntimeError, TimeoutError) as error:
        detail, ok = str(error), False
    except Exception as error:  # noqa: BLE001  a check that breaks is a check that fails
        detail, ok = f"{type(error).__name__}: {error}", False
    return {"name": name, "ok": ok, "detail": " ".join(detail.split()),
            "seconds": round(time.monotonic() - started, 3)}


def run(lab, wanted, report):
    """Runs the checks whose name contains one of `wanted` (all when empty); report(result) each, in
    the order of the list."""
    chosen = [c for c in all_checks() if not wanted or any(w in c[0] for w in wanted)]
    results = []
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        together = [pool.submit(run_one, lab, name, f) for name, f, beside in chosen if beside]
        for future in together:
            results.append(future.result())
            report(results[-1])
    for name, function, beside in chosen:
        if not beside:
            results.append(run_one(lab, name, function))
            report(results[-1])
    return results
