"""Runs tests/apiserver/test_*.py and prints a line for each test.

    tests/apiserver/run.py [part of a name...]
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "kube")]

import result_lines  # noqa: E402

if __name__ == "__main__":
    result_lines.run(HERE)
