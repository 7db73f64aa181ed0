"""Runs tests/scapy/test_*.py against one podwired and prints a line for each test.

    tests/scapy/run.py [part of a name...]
"""

import signal
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]

import case  # noqa: E402
from result_lines import Lines, wanted  # noqa: E402


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    result = Lines()
    try:
        case.start_node()
        for test in wanted(HERE):
            test.run(result)
    except (RuntimeError, TimeoutError, OSError) as error:
        print(f"FAIL podwired on taps: {' '.join(str(error).split())}")
        return 1
    finally:
        case.stop_node()
    return 0 if result.wasSuccessful() and result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main())
