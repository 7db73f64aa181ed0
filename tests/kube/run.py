"""Runs tests/kube/test_*.py against one real control plane and prints a line for each test.

    tests/kube/run.py [part of a name...]
"""

import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]

import case  # noqa: E402
import cluster  # noqa: E402
import result_lines  # noqa: E402


def start():
    missing = cluster.build()
    if missing:
        print(f"skip tests against a real API server: {missing}")
        sys.exit(0)
    started = time.monotonic()
    case.start_cluster()
    print(f"the control plane is up after {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    # The lab stays up from the first test that asks for it, and others want no pools yet.
    result_lines.run(HERE, "the control plane", start, case.stop_cluster,
                     key=lambda test: isinstance(test, case.LabCase))
