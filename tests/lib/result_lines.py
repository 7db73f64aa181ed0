"""unittest's tests as result lines: "ok   name (seconds)", "FAIL name: reason",
"skip name: reason".
"""

import signal
import sys
import time
import traceback
import unittest
from pathlib import Path


class Lines(unittest.TestResult):
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
        if not issubclass(error[0], AssertionError) and len(error) > 2:
            reason += " at " + " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in
                                          traceback.extract_tb(error[2])[:-5:-1])
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


def wanted(folder):
    """The tests of a folder whose names hold a word of the command line, or all of them."""
    return [t for t in flatten(unittest.TestLoader().discover(str(folder), "test_*.py"))
            if not sys.argv[1:] or any(word in t.id() for word in sys.argv[1:])]


def end(*_):
    """unittest takes every exception but this one for the failure of a test."""
    raise KeyboardInterrupt


def run(folder, what=None, start=lambda: None, stop=lambda: None, key=lambda test: 0):
    """Runs a folder's tests in the order of `key`, between `start` and `stop` of `what` they all
    need; its failure is one FAIL line. Ends the process."""
    signal.signal(signal.SIGTERM, end)
    result = Lines()
    try:
        start()
        # A suite runs setUpClass and tearDownClass, too.
        unittest.TestSuite(sorted(wanted(folder), key=key)).run(result)
    except (RuntimeError, TimeoutError, OSError) as error:
        print(f"FAIL {what}: {' '.join(str(error).split())}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(1)
    finally:
        stop()
    sys.exit(0 if result.wasSuccessful() and result.testsRun else 1)
