"""What the conversations share: the node, its ports, and the ledger that every test must leave
balanced."""

import contextlib
import unittest
from pathlib import Path

from node import Node

node = Node()
PODS = {"client": {4: "10.244.1.20", 6: "fd00:10:244:1::20"},
        "near": {4: "10.244.1.10", 6: "fd00:10:244:1::10"}}
FAR = {4: "10.244.2.10", 6: "fd00:10:244:2::10"}
SERVICE = {name: {4: f"10.96.0.{n}", 6: f"fd00:10:96::{n}"}
           for name, n in [("far", 10), ("near", 11), ("nobody", 12)]}


def start_node():
    node.up(Path(__file__).resolve().parent / "manifests", PODS)


def stop_node():
    node.down()


class Conversation(unittest.TestCase):
    """A test ends with podwired alive and every packet accounted for."""

    def setUp(self):
        self.client, self.near, self.wire = node.pods["client"], node.pods["near"], node.wire
        for port in (self.client, self.near, self.wire):
            port.drain()

    def tearDown(self):
        self.assertIsNone(node.process.poll(), "podwired has ended")
        missing, counters = node.ledger_difference(2)
        self.assertEqual(missing, 0, f"unaccounted packets in {counters}")

    @contextlib.contextmanager
    def dropped(self, **wanted):
        """Inside, exactly these drops happen: reason=count; and no other."""
        before = node.counters()["drops"]
        yield
        found = {}
        for _ in range(200):
            after = node.counters()["drops"]
            found = {name: n - before.get(name, 0) for name, n in after.items()
                     if n != before.get(name, 0)}
            if all(found.get(name, 0) >= n for name, n in wanted.items()):
                break
        self.assertEqual(found, wanted)
