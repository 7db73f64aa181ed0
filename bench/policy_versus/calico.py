"""The scene's policies as Calico's node agent lays them out in netfilter, told once for iptables
and for nftables: tables of chains of rules, and the sets of addresses that rules name.

A rule is (matches, action); both are tuples whose first word says what they are, and systems/ has
who writes them down. Laid out as felix/rules/{static,dispatch,endpoints,policy}.go and
felix/nftables do, for forwarded IPv4 of pods, with no host endpoint and no tunnel:

    FORWARD ─ cali-FORWARD ─┬─ cali-from-wl-dispatch ─ cali-fw-IF ─ cali-go-GROUP ─ cali-po-POLICY
                            └─ cali-to-wl-dispatch ─── cali-tw-IF ─ cali-gi-GROUP ─ cali-pi-POLICY
"""

import base64
import hashlib

import scene as scene_module

ACCEPTED, PASSED, FROM_WORKLOAD, ALL = 0x10000, 0x20000, 0x40000, 0xf0000
LONGEST_CHAIN, LONGEST_SET = 28, 31
RETURN_STRIDE = 5  # in a group, who has been judged goes back after so many policies
ACCEPT, DROP, RETURN = ("accept",), ("drop",), ("return",)


def is_set(bits):
    return "mark", bits, bits


def is_clear(bits):
    return "mark", 0, bits


def interface(pod):
    """Of the pod, on the node's side."""
    return "cali" + hashlib.sha1(f"{scene_module.NAMESPACE}.{pod.name}".encode()).hexdigest()[:11]


def hashed(prefix, name, longest=LONGEST_CHAIN):
    """The prefix and as much of the name's hash as a name may be long."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(name.encode()).digest()).decode()
    return f"{prefix}_{digest[:longest - len(prefix) - 1]}"


def set_name(peer):
    """A selector's set; its hash starts with s: for selector."""
    return hashed("cali40s:", repr(peer), LONGEST_SET)


class Rules:
    """`tables`: table, chain, list of rules. `sets`: name, addresses or prefixes. `dispatch`: table
    and chain, which side's interface is looked at, and the chain of each interface."""

    def __init__(self, scene):
        self.scene = scene
        self.tables = {table: {} for table in ("raw", "mangle", "nat", "filter")}
        self.sets = {set_name(peer): addresses for peer, addresses in scene.peers().items()}
        self.dispatch = {}
        self._raw()
        self._mangle()
        self._nat()
        self._forward()
        self._workloads()
        self._policies()

    def add(self, table, chain, *rules):
        self.tables[table].setdefault(chain, []).extend(rules)

    def _raw(self):
        """Pods may not send from others' addresses."""
        workload = is_set(FROM_WORKLOAD)
        self.add("raw", "PREROUTING", ((), ("jump", "cali-PREROUTING")))
        self.add("raw", "cali-PREROUTING",
                 ((), ("clear", ALL)),
                 ((("in", "cali+"),), ("set", FROM_WORKLOAD)),
                 ((workload,), ("jump", "cali-rpf-skip")),
                 ((workload, ("rpf failed",)), DROP),
                 ((is_clear(FROM_WORKLOAD),), ("jump", "cali-from-host-endpoint")),
                 ((is_set(ACCEPTED),), ACCEPT))
        self.add("raw", "cali-rpf-skip")
        self.add("raw", "cali-from-host-endpoint")

    def _mangle(self):
        self.add("mangle", "PREROUTING", ((), ("jump", "cali-PREROUTING")))
        self.add("mangle", "POSTROUTING", ((), ("jump", "cali-POSTROUTING")))
        self.add("mangle", "cali-PREROUTING",
                 ((("ct", "related,established"),), ACCEPT),
                 ((is_set(ACCEPTED),), ACCEPT),
                 ((), ("jump", "cali-from-host-endpoint")),
                 ((is_set(ACCEPTED),), ACCEPT))
        self.add("mangle", "cali-POSTROUTING",
                 ((is_set(ACCEPTED),), RETURN),
                 ((), ("clear", ALL)),
                 ((("translated",),), ("jump", "cali-to-host-endpoint")),
                 ((is_set(ACCEPTED),), RETURN))
        for chain in ("cali-from-host-endpoint", "cali-to-host-endpoint"):
            self.add("mangle", chain)

    def _nat(self):
        self.sets["cali40masq-ipam-pools"] = self.sets["cali40all-ipam-pools"] = [
            scene_module.LOCAL_RANGE, scene_module.REMOTE_RANGE]
        self.add("nat", "PREROUTING", ((), ("jump", "cali-PREROUTING")))
        self.add("nat", "POSTROUTING", ((), ("jump", "cali-POSTROUTING")))
        self.add("nat", "cali-PREROUTING", ((), ("jump", "cali-fip-dnat")))
        self.add("nat", "cali-POSTROUTING", ((), ("jump", "cali-fip-snat")),
                 ((), ("jump", "cali-nat-outgoing")))
        self.add("nat", "cali-fip-dnat")
        self.add("nat", "cali-fip-snat")
        self.add("nat", "cali-nat-outgoing",
                 ((("from", "cali40masq-ipam-pools"), ("not to", "cali40all-ipam-pools")),
                  ("masquerade",)))

    def _forward(self):
        self.add("filter", "FORWARD",
                 ((), ("jump", "cali-FORWARD")),
                 ((is_set(ACCEPTED),), ACCEPT),
                 ((), ("set", ACCEPTED)))
        self.add("filter", "cali-FORWARD",
                 ((), ("clear", ALL & ~ACCEPTED)),
                 ((is_clear(ACCEPTED),), ("jump", "cali-from-hep-forward")),
                 ((("in", "cali+"),), ("jump", "cali-from-wl-dispatch")),
                 ((("out", "cali+"),), ("jump", "cali-to-wl-dispatch")),
                 ((), ("jump", "cali-to-hep-forward")),
                 ((), ("jump", "cali-cidr-block")))
        for chain in ("cali-from-hep-forward", "cali-to-hep-forward", "cali-cidr-block"):
            self.add("filter", chain)

    def _workloads(self):
        # Nothing that comes from a pod may be a tunnel's.
        no_tunnels = (((("protocol", "udp"), ("ports", "udp", ((4789, 4789),))), DROP),
                      ((("protocol", "4"),), DROP))
        for way, side, groups, profile, first in (
                ("from", "in", "cali-go-", "cali-pro-", no_tunnels),
                ("to", "out", "cali-gi-", "cali-pri-", ())):
            endpoint = f"cali-{way[0]}w-"
            names = {interface(pod): endpoint + interface(pod) for pod in self.scene.local}
            self.dispatch["filter", f"cali-{way}-wl-dispatch"] = side, names
            profiles = [profile + "kns.bench", profile + "ksa.bench.default"]
            for pod in self.scene.local:
                self._endpoint(names[interface(pod)], first,
                               self._group(groups, pod.labels["app"]), profiles)
            self.add("filter", profiles[0], ((), ("set", ACCEPTED)),
                     ((is_set(ACCEPTED),), RETURN))
            self.add("filter", profiles[1])

    def _endpoint(self, chain, first, policies, profiles):
        accepted = ((is_set(ACCEPTED),), RETURN)
        self.add("filter", chain,
                 ((("ct", "related,established"),), ACCEPT),
                 ((("ct", "invalid"),), DROP),
                 ((), ("clear", ACCEPTED | PASSED)), *first,
                 ((), ("clear", PASSED)),
                 ((is_clear(PASSED),), ("jump", policies)), accepted,
                 ((is_clear(PASSED),), DROP))
        for profile in profiles:
            self.add("filter", chain, ((), ("jump", profile)), accepted)
        self.add("filter", chain, ((), DROP))

    def _group(self, prefix, app):
        """The chain of an app's policies: its own, or that of the only one."""
        policies = self.scene.of_app(app)
        if len(policies) == 1:
            return self._policy_chain(prefix, policies[0])
        return hashed(prefix, f"{scene_module.NAMESPACE}/app={app}")

    def _policy_chain(self, prefix, policy):
        return hashed(prefix.replace("-g", "-p"), f"default/knp.default.{policy.name}")

    def _policies(self):
        for app in sorted({pod.labels["app"] for pod in self.scene.local}):
            policies = self.scene.of_app(app)
            for prefix, direction, side in (("cali-go-", "egress", "to"),
                                            ("cali-gi-", "ingress", "from")):
                chains = [self._policy_chain(prefix, policy) for policy in policies]
                if len(policies) > 1:
                    self._group_chain(self._group(prefix, app), chains)
                for chain, policy in zip(chains, policies):
                    for rule in getattr(policy, direction):
                        self._rule(chain, rule, side)

    def _group_chain(self, group, chains):
        for i, chain in enumerate(chains):
            if i % RETURN_STRIDE:
                self.add("filter", group, ((is_clear(ACCEPTED | PASSED),), ("jump", chain)))
                continue
            if i:
                self.add("filter", group, ((("judged", ACCEPTED | PASSED),), RETURN))
            self.add("filter", group, ((), ("jump", chain)))

    def _rule(self, chain, rule, side):
        protocol = rule.protocol.lower()
        self.add("filter", chain,
                 ((("protocol", protocol), (side, set_name(rule.peer)),
                   ("ports", protocol, rule.ports)), ("set", ACCEPTED)),
                 ((is_set(ACCEPTED),), RETURN))
