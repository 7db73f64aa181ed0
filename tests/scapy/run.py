"""Runs tests/scapy/test_*.py against one podwired and prints a line for each test.

    tests/scapy/run.py [part of a name...]
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]

import case  # noqa: E402
import result_lines  # noqa: E402

if __name__ == "__main__":
    result_lines.run(HERE, "podwired on taps", case.start_node, case.stop_node)
