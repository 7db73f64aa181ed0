"""Runs tests/bgp/test_*.py and prints a line for each test.

    tests/bgp/run.py [part of a name...]
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]

import bgp_lab  # noqa: E402
import result_lines  # noqa: E402

if __name__ == "__main__":
    result_lines.run(HERE, "the lab", stop=bgp_lab.end, key=lambda test: type(test).__name__)
