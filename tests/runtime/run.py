"""Runs tests/runtime/test_*.py on one node with podwired and a containerd of its own, and prints a
line for each test.

    tests/runtime/run.py [part of a name...]
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "smoke")]

import containerd  # noqa: E402
import result_lines  # noqa: E402

if __name__ == "__main__":
    if why := containerd.missing():
        print(f"skip containers by containerd: {why}")
        sys.exit(0)
    import case
    result_lines.run(HERE, "podwired and containerd", case.start, case.stop)
