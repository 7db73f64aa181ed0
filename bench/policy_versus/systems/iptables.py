"""Linux with the rules and sets that Calico makes with iptables and ipset, by either of the two
programs that there are: the old tables, and iptables' rules run by nf_tables."""

import hashlib
import shutil

from contest import load
from systems.kernel import LOAD_S, KernelSystem, tried

MATCHES = {
    "in": lambda name: f"-i {name}",
    "out": lambda name: f"-o {name}",
    "mark": lambda value, mask: f"-m mark --mark {value:#x}/{mask:#x}",
    "judged": lambda bits: f"-m mark ! --mark 0x0/{bits:#x}",
    "ct": lambda states: f"-m conntrack --ctstate {states.upper()}",
    "translated": lambda: "-m conntrack --ctstate DNAT",
    "rpf failed": lambda: "-m rpfilter --validmark --invert",
    "protocol": lambda protocol: f"-p {protocol}",
    "from": lambda name: f"-m set --match-set {name} src",
    "to": lambda name: f"-m set --match-set {name} dst",
    "not to": lambda name: f"-m set ! --match-set {name} dst",
    "ports": lambda _, spans: "-m multiport --dports " + ",".join(
        str(first) if first == last else f"{first}:{last}" for first, last in spans),
}
ACTIONS = {
    "accept": lambda: "-j ACCEPT", "drop": lambda: "-j DROP", "return": lambda: "-j RETURN",
    "masquerade": lambda: "-j MASQUERADE",
    "jump": lambda chain: f"-j {chain}", "goto": lambda chain: f"-g {chain}",
    "set": lambda bits: f"-j MARK --set-xmark {bits:#x}/{bits:#x}",
    "clear": lambda bits: f"-j MARK --set-xmark 0x0/{bits:#x}",
}
PROBE = """*raw
-A PREROUTING -m rpfilter --validmark --invert -j DROP
COMMIT
*filter
-A FORWARD -m comment --comment c -m mark --mark 1/1 -m conntrack --ctstate NEW -j MARK --set-mark 2
-A FORWARD -p tcp -m multiport --dports 1,2:3 -j ACCEPT
COMMIT
*nat
-A POSTROUTING -j MASQUERADE
COMMIT
"""


class Iptables(KernelSystem):
    program = None

    @classmethod
    def missing(cls):
        for program, package in ((f"{cls.program}-restore", "iptables"), ("ipset", "ipset")):
            if shutil.which(program) is None:
                return f"{program} is not installed (package {package})"
        return tried("create probe hash:net family inet\n", "ipset", "restore") or \
            tried(PROBE, f"{cls.program}-restore")

    def load_rules(self, rules):
        load(self.namespace(), ["ipset", "restore"], sets_text(rules), LOAD_S)
        load(self.namespace(), [f"{self.program}-restore"], rules_text(rules), LOAD_S)


class IptablesLegacy(Iptables):
    name, program = "iptables-legacy", "iptables-legacy"
    about = "Linux with Calico's rules in ip_tables and ipset, veth, threaded NAPI"


class IptablesNft(Iptables):
    name, program = "iptables-nft", "iptables-nft"
    about = "Linux with Calico's rules by iptables-nft and ipset, veth, threaded NAPI"


def sets_text(rules):
    lines = []
    for name, members in rules.sets.items():
        lines.append(f"create {name} hash:net family inet maxelem 1048576")
        lines += [f"add {name} {member}" for member in members]
    return "\n".join(lines) + "\n"


def rules_text(rules):
    lines = []
    for table, chains in rules.tables.items():
        chains = {**chains, **(dispatch_chains(rules) if table == "filter" else {})}
        lines.append(f"*{table}")
        lines += [f":{chain} - [0:0]" for chain in chains if chain.startswith("cali-")]
        lines += [line for chain, of_chain in chains.items()
                  for line in (rule_text(chain, *rule) for rule in of_chain)]
        lines.append("COMMIT")
    return "\n".join(lines) + "\n"


def rule_text(chain, matches, action):
    """With the comment that each of Calico's rules has, its hash."""
    kind, *arguments = action
    words = [MATCHES[kind](*about) for kind, *about in matches]
    words.append(ACTIONS[kind](*arguments))
    text = " ".join(words)
    digest = hashlib.sha256(f"{chain} {text}".encode()).hexdigest()[:16]
    return f'-A {chain} -m comment --comment "cali:{digest}" {text}'


def dispatch_chains(rules):
    """A tree of two levels by the first letter in which the interfaces' names differ."""
    found = {}
    for (_, root), (side, chains) in rules.dispatch.items():
        names = sorted(chains)
        common = len(shared_prefix(names))
        branches = {}
        for name in names:
            branches.setdefault(name[:common + 1], []).append(name)
        found[root] = []
        for prefix, below in branches.items():
            leaves = [(((side, name),), ("goto", chains[name])) for name in below]
            if len(below) > 1:
                child = f"{root}-{prefix[common:]}"
                found[child] = [*leaves, ((), ("drop",))]
                leaves = [(((side, f"{prefix}+"),), ("goto", child))]
            found[root] += leaves
        found[root].append(((), ("drop",)))
    return found


def shared_prefix(names):
    """What the first and the last of sorted names begin with; less than either of them."""
    first, last = names[0], names[-1]
    length = 0
    while length < min(len(first), len(last)) - 1 and first[length] == last[length]:
        length += 1
    return first[:length]
