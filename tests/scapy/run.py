"""Runs tests/scapy/test_*.py against one podwired and prints a line for each test.

    tests/scapy/run.py [part of a name...]
"""

import signal
import sys
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import case  # noqa: E402


class Lines(unittest.TestResult):
    """One line a test: "ok   name (seconds)", "FAIL name: reason", "skip name: reason"."""

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def _name(self, test):
        parts = test.id().split(".")
        return f"{parts[-2]}.{parts[-1].removeprefix('test_')}"

    def addSuccess(self, test):
        print(f"ok   {self._name(test)} ({time.monotonic() - self.began:.2f} s)", flush=True)

    def _failed(self, test, error):
        reason = " ".join(f"{error[0].__name__}: {error[1]}".split())[:1200]
        print(f"FAIL {self._name(test)}: {reason}", flush=True)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self._failed(test, error)

    def addError(self, test, error):
        super().addError(test, error)
        self._failed(test, error)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self._failed(test, (error[0], f"{subtest._subDescription()} {error[1]}"))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        print(f"skip {self._name(test)}: {reason}", flush=True)


def flatten(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flatten(test)
        else:
            yield test


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    tests = [t for t in flatten(unittest.TestLoader().discover(str(HERE), "test_*.py"))
             if not sys.argv[1:] or any(word in t.id() for word in sys.argv[1:])]
    result = Lines()
    try:
        case.start_node()
        for test in tests:
            test.run(result)
    except (RuntimeError, TimeoutError, OSError) as error:
        print(f"FAIL podwired on taps: {' '.join(str(error).split())}")
        return 1
    finally:
        case.stop_node()
    return 0 if result.wasSuccessful() and result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main())
