"""bench/report: what goes in comes out, and a move is told from noise."""

import copy
import csv
import json
import subprocess
import tempfile
import unittest
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def spread(median, share):
    return {"median": median, "p10": median * (1 - share), "p90": median * (1 + share)}


def row(case, flows, cycles, rte_hash, noise=0.02):
    return {"bench": "path", "case": case, "flows": flows, "distribution": "uniform",
            "cycles_per_packet": spread(cycles, noise), "rte_hash_cycles": rte_hash,
            "rte_hash_spread": spread(rte_hash, noise), "ratio": round(cycles / rte_hash, 2),
            "machine": "a machine", "cores": 2, "kernel": "6.1", "dpdk": "DPDK 22.11.11",
            "commit": "abc", "build": "release", "date": "2026-11-22T20:00:00Z",
            "noise": {"windows": 10, "accepted": 1, "quiet": True}}


ROWS = [row("dnat", 1000, 40, 22), row("dnat", 1000000, 100, 95), row("v6", 1000, 50, 22)]


class Report(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        return Path(self.folder.name) / name

    def write(self, name, rows):
        self.path(name).write_text("".join(json.dumps(r) + "\n" for r in rows))
        return self.path(name)

    def report(self, *arguments):
        return subprocess.run([ROOT / "bench/report/report", *arguments], capture_output=True,
                              text=True, timeout=60)

    def compare(self, then, now, *arguments):
        return self.report(self.write("now", now), "--baseline", self.write("then", then),
                           *arguments)

    def moved(self, cycles=1.0, rte_hash=1.0, noise=0.02):
        rows = copy.deepcopy(ROWS)
        rows[1] = row("dnat", 1000000, 100 * cycles, 95 * rte_hash, noise)
        return rows

    def test_csv_holds_every_field(self):
        done = self.report(self.write("run", ROWS), "--csv", self.path("csv"))
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(self.path("csv"), newline="") as file:
            found = list(csv.DictReader(file))
        self.assertEqual(len(found), len(ROWS))
        for line, given in zip(found, ROWS):
            self.assertEqual(line["case"], given["case"])
            self.assertEqual(float(line["cycles_per_packet.p90"]),
                             given["cycles_per_packet"]["p90"])
            self.assertEqual(line["noise.quiet"], "True")
            self.assertEqual(line["machine"], "a machine")

    def test_markdown_is_a_table(self):
        lines = self.report(self.write("run", ROWS), "--markdown", "-").stdout.splitlines()
        table = [line for line in lines if line.startswith("|")]
        self.assertEqual(len(table), 2 + len(ROWS))
        self.assertEqual({line.count("|") for line in table}, {table[0].count("|")})
        self.assertTrue(table[2].startswith("| dnat | 1,000 flows | 40 (39.2–40.8) |"), table[2])

    def test_svg_draws_every_row(self):
        self.report(self.write("run", ROWS), "--svg", self.path("plots"))
        names = sorted(p.name for p in self.path("plots").iterdir())
        self.assertEqual(names, ["path-cycles_per_packet.svg", "path-ratio.svg"])
        plot = ElementTree.parse(self.path("plots") / names[0]).getroot()
        bars = {"#2b6ca3": [], "#d9822b": []}
        for rect in plot.iter(SVG + "rect"):
            if rect.get("fill") in bars and rect.get("height") == "11.0":
                bars[rect.get("fill")].append(float(rect.get("width")))
        # Podwire's and rte_hash's; as long as their values, the first row being 40 to 100 and 22.
        self.assertEqual([len(b) for b in bars.values()], [3, 3])
        podwire, rte_hash = bars.values()
        self.assertAlmostEqual(podwire[0] / podwire[1], 0.4, 2)
        self.assertAlmostEqual(rte_hash[0] / podwire[0], 22 / 40, 2)

    def test_lowest_and_highest_are_a_spread_too(self):
        rows = [{"bench": "versus", "system": system, "case": "dnat", "flows": 1000,
                 "cycles_per_packet": {"median": median, "lowest": median - 5,
                                       "highest": median + 5}, "lost_share": 0.1}
                for system, median in (("podwire", 100), ("iptables", 900))]
        done = self.report(self.write("run", rows), "--markdown", "-", "--svg", self.path("plots"))
        self.assertIn("| iptables | 900 (895–905) |", done.stdout)
        self.assertEqual([p.name for p in self.path("plots").iterdir()],
                         ["versus-cycles_per_packet.svg"])

    def test_same_run_moved_nothing(self):
        done = self.compare(ROWS, ROWS)
        self.assertEqual((done.returncode, done.stdout), (0, "6 same\n"))

    def test_planted_move_is_noticed(self):
        done = self.compare(ROWS, self.moved(cycles=1.3))
        self.assertEqual(done.returncode, 1)
        self.assertIn("worse   dnat", done.stdout.replace("path, ", ""))
        self.assertIn("100 -> 130 (+30.0%)", done.stdout)
        self.assertIn("4 same, 2 worse", done.stdout)

    def test_improvement_is_noticed_and_no_failure(self):
        done = self.compare(ROWS, self.moved(cycles=0.7))
        self.assertEqual(done.returncode, 0)
        self.assertIn("2 better, 4 same", done.stdout)

    def test_what_moves_with_rte_hash_is_the_machine(self):
        done = self.compare(ROWS, self.moved(cycles=1.3, rte_hash=1.3))
        self.assertEqual(done.returncode, 0)
        self.assertIn("machine path, dnat, 1,000,000 flows", done.stdout)

    def test_move_within_the_spread_is_noise(self):
        done = self.compare(self.moved(noise=0.2), self.moved(cycles=1.3, noise=0.2))
        self.assertEqual((done.returncode, done.stdout), (0, "6 same\n"))

    def test_small_move_is_below_the_floor(self):
        moved = self.moved(cycles=1.04, noise=0.001)
        self.assertEqual(self.compare(self.moved(noise=0.001), moved).returncode, 0)
        self.assertEqual(
            self.compare(self.moved(noise=0.001), moved, "--floor", "3").returncode, 1)

    def test_several_runs_tell_the_noise_between_them(self):
        then = self.moved(noise=0.001) + self.moved(cycles=1.2, noise=0.001)
        self.assertEqual(self.compare(then, self.moved(cycles=1.19, noise=0.001)).returncode, 0)
        self.assertEqual(self.compare(then, self.moved(cycles=1.4, noise=0.001)).returncode, 1)

    def test_more_flows_a_second_is_better(self):
        rows = [{"bench": "new_flows", "case": "udp", "flows_per_second": spread(4e6, 0.01)}]
        fewer = [{"bench": "new_flows", "case": "udp", "flows_per_second": spread(3e6, 0.01)}]
        self.assertEqual(self.compare(rows, fewer).returncode, 1)
        self.assertEqual(self.compare(fewer, rows).returncode, 0)

    def test_new_and_gone_rows_are_named(self):
        done = self.compare(ROWS[:2], ROWS[1:])
        self.assertEqual(done.returncode, 0)
        self.assertIn("new     path, v6, 1,000 flows", done.stdout)
        self.assertIn("gone    path, dnat, 1,000 flows", done.stdout)

    def test_debug_build_is_no_baseline(self):
        rows = [{**ROWS[0], "build": "debug"}]
        done = self.report(self.write("run", rows), "--store", "no-such-baseline")
        self.assertEqual(done.returncode, 2)
        self.assertIn("release build", done.stderr)
        self.assertFalse((ROOT / "bench/baselines/no-such-baseline.jsonl").exists())

    def test_nonsense_gets_a_sentence(self):
        for text, words in (("nonsense\n", "line 1: not a JSON object"), ("", "no results"),
                            ('{"a": 1}\n', 'it has no "bench"')):
            with self.subTest(words):
                self.path("bad").write_text(text)
                done = self.report(self.path("bad"))
                self.assertEqual(done.returncode, 2)
                self.assertEqual(len(done.stderr.splitlines()), 1)
                self.assertIn(words, done.stderr)


if __name__ == "__main__":
    unittest.main()
