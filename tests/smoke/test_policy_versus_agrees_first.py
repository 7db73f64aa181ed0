"""bench/policy_versus measures podwire and Calico's rules in the kernel side by side, after all
have given the same answers, and refuses a system that gives others."""
import json
import subprocess
import sys

from smoke import lab

RUN = lab.ROOT / "bench/policy_versus/run"
FIGURES = ("new_connections_per_second", "refused_connections_per_second",
           "new_udp_flows_per_second")
RECORD = {"machine", "kernel", "dpdk", "commit", "build", "date", "noise"}
# Linux that forwards between pods, without a policy.
PLAIN = """
from systems.kernel import KernelSystem

class Plain(KernelSystem):
    name = "plain"
    def load_rules(self, rules):
        pass
"""


def run(*arguments):
    return subprocess.run([RUN, "--policies", "50", "--local", "4", "--members", "8", "--groups",
                           "10", "--rounds", "1", "--seconds", "0.05", "--pairs-asked", "60",
                           "--json", *arguments],
                          capture_output=True, text=True, timeout=60,
                          env={**lab.clean_environment(), "LAB_BUILD": str(lab.BUILD)})


subprocess.run([lab.ROOT / "scripts/build", "gcc", "bench/policy_versus/connections/connections",
                "bench/lib/noise"], check=True, capture_output=True)

done = run()
assert done.returncode == 0, done.stderr[-1000:]
rows = [json.loads(line) for line in done.stdout.splitlines()]
left_out = [line.split(": ")[2] for line in done.stderr.splitlines() if "LEFT OUT" in line]
wanted = ["iptables-legacy", "iptables-nft", "nftables", "podwire"]
assert [row["system"] for row in rows] == [s for s in wanted if s not in left_out], done.stderr
assert rows[-1]["system"] == "podwire" and all(row["policies"] == 50 for row in rows)
for row in rows:
    assert RECORD <= set(row), RECORD - set(row)
    for name in FIGURES:
        assert 0 < row[name]["p10"] <= row[name]["median"] <= row[name]["p90"] < 1e8, row
    # Less than a core can do for a flow, more than anybody waits.
    assert 50 < row["nanoseconds_per_new_connection"]["median"] < 1e8, row

plain = lab.FOLDER.parent / f"{lab.PREFIX}-smoke-plain-pods.py"
try:
    plain.write_text(PLAIN)
    done = run("--systems", "plain", "--add", str(plain))
finally:
    plain.unlink()
assert done.returncode != 0 and not done.stdout, done.stdout
assert "policy_versus: plain: pod-" in done.stderr and \
    "is allowed and by the policies it is not" in done.stderr, done.stderr

left = lab.netns.ip("netns", "list")
assert "pv-" not in left, left
done = run("--systems", "vpp")
assert done.returncode != 0 and 'no system "vpp"' in done.stderr, done.stderr
if len(rows) == 1:
    print(f"podwire alone: this machine lacks {', '.join(left_out)}")
    sys.exit(77)
