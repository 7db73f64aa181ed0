"""bench/versus measures podwire and the kernel side by side, and refuses a system that is wrong."""
import json
import subprocess

from smoke import lab

RUN = lab.ROOT / "bench/versus/run"
FIELDS = {"system", "case", "services", "flows", "cycles_per_packet", "nanoseconds_per_packet",
          "new_flows_per_second", "machine", "kernel", "dpdk", "commit", "noise"}
# Linux that forwards, without a rule: Service addresses go back to where they came from.
PLAIN = """
from systems.kernel import KernelSystem

class Plain(KernelSystem):
    name = "plain"
    def load_rules(self):
        from systems.kernel import NODE, must
        must(NODE, "ip", "route", "add", "198.18.0.0/15", "via", "172.18.0.100")
"""


def run(*arguments):
    return subprocess.run([RUN, "--rounds", "1", "--seconds", "0.3", "--flows", "50,300",
                           "--services", "3", "--new-flows", "500", "--json", *arguments],
                          capture_output=True, text=True, timeout=60,
                          env={**lab.clean_environment(), "LAB_BUILD": str(lab.BUILD)})


subprocess.run([lab.ROOT / "scripts/build", "gcc", "bench/versus/traffic/traffic",
                "bench/lib/noise"], check=True, capture_output=True)

done = run("--systems", "nftables,iptables,podwire")
assert done.returncode == 0, done.stderr[-1000:]
rows = [json.loads(line) for line in done.stdout.splitlines()]
assert [(r["system"], r["flows"]) for r in rows] == [
    (system, flows) for system in ("nftables", "iptables", "podwire") for flows in (50, 300)]
for row in rows:
    assert FIELDS <= set(row), FIELDS - set(row)
    # Slower than any core can be, faster than any machine that computes.
    assert 20 < row["cycles_per_packet"]["median"] < 1e6, row
    assert 100 < row["new_flows_per_second"]["median"] < 1e8, row

plain = lab.FOLDER.parent / f"{lab.PREFIX}-smoke-plain.py"
try:
    plain.write_text(PLAIN)
    done = run("--systems", "plain", "--add", str(plain))
finally:
    plain.unlink()
assert done.returncode != 0 and not done.stdout, done.stdout
assert "frames are wrong" in done.stderr, done.stderr

left = lab.netns.ip("netns", "list")
assert "versus-" not in left, left
done = run("--systems", "vpp")
assert done.returncode != 0 and 'no system "vpp"' in done.stderr, done.stderr
