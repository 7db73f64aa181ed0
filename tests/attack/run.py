"""Runs the attacks: tests/attack/run.py [word of a test's name...]"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/lib"), str(ROOT / "tests/attack")]

import result_lines  # noqa: E402

if __name__ == "__main__":
    sys.setswitchinterval(0.0002)  # the neighbour's thread polls, and should not hold up the attack
    result_lines.run(ROOT / "tests/attack")
