"""What every result carries, for benches in Python: the record that bench/lib/record.cc writes."""

import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOISE = ROOT / "build-release/bench/lib/noise"


def record(seconds=1.0, build=None):
    """machine, cores, kernel, dpdk, commit, build, date and noise, the last from looking at the
    machine for `seconds`. `build` is that of what was measured, when it is not the release build.
    """
    if not NOISE.is_file():
        raise SystemExit(f"{NOISE.relative_to(ROOT)} is not there: "
                         "scripts/build release bench/lib/noise")
    out = subprocess.run([NOISE, "--seconds", str(seconds)], check=True, capture_output=True,
                         text=True).stdout
    fields = json.loads(out)
    if build is not None:
        fields["build"] = build
    return fields


def spread(values):
    """median, p10 and p90 as in every result."""
    ordered = sorted(values)

    def at(part):
        return round(ordered[int(part * (len(ordered) - 1) + 0.5)], 1)

    return {"median": at(0.5), "p10": at(0.1), "p90": at(0.9)}


def show(row, as_json, line):
    """A result as it comes: one line of JSON, or the line to read."""
    print(json.dumps(row) if as_json else line, flush=True)
