"""Runs tests/apiserver/test_*.py and prints a line for each test.

    tests/apiserver/run.py [part of a name...]
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib"), str(HERE.parent / "kube")]

from result_lines import Lines, wanted  # noqa: E402


def main():
    result = Lines()
    for test in wanted(HERE):
        test.run(result)
    return 0 if result.wasSuccessful() and result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main())
