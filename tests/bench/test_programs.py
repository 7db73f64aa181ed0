"""The measuring programs run, say what they must, and refuse nonsense. What they measure in a debug
build in a fraction of a second is of no interest."""

import json
import os
import subprocess
import unittest
from pathlib import Path

BUILD = Path(__file__).resolve().parents[2] / "build"
RECORD = {"machine": str, "cores": int, "kernel": str, "dpdk": str, "commit": str, "build": str,
          "date": str, "noise": dict}
BRIEFLY = ["--windows", "3", "--seconds", "0.1", "--json"]


def run(program, *arguments):
    return subprocess.run([BUILD / program, *arguments], capture_output=True, text=True, timeout=60)


class Programs(unittest.TestCase):
    def rows(self, program, *arguments):
        done = run(program, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def check_spread(self, spread):
        self.assertTrue(0 < spread["p10"] <= spread["median"] <= spread["p90"], spread)

    def check_record(self, row):
        for name, kind in RECORD.items():
            self.assertIsInstance(row.get(name), kind, name)
        self.assertIn("22.11", row["dpdk"])
        noise = row["noise"]
        self.assertTrue(0 < noise["accepted"] <= 1 and noise["windows"] > 0, noise)
        self.assertEqual(noise["taken"], "quiet windows" if noise["quiet"] else "quietest third")
        self.check_spread(noise["calibration"])

    def test_path_gives_rows(self):
        rows = self.rows("bench/path/path", "--case", "dnat_policy_ipip", "dnat_v6", "--flows",
                         "1000", "60000", "--distribution", "zipf", "sequential", *BRIEFLY)
        about = [(row["case"], row["flows"], row["distribution"]) for row in rows]
        self.assertEqual(about, [(case, flows, distribution)
                                 for case in ("dnat_policy_ipip", "dnat_v6")
                                 for flows in (1000, 60000)
                                 for distribution in ("zipf", "sequential")])
        for row in rows:
            self.check_record(row)
            self.check_spread(row["cycles_per_packet"])
            self.assertAlmostEqual(row["cycles_per_packet"]["median"] / row["rte_hash_cycles"],
                                   row["ratio"], delta=0.02 * row["ratio"])

    def test_two_workers_give_rows(self):
        if len(os.sched_getaffinity(0)) < 2:
            self.skipTest("one core")
        row, = self.rows("bench/path/path", "--workers", "2", "--case", "dnat_v6", "--flows",
                         "1000", *BRIEFLY)
        self.check_record(row)
        self.check_spread(row["cycles_per_packet"])
        self.assertAlmostEqual(
            row["speedup"], 2 * row["one_worker_cycles"] / row["cycles_per_packet"]["median"], 1)

    def test_path_runs_every_case(self):
        names = [row["case"] for row in self.rows("bench/path/path", "--flows", "100", *BRIEFLY)]
        self.assertEqual(len(names), len(set(names)))
        listed = [line.split()[0] for line in
                  run("bench/path/path", "--help").stdout.split("Cases:\n")[1].splitlines()]
        self.assertEqual(names, listed)

    def test_debug_build_says_so(self):
        done = run("bench/path/path", "--case", "pod_to_pod", "--flows", "10", *BRIEFLY)
        self.assertEqual(json.loads(done.stdout)["build"], "debug")
        self.assertIn("debug build", done.stderr)

    def test_flow_table_gives_rows(self):
        rows = self.rows("bench/flow_table", "--flows", "1000", *BRIEFLY)
        self.assertEqual([row["case"] for row in rows],
                         ["hit", "hit_counted", "miss", "insert", "erase", "sweep_group"])
        for row in rows:
            self.check_record(row)
            self.check_spread(row["cycles_per_operation"])
            self.assertTrue(100 < row["bytes_per_connection"] < 300)

    @unittest.skipUnless(os.geteuid() == 0, "network namespaces need root")
    def test_taps_give_rows_and_lose_nothing(self):
        done = run("bench/taps/taps", "--queued", "40", *BRIEFLY)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        systems = {row["system"] for row in rows}
        self.assertIn("tap, a call a frame", systems)
        for way in {"tap, io_uring", "af_xdp"} - systems:
            self.assertIn(f"LEFT OUT: {way}: ", done.stderr)
        cases = {row["case"] for row in rows}
        self.assertEqual(cases, {f"{direction} {frame}" for direction in
                                 ("in", "out", "the pod sends") for frame in
                                 ("64 bytes", "1,500 bytes", "60,000 bytes")})
        self.assertEqual(len(rows), len(cases) * len(systems))
        for row in rows:
            self.check_record(row)
            self.check_spread(row["core_us"])

    def test_verdict_gives_rows_and_agrees_with_rte_acl(self):
        rows = self.rows("bench/verdict/verdict", "--pods", "200", "--local", "40", "--policies",
                         "10", "60", *BRIEFLY[2:])
        self.assertEqual([row["policies"] for row in rows], [10, 60])
        for row in rows:
            self.check_record(row)
            for key in ("cycles", "rte_hash_cycles", "rte_hash_single_cycles", "rte_acl_cycles"):
                self.check_spread(row[key])

    def test_model_is_fed_by_rows_and_says_that_it_is_one(self):
        path = {"bench": "path", "case": "dnat", "flows": 20000, "distribution": "uniform",
                "cycles_per_packet": {"median": 100, "p10": 99, "p90": 101},
                "packets_per_second": 20e6, "commit": "abc", "noise": {"quiet": True}}
        two = {**path, "bench": "path_workers", "workers": 2, "one_worker_cycles": 100,
               "speedup": 1.9}
        rows = self.model([path, two])
        modelled = [row for row in rows if row["model"]]
        measured = [row for row in rows if not row["model"]]
        self.assertEqual(len(modelled), 3 * 2 * 2)  # distributions, ways, numbers of workers
        self.assertEqual([(r["way"], r["workers"], r["mpps"]) for r in measured],
                         [("measured", 1, 20), ("measured", 2, 40)])
        one = next(r for r in modelled if r["workers"] == 1)
        self.assertAlmostEqual(one["mpps"], 20, 2)
        self.assertAlmostEqual(one["sigma"], 2 / 1.9 - 1, 3)
        for row in modelled:
            # No more than every worker in full, each slowed by the others.
            limit = 20 * row["workers"] / (1 + row["sigma"] * (row["workers"] - 1))
            self.assertLessEqual(row["mpps"], limit * 1.005)
            self.assertLessEqual(row["ndr_mpps"], row["mpps"] * 1.001)
        full = {(r["distribution"], r["way"]): r["mpps"] for r in modelled if r["workers"] == 8}
        self.assertLess(full["elephant", "table moved by load"], full["uniform", "plain table"])
        self.assertLessEqual(full["zipf", "plain table"], full["zipf", "table moved by load"])

    def model(self, rows):
        done = subprocess.run([BUILD / "bench/model/model", "--case", "dnat", "--workers", "1", "8",
                               "--json"], input="\n".join(map(json.dumps, rows)),
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_nonsense_gets_a_sentence(self):
        for program, arguments, words in (
                ("bench/path/path", ["--flows", "0"], "--flows is 1 to"),
                ("bench/path/path", ["--flows", "10000001"], "--flows is 1 to"),
                ("bench/path/path", ["--flows", "many"], "many"),
                ("bench/path/path", ["--case", "none"], "no case none"),
                ("bench/path/path", ["--distribution", "even"], "uniform, zipf or sequential"),
                ("bench/path/path", ["--seconds", "-1"], "more than 0"),
                ("bench/path/path", ["--workers", "3"], "--workers is 1 or 2"),
                ("bench/path/path", ["--workers", "2", "--case", "pod_to_pod"], "reply"),
                ("bench/model/model", ["no-such-file"], "cannot read no-such-file"),
                ("bench/model/model", ["/dev/null"], "no row of bench/path"),
                ("bench/taps/taps", ["--queued", "0"], "--queued is 1 to"),
                ("bench/flow_table", ["--flows", "0"], "--flows is 1 to"),
                ("bench/verdict/verdict", ["--policies", "9"], "--policies is 10 to"),
                ("bench/flow_table", ["--distribution", "even"], "uniform, zipf or sequential")):
            with self.subTest(f"{program} {' '.join(arguments)}"):
                done = run(program, *arguments)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                self.assertIn(words, done.stderr)


if __name__ == "__main__":
    unittest.main()
