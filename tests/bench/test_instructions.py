#!/usr/bin/python3
"""Instructions per packet of an established flow, and of a new one, by stage, against
instructions.txt: the same on any machine, however busy.

    tests/bench/test_instructions.py --renew     writes what it counts as the expectation
"""

import shutil
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from callgrind import ROOT, count, stage  # noqa: E402

EXPECTED = Path(__file__).resolve().parent / "instructions.txt"
ESTABLISHED = (ROOT / "build/bench/path/count", "podwire::bench::Lane::pass(unsigned int)")
NEW = (ROOT / "build/bench/new_flows/count_new",
       "podwire::Worker::process(podwire::Burst&, unsigned long)")
CASES = {
    "dnat_policy_ipip": ESTABLISHED,
    "decap_reverse_dnat": ESTABLISHED,
    "tcp_dnat_policy_ipip": ESTABLISHED,
    "dnat_v6": ESTABLISHED,
    "new_udp": NEW,
    "new_tcp": NEW,
}
TOLERANCE = 0.05
SMALLEST = 2  # instructions: less of a difference is no matter in a small stage


def count_case(case):
    """stage -> instructions per packet, "total" first."""
    program, function = CASES[case]
    printed, files = count([program, case], function)
    packets = int(printed)
    stages = {}
    for file, cost in files.items():
        stages[stage(file)] = stages.get(stage(file), 0) + cost / packets
    kept = {name: cost for name, cost in sorted(stages.items()) if cost >= 1}
    return {"total": sum(stages.values()), **kept}


def read_expected():
    """case -> stage -> instructions per packet."""
    found = {}
    for line in EXPECTED.read_text().splitlines():
        if line and not line.startswith("#"):
            case, name, cost = line.split()
            found.setdefault(case, {})[name] = float(cost)
    return found


def renew():
    lines = ["# Instructions per packet, gcc's debugoptimized build (scripts/build gcc).",
             "# Renew: tests/bench/test_instructions.py --renew"]
    for case in CASES:
        lines += [f"{case} {name} {cost:.1f}" for name, cost in count_case(case).items()]
    EXPECTED.write_text("\n".join(lines) + "\n")


def differences(expected, counted):
    for name in {**expected, **counted}:
        before, now = expected.get(name, 0), counted.get(name, 0)
        if abs(now - before) > max(TOLERANCE * before, SMALLEST):
            yield f"{name} {now:.1f}, expected {before:.1f}"


@unittest.skipUnless(shutil.which("valgrind"), "valgrind is not installed: scripts/install test")
class Instructions(unittest.TestCase):
    def check(self, case):
        wrong = list(differences(read_expected()[case], count_case(case)))
        self.assertEqual(wrong, [], f"{case}: instructions per packet; if that is meant: "
                                    "tests/bench/test_instructions.py --renew")

    def test_dnat_policy_ipip(self):
        self.check("dnat_policy_ipip")

    def test_decap_reverse_dnat(self):
        self.check("decap_reverse_dnat")

    def test_tcp_dnat_policy_ipip(self):
        self.check("tcp_dnat_policy_ipip")

    def test_dnat_v6(self):
        self.check("dnat_v6")

    def test_new_udp(self):
        self.check("new_udp")

    def test_new_tcp(self):
        self.check("new_tcp")


class Differences(unittest.TestCase):
    def test_more_than_five_per_cent_is_one(self):
        self.assertEqual(list(differences({"total": 200}, {"total": 209})), [])
        self.assertEqual(list(differences({"total": 200}, {"total": 211})),
                         ["total 211.0, expected 200.0"])
        self.assertEqual(list(differences({"stages/a": 40}, {"flow": 41})),
                         ["stages/a 0.0, expected 40.0", "flow 41.0, expected 0.0"])


if __name__ == "__main__":
    renew() if sys.argv[1:] == ["--renew"] else unittest.main()
