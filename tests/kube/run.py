"""Runs tests/kube/test_*.py against one real control plane and prints a line for each test.

    tests/kube/run.py [part of a name...]
"""

import signal
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]

import case  # noqa: E402
import cluster  # noqa: E402
from result_lines import Lines, wanted  # noqa: E402


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    result = Lines()
    try:
        missing = cluster.build()
        if missing:
            print(f"skip tests against a real API server: {missing}")
            return 0
        started = time.monotonic()
        case.start_cluster()
        print(f"the control plane is up after {time.monotonic() - started:.1f} s")
        # The lab stays up from the first test that asks for it, and others want no pools yet.
        for test in sorted(wanted(HERE), key=lambda one: isinstance(one, case.LabCase)):
            test.run(result)
    except (RuntimeError, TimeoutError, OSError) as error:
        print(f"FAIL the control plane: {' '.join(str(error).split())}")
        return 1
    finally:
        case.stop_cluster()
    return 0 if result.wasSuccessful() and result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main())
