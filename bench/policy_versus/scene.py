"""The cluster that every system is programmed for, and who may connect to whom in it by the API's
words: `Scene.allows` is the judge that no system has written.

`local` pods of this node are of as many apps, and each app is selected by its share of the
policies, in both directions. In the middle of an app's policies stands the gate, the one that lets
the measured flows through: whoever is judged goes through half of them, whoever is refused all.
The other policies name groups, each of `members` pods on another node, and maybe some here.
"""

import random
from dataclasses import dataclass

NAMESPACE, NODE, OTHER_NODE = "bench", "node-a", "node-b"
NODE_ADDRESS, ROUTER = "172.18.0.11", "172.18.0.1"
LOCAL_RANGE, REMOTE_RANGE = "10.244.1.0/24", "10.245.0.0/16"
TCP_PORTS, UDP_PORTS = (8080, 8095), (9000, 9015)  # of the gates; the measured flows are to these
LARGEST_LOCAL, LARGEST_REMOTE = 200, 1 << 16


@dataclass(frozen=True)
class Pod:
    name: str
    address: str
    node: str
    labels: dict


@dataclass(frozen=True)
class Peer:
    """Pods of the namespace by a label; without a value all that have the key."""
    key: str
    value: str = None

    def selects(self, pod):
        return self.key in pod.labels and self.value in (None, pod.labels[self.key])

    def selector(self):
        if self.value is not None:
            return {"matchLabels": {self.key: self.value}}
        return {"matchExpressions": [{"key": self.key, "operator": "Exists"}]}


@dataclass(frozen=True)
class Rule:
    peer: Peer
    protocol: str
    ports: tuple  # of (first, last)

    def matches(self, pod, protocol, port):
        return protocol == self.protocol and self.peer.selects(pod) and \
            any(first <= port <= last for first, last in self.ports)


@dataclass(frozen=True)
class Policy:
    name: str
    app: str
    ingress: tuple
    egress: tuple


class Scene:
    def __init__(self, policies, local=20, members=100, groups=100):
        self.apps, self.groups, self.members = min(local, policies), groups, members
        self.local = [self._local_pod(i) for i in range(local)]
        self.remote = [self._remote_pod(g, i) for g in range(groups) for i in range(members)]
        self.policies = [self._policy(n, policies) for n in range(policies)]
        self._by_app = {}  # in the order in which Calico has them: by name
        for policy in sorted(self.policies, key=lambda p: p.name):
            self._by_app.setdefault(policy.app, []).append(policy)

    def _local_pod(self, i):
        return Pod(f"pod-{i}", f"10.244.1.{i + 10}", NODE,
                   {"app": f"a{i % self.apps}", "role": "back" if i % 2 else "front",
                    "group": f"g{i % self.groups}"})

    def _remote_pod(self, group, i):
        number = group * self.members + i
        labels = {"group": f"g{group}"}
        if group == 0:  # so that the gates' peers are as many as others'
            labels["role"] = "back" if i % 2 else "front"
        return Pod(f"far-{group}-{i}", f"10.245.{number >> 8}.{number & 255}", OTHER_NODE, labels)

    def _policy(self, n, policies):
        app, rank = n % self.apps, n // self.apps
        share = (policies - app + self.apps - 1) // self.apps
        name = f"p{rank:05}-a{app}"
        if rank == share // 2:
            anyone = Peer("role")
            return Policy(name, f"a{app}",
                          (Rule(Peer("role", "front"), "TCP", (TCP_PORTS,)),
                           Rule(anyone, "UDP", (UDP_PORTS,))),
                          (Rule(anyone, "TCP", ((8000, 65535),)),
                           Rule(anyone, "UDP", (UDP_PORTS,))))
        ports = [(10000 + rank % 5000,) * 2, (443, 443)]
        if rank % 10 == 0:
            ports.append((20000, 20010))
        return Policy(name, f"a{app}",
                      (Rule(Peer("group", f"g{n * 7 % self.groups}"), "TCP", tuple(ports)),),
                      (Rule(Peer("group", f"g{n * 11 % self.groups}"), "TCP",
                            ((443, 443), (5000 + rank % 2000,) * 2)),))

    def peers(self):
        """Every selector that a rule has, with the addresses of those it selects."""
        found = {rule.peer: [] for policy in self.policies
                 for rule in (*policy.ingress, *policy.egress)}
        for pod in (*self.local, *self.remote):
            for peer in {Peer("role"), *(Peer(*label) for label in pod.labels.items())}:
                if peer in found and peer.selects(pod):
                    found[peer].append(pod.address)
        return found

    def of_app(self, app):
        """The policies that select this app's pods, by name."""
        return self._by_app[app]

    def allows(self, source, destination, protocol, port):
        def any_of(pod, direction, other):
            return any(rule.matches(other, protocol, port)
                       for policy in self.of_app(pod.labels["app"])
                       for rule in getattr(policy, direction))

        return any_of(source, "egress", destination) and any_of(destination, "ingress", source)

    def allowed_pairs(self):
        """Whom the gates let through; no pod is in two pairs."""
        return [(self.local[i], self.local[i + 1]) for i in range(0, min(len(self.local), 8), 2)]

    def refused_pairs(self):
        """Let out by the source's gate, refused by all that the destination has."""
        count = len(self.local)
        return [(self.local[i], self.local[(i + 1) % count]) for i in range(1, min(count, 8), 2)]

    def questions(self, count, seed):
        """(source, destination, port) of local pods: ways that ingress rules have, and for each one
        beside it, by another source or port."""
        rng, asked = random.Random(seed), []
        ways = [(rule, source, destination) for destination in self.local
                for policy in self.of_app(destination.labels["app"]) for rule in policy.ingress
                for source in self.local if source is not destination and
                rule.protocol == "TCP" and rule.peer.selects(source)]
        rng.shuffle(ways)
        for rule, source, destination in ways[:(count + 1) // 2]:
            asked.append((source, destination, rng.choice(rng.choice(rule.ports))))
            if rng.choice((True, False)):
                asked.append((source, destination, rng.choice((22, 443, 8079, 9999))))
            else:
                other = rng.choice([pod for pod in self.local if pod is not destination])
                asked.append((other, destination, asked[-1][2]))
        return asked
