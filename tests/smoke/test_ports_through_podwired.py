"""bench/ports sends through a podwired over memif: all of it comes, sound, in order and once. What
is larger than podwired's buffers is dropped by name, every frame of it."""
import ast
import json
import subprocess

from smoke import lab

RUN = [lab.ROOT / "bench/ports/run", "--build", lab.BUILD, "--podwired", "--json"]


def run(*options):
    done = subprocess.run([*RUN, *options], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-800:]
    return json.loads(done.stdout), done.stderr


def measure(*options):
    row, _ = run(*options)
    assert row["wrong_checksum"] == 0, row
    return row


def check_trial(row, packets):
    due = row["sent"] + row["refused"] + row["generator_late"]
    assert abs(due - packets) <= 64, row  # a busy machine keeps the generator from sending some
    assert row["sent"] > packets / 2, row
    wrong = {key: row[key] for key in ("lost", "reordered", "duplicated", "stale",
                                       "of_earlier_trials", "missed_by_generator") if row[key]}
    assert not wrong and row["received"] == row["sent"], row
    latency = row["latency_ns"]
    assert 0 < latency["p50"] <= latency["p99"] <= latency["max"] < 2e9, row
    assert latency["samples"] == row["received"], row


check_trial(measure("--rate", "20kpps", "--seconds", "2", "--flows", "500"), 40000)
both = measure("--rate", "5kpps", "--seconds", "1", "--flows", "100", "--bidirectional",
               "--family", "6", "--protocol", "tcp", "--size", "imix")
check_trial(both, 10000)
assert len(both["each_direction"]) == 2, both
check_trial(measure("--rate", "2kpps", "--seconds", "1", "--flows", "100", "--size", "9018"), 2000)
row, said = run("--rate", "2kpps", "--seconds", "1", "--flows", "100", "--size", "9018",
                "--podwired-buffer", "2048")
drops = ast.literal_eval(said.partition("podwired dropped ")[2].splitlines()[0])
assert row["received"] == 0 < row["sent"] == drops.get("too_big"), (row, said)
opened = measure("--connections", "2000", "--seconds", "1", "--flows", "100")
assert opened["failed"] == 0 and opened["completed"] > 1000, opened
