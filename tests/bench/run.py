"""Runs tests/bench/test_*.py and prints a line for each test.

    tests/bench/run.py [part of a name...]
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]

import result_lines  # noqa: E402

if __name__ == "__main__":
    result_lines.run(HERE)
