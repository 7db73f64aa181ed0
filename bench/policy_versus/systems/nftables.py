"""Linux with the table that Calico makes in its nftables mode: every table of iptables is a part of
one, sets are intervals, and a pod's chain is found in a map by its interface."""

import shutil

from contest import load
from systems.kernel import LOAD_S, KernelSystem, tried

TABLE = "ip calico"
HOOKS = {"raw": ("filter", -300), "mangle": ("filter", -150), "nat": ("nat", {
    "PREROUTING": -100, "POSTROUTING": 100}), "filter": ("filter", 0)}
SIDES = {"in": "iifname", "out": "oifname"}


def span(first, last):
    return str(first) if first == last else f"{first}-{last}"


def legal(name):
    """A set's name as nft takes it."""
    return name.replace(":", "-")


MATCHES = {
    "in": lambda name: f"iifname {name.replace('+', '*')}",
    "out": lambda name: f"oifname {name.replace('+', '*')}",
    "mark": lambda value, mask: f"meta mark & {mask:#x} == {value:#x}",
    "judged": lambda bits: f"meta mark & {bits:#x} != 0x0",
    "ct": lambda states: f"ct state {states}",
    "translated": lambda: "ct status dnat",
    "rpf failed": lambda: "fib saddr . mark . iif oif 0",
    "protocol": lambda protocol: f"meta l4proto {protocol}",
    "from": lambda name: f"ip saddr @{legal(name)}",
    "to": lambda name: f"ip daddr @{legal(name)}",
    "not to": lambda name: f"ip daddr != @{legal(name)}",
    "ports": lambda protocol, spans: f"{protocol} dport {{ " + ", ".join(
        span(*one) for one in spans) + " }",
}
PROBE = """table ip probe {
  set s { type ipv4_addr; flags interval; }
  map m { type ifname : verdict; }
  chain c {
    type filter hook forward priority 0;
    fib saddr . mark . iif oif 0 counter drop
    ct state established accept
    ip saddr @s iifname vmap @m
  }
  chain d { type nat hook postrouting priority 100; masquerade; }
}
"""


def action_text(table, kind, *arguments):
    if kind in ("jump", "goto"):
        return f"{kind} {table}-{arguments[0]}"
    if kind in ("set", "clear"):
        bits, = arguments
        return f"meta mark set meta mark or {bits:#x}" if kind == "set" else \
            f"meta mark set meta mark and {~bits & 0xffffffff:#x}"
    return kind


class Nftables(KernelSystem):
    name = "nftables"
    about = "Linux with Calico's table in its nftables mode, veth, threaded NAPI"

    @classmethod
    def missing(cls):
        if shutil.which("nft") is None:
            return "nft is not installed (package nftables)"
        return tried(PROBE, "nft", "-f", "-")

    def load_rules(self, rules):
        load(self.namespace(), ["nft", "-f", "-"], "\n".join(
            [f"add table {TABLE}", *set_lines(rules), *chain_lines(rules), *map_lines(rules),
             *rule_lines(rules)]) + "\n", LOAD_S)


def set_lines(rules):
    for name, members in rules.sets.items():
        yield f"add set {TABLE} {legal(name)} {{ type ipv4_addr; flags interval; }}"
        if members:
            yield f"add element {TABLE} {legal(name)} {{ {', '.join(members)} }}"


def chain_lines(rules):
    for table, chains in rules.tables.items():
        kind, priority = HOOKS[table]
        for chain in chains:
            name = f"add chain {TABLE} {table}-{chain}"
            if chain.startswith("cali-"):
                yield name
                continue
            at = priority[chain] if isinstance(priority, dict) else priority
            yield f"{name} {{ type {kind} hook {chain.lower()} priority {at}; }}"
    for table, root in rules.dispatch:
        yield f"add chain {TABLE} {table}-{root}"


def map_lines(rules):
    for (table, root), (_, chains) in rules.dispatch.items():
        name = f"{TABLE} {table}-{root}-map"
        elements = ", ".join(f"{interface} : goto {table}-{chain}"
                             for interface, chain in chains.items())
        yield f"add map {name} {{ type ifname : verdict; }}"
        yield f"add element {name} {{ {elements} }}"


def rule_lines(rules):
    for table, chains in rules.tables.items():
        for chain, of_chain in chains.items():
            for matches, (kind, *arguments) in of_chain:
                words = [MATCHES[what](*about) for what, *about in matches]
                yield " ".join([f"add rule {TABLE} {table}-{chain}", *words, "counter",
                                action_text(table, kind, *arguments)])
    for (table, root), (side, _) in rules.dispatch.items():
        yield f"add rule {TABLE} {table}-{root} counter {SIDES[side]} vmap @{table}-{root}-map"
        yield f"add rule {TABLE} {table}-{root} counter drop"
