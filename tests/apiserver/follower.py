"""The client under test as a process, and what it says."""

import json
import subprocess
import threading
import time
from pathlib import Path

WATCHER = Path(__file__).resolve().parents[2] / "build/tests/apiserver/watcher"


class Follower:
    def __init__(self, kubeconfig, *options, command=()):
        self.said = []
        self._more = threading.Condition()
        self.process = subprocess.Popen([*command, str(WATCHER), str(kubeconfig), *options],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, daemon=True).start()
        self.log = []
        threading.Thread(target=self._read_log, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            with self._more:
                self.said.append(json.loads(line))
                self._more.notify_all()

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line.rstrip())

    def close(self):
        self.process.terminate()
        code = self.process.wait(20)
        if code != 0:
            raise AssertionError(f"the watcher ended with {code}: {self.log[-3:]}")

    def wait(self, condition, what, begin=0, timeout_s=20):
        """The first thing said, from `begin` on, that the condition holds for."""
        deadline = time.monotonic() + timeout_s
        with self._more:
            while True:
                for one in self.said[begin:]:
                    if condition(one):
                        return one
                left = deadline - time.monotonic()
                if left <= 0 or self.process.poll() is not None:
                    raise AssertionError(f"did not come: {what}; said last: {self.said[-5:]}, "
                                         f"log: {self.log[-3:]}")
                self._more.wait(min(left, 1))

    def mark(self):
        """What is said from here on, for `wait` and `since`."""
        return len(self.said)

    def since(self, begin, key):
        return [one[key] for one in self.said[begin:] if key in one]

    def synced(self, timeout_s=20):
        return self.wait(lambda one: "synced" in one, "synced", timeout_s=timeout_s)

    def put(self, name, begin=0, timeout_s=20):
        return self.wait(lambda one: one.get("put") == name, f"put {name}", begin, timeout_s)

    def removed(self, name, begin=0, timeout_s=20):
        return self.wait(lambda one: one.get("remove") == name, f"remove {name}", begin, timeout_s)

    def health(self, healthy, begin=0, timeout_s=20):
        return self.wait(lambda one: one.get("health") is healthy, f"health {healthy}", begin,
                         timeout_s)["sentence"]

    def problems(self, begin=0):
        return self.wait(lambda one: "problems" in one, "problems", begin)["problems"]

    def ask(self):
        """Names in force by kind, and the report of each kind."""
        begin = self.mark()
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.wait(lambda one: "kinds" in one, "an answer", begin)

    def in_force(self, kind):
        return self.ask()["inForce"].get(kind, [])

    def kind(self, kind):
        return self.ask()["kinds"][kind]
