"""The runner behind scripts/test: builds the variants that the wanted parts need, runs every test
of each part, and counts tests that really ran.

gtest programs are counted by their cases. Any other program prints one line for each of its tests:
"ok   name (0.12 s)", "FAIL name: reason" or "skip name: reason"; other lines are its own affair.
What this machine cannot run is skipped with one line that says why.
"""

import argparse
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULT_LINE = re.compile(r"^(ok|FAIL|skip)\s+(\S.*)$")
FOLDERS = {"gcc": "build", "asan": "build-asan", "tsan": "build-tsan", "fuzz": "build-fuzz"}


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def fail(self, name, reason):
        self.failed += 1
        print(f"FAIL {name}: {reason}", flush=True)

    def skip(self, name, reason):
        self.skipped += 1
        print(f"SKIPPED {name}: {reason}", flush=True)


class Runner:
    def __init__(self, fuzz_seconds):
        self.tally = Tally()
        self.fuzz_seconds = fuzz_seconds
        self.built = {}  # (variant, targets) -> error or None

    def build(self, variant, targets=()):
        """Returns None, or why it fails. Each build is tried once."""
        key = (variant, tuple(targets))
        if key not in self.built:
            started = time.monotonic()
            done = subprocess.run(["scripts/build", variant, *targets], cwd=ROOT, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            error = None
            if done.returncode:
                print(done.stdout[-6000:])
                error = f"the {variant} build fails"
            print(f"build {variant} {' '.join(targets)}: {time.monotonic() - started:.0f} s",
                  flush=True)
            self.built[key] = error
        return self.built[key]

    def programs(self, variant, suite):
        """The test programs that meson knows under `suite`: name, command, targets, environment."""
        text = subprocess.run(["meson", "introspect", FOLDERS[variant], "--tests"], cwd=ROOT,
                              text=True, capture_output=True, check=True).stdout
        found = []
        for test in json.loads(text):
            if suite in [s.split(":")[-1] for s in test["suite"]]:
                folder = str(ROOT / FOLDERS[variant]) + "/"
                targets = [c[len(folder):] for c in test["cmd"] if c.startswith(folder)]
                found.append((test["name"], test["cmd"], targets, test["env"]))
        return found

    def run(self, name, command, timeout_s, environment=None):
        """Runs one program in a session of its own. Returns (exit code, output); None: too long."""
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output,
                                       stderr=subprocess.STDOUT, start_new_session=True,
                                       env={**os.environ, **(environment or {})},
                                       preexec_fn=end_with_parent)
            try:
                code = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                code = None
            output.seek(0)
            return code, output.read()

    def gtest(self, variant, suite, timeout_s):
        error = self.build(variant, () if variant == "gcc" else ["build.ninja"])
        if error:
            return self.tally.fail(f"{suite} ({variant})", error)
        programs = self.programs(variant, suite)
        if not programs:
            return self.tally.fail(f"{suite} ({variant})", "the build has no such program")
        for name, command, targets, environment in programs:
            error = self.build(variant, targets)
            if error:
                self.tally.fail(name, error)
                continue
            with tempfile.TemporaryDirectory() as folder:
                report = Path(folder) / "report.json"
                arguments = [*command, f"--gtest_output=json:{report}", "--gtest_brief=1"]
                code, output = self.run(name, arguments, timeout_s,
                                        {**SANITIZER_OPTIONS, **environment})
                self.count_gtest(f"{name} ({variant})", code, output, report)

    def count_gtest(self, name, code, output, report):
        if not report.exists():
            print(output[-8000:])
            why = "takes too long" if code is None else f"ends early with exit code {code}"
            return self.tally.fail(name, why)
        failed = 0
        for suite in json.loads(report.read_text())["testsuites"]:
            for case in suite["testsuite"]:
                if case.get("result") == "SKIPPED":
                    self.tally.skip(f"{suite['name']}.{case['name']}",
                                    "the test says that it cannot run here")
                elif case.get("result") == "SUPPRESSED":
                    self.tally.skip(f"{suite['name']}.{case['name']}", "disabled")
                elif "failures" in case:
                    failed += 1
                    self.tally.fail(f"{suite['name']}.{case['name']}",
                                    case["failures"][0]["failure"].replace("\n", " ")[:400])
                else:
                    self.tally.passed += 1
        if code != 0 and not failed:
            print(output[-8000:])
            self.tally.fail(name, f"every case passed but the exit code is {code}")

    def lines(self, name, command, timeout_s):
        """Runs a program that prints result lines."""
        code, output = self.run(name, command, timeout_s)
        seen = failed = 0
        for line in output.splitlines():
            found = RESULT_LINE.match(line)
            if not found:
                continue
            seen += 1
            if found[1] == "ok":
                self.tally.passed += 1
            elif found[1] == "skip":
                test, _, reason = found[2].partition(": ")
                self.tally.skip(test, reason)
            else:
                failed += 1
                self.tally.failed += 1
                print(line)
        if code is None:
            print(output[-8000:])
            self.tally.fail(name, f"not done after {timeout_s} s")
        elif (code != 0) != (failed > 0) or seen == 0:
            print(output[-8000:])
            self.tally.fail(name, f"exit code {code} with {failed} failures of {seen} tests")

    # ---- parts ----

    def unit(self):
        self.gtest("gcc", "unit", 120)

    def packet(self):
        self.gtest("gcc", "packet", 180)

    def order(self):
        self.gtest("gcc", "order", 120)

    def asan(self):
        self.gtest("asan", "unit", 300)
        self.gtest("asan", "packet", 300)

    def model(self):
        self.gtest("tsan", "model", 300)
        self.gtest("gcc", "lines", 120)

    def io(self):
        missing = privileges_missing()
        if missing:
            return self.tally.skip("io", missing)
        self.gtest("gcc", "io", 240)

    def attack(self):
        error = self.build("gcc", ["tests/attack/memif_node",
                                   "tests/attack/vhost_node"])
        if error:
            return self.tally.fail("attack", error)
        self.lines("attack", ["/usr/bin/python3", "-uB", "tests/attack/run.py"], 500)

    def fuzz(self):
        error = self.build("fuzz", ["build.ninja"])
        if error:
            return self.tally.fail("fuzz", error)
        programs = self.programs("fuzz", "fuzz")
        if not programs:
            return self.tally.fail("fuzz", "the build has no fuzzers")
        for name, command, targets, environment in programs:
            error = self.build("fuzz", targets)
            if error:
                self.tally.fail(name, error)
                continue
            with tempfile.TemporaryDirectory() as corpus:
                seeds = ROOT / "tests/fuzz/seeds" / name.removeprefix("fuzz_")
                arguments = [*command, f"-max_total_time={self.fuzz_seconds}", "-timeout=10",
                             f"-artifact_prefix={corpus}/", corpus]
                if seeds.is_dir():
                    arguments.append(str(seeds))
                code, output = self.run(name, arguments, self.fuzz_seconds + 60,
                                        {**SANITIZER_OPTIONS, **environment})
                runs = re.search(r"Done (\d+) runs", output)
                if code == 0 and runs and int(runs[1]) > 0:
                    self.tally.passed += 1
                    print(f"{name}: {runs[1]} inputs")
                else:
                    print(output[-8000:])
                    self.tally.fail(name, f"exit code {code}")

    def scapy(self):
        self.privileged("scapy", ["/usr/bin/python3", "-u", "tests/scapy/run.py"], 300)

    def smoke(self):
        self.privileged("smoke", ["tests/smoke/run"], 600, ["bench/ports/ports"])

    def runtime(self):
        self.privileged("runtime", ["/usr/bin/python3", "-uB", "tests/runtime/run.py"], 300)

    def vhost(self):
        self.privileged("vhost", ["/usr/bin/python3", "-uB", "tests/vhost/run.py"], 600,
                        ["tests/attack/vhost_node"])

    def lab(self):
        self.privileged("lab", ["/usr/bin/python3", "-u", "scripts/lab", "check"], 240)

    def bgp(self):
        self.privileged("bgp", ["/usr/bin/python3", "-uB", "tests/bgp/run.py"], 400)

    def kube(self):
        """The first build of the control plane takes minutes, every later one nothing."""
        started = time.monotonic()
        code, output = self.run("kube", ["tests/kube/build"], 2400)
        print(f"build control plane: {time.monotonic() - started:.0f} s", flush=True)
        if code == 77:
            return self.tally.skip("kube", output.strip())
        if code != 0:
            print(output[-6000:])
            return self.tally.fail("kube", "the control plane does not build")
        self.privileged("kube", ["/usr/bin/python3", "-uB", "tests/kube/run.py"], 900,
                        ["tests/apiserver/watcher"])

    def apiserver(self):
        error = self.build("gcc", ["tests/apiserver/watcher"])
        if error:
            return self.tally.fail("apiserver", error)
        self.lines("apiserver", ["/usr/bin/python3", "-uB", "tests/apiserver/run.py"], 300)

    def bench(self):
        self.gtest("gcc", "bench", 120)
        error = self.build("gcc", ["benches"])  # all, though not all are run here
        if error:
            return self.tally.fail("bench", error)
        self.lines("bench", ["/usr/bin/python3", "-uB", "tests/bench/run.py"], 300)

    def tidy(self):
        error = self.build("gcc")
        if error:
            return self.tally.fail("tidy", error)
        self.lines("tidy", ["/usr/bin/python3", "-u", "tests/tidy/tidy.py"], 600)

    def privileged(self, name, command, timeout_s, targets=()):
        program = ROOT / next(c for c in command if "/" in c and not c.startswith("/usr"))
        if not program.exists():
            return self.tally.skip(name, f"{program.relative_to(ROOT)} is not there")
        missing = privileges_missing()
        if missing:
            return self.tally.skip(name, missing)
        error = self.build("gcc") or (targets and self.build("gcc", targets))
        if error:
            return self.tally.fail(name, error)
        self.lines(name, command, timeout_s)


PARTS = ["tidy", "unit", "packet", "order", "bench", "io", "attack", "vhost", "lab", "smoke",
         "runtime", "scapy", "bgp", "apiserver", "kube", "asan", "model", "fuzz"]
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


def end_with_parent():
    """A killed runner takes what it started along, so that nothing keeps polling a core."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def privileges_missing():
    """Why this machine cannot run the tests that need network namespaces and taps, or None."""
    if os.geteuid() != 0:
        return "needs root for network namespaces and taps"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "needs /dev/net/tun"
    name = f"pw-probe-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        return "cannot make network namespaces here"
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return None


def main():
    parser = argparse.ArgumentParser(prog="scripts/test", description="Runs podwire's tests.")
    parser.add_argument("parts", nargs="*", metavar="part", help="of: " + " ".join(PARTS))
    parser.add_argument("--fuzz-seconds", type=int, default=15, help="for each fuzzer")
    options = parser.parse_args()
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"no part '{part}': there are {' '.join(PARTS)}")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    runner = Runner(options.fuzz_seconds)
    for part in options.parts or PARTS:
        before = (runner.tally.passed, runner.tally.failed, runner.tally.skipped)
        started = time.monotonic()
        print(f"== {part}", flush=True)
        getattr(runner, part)()
        after = (runner.tally.passed, runner.tally.failed, runner.tally.skipped)
        passed, failed, skipped = (a - b for a, b in zip(after, before))
        print(f"== {part}: {passed} passed, {failed} failed, {skipped} skipped "
              f"({time.monotonic() - started:.0f} s)", flush=True)
    tally = runner.tally
    nothing_ran = tally.passed + tally.failed == 0
    print(f"{tally.passed} passed, {tally.failed} failed, {tally.skipped} skipped")
    return 1 if tally.failed or nothing_ran else 0


if __name__ == "__main__":
    sys.exit(main())
