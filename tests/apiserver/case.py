"""What every test here is made of: keys, a scripted server, a follower of it."""

import atexit
import json
import shutil
import signal
import tempfile
import time
import unittest
from pathlib import Path

from certificates import HOUR, Authority
from follower import Follower
from server import KINDS, Server

_keys = None


def keys():
    """Made once: an authority and the certificates that tests use."""
    global _keys
    if _keys is None:
        _keys = Path(tempfile.mkdtemp(prefix="podwire-apiserver-"))
        authority = Authority(_keys)
        authority.issue("server", "kube-apiserver", names=["127.0.0.1", "kubernetes"])
        authority.issue("expired", "kube-apiserver", names=["127.0.0.1"], begins=-3 * HOUR,
                        ends=-HOUR)
        authority.issue("early", "kube-apiserver", names=["127.0.0.1"], begins=HOUR)
        authority.issue("elsewhere", "kube-apiserver", names=["10.9.9.9"])
        authority.issue("me", "podwire")
        Authority(_keys, "foreign")
        atexit.register(shutil.rmtree, _keys, True)
    return _keys


def service(name, port=80, namespace="default", **meta):
    return {"metadata": {"name": name, "namespace": namespace, **meta},
            "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": port}]}}


def pod(name, **meta):
    return {"metadata": {"name": name, "namespace": "default", **meta},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}


def too_late(_signal, _frame):
    raise AssertionError("not done within 90 s")


class Case(unittest.TestCase):
    def setUp(self):
        # Tests wait for what the server is asked: one that never is ends alone, not the whole run.
        signal.signal(signal.SIGALRM, too_late)
        signal.alarm(90)
        self.addCleanup(signal.alarm, 0)
        self.folder = Path(tempfile.mkdtemp(prefix="podwire-apiserver-"))
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.server = self.begin_server()

    def begin_server(self, **options):
        server = Server(keys(), **options)
        self.addCleanup(server.close)
        return server

    def kubeconfig(self, user=None, host="127.0.0.1", port=None, **cluster):
        (self.folder / "token").write_text("first")
        path = self.folder / "kubeconfig"
        path.write_text(json.dumps({
            "current-context": "x",
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
            "clusters": [{"name": "x", "cluster": {
                "server": f"https://{host}:{port or self.server.port}",
                "certificate-authority": f"{keys()}/ca.crt", **cluster}}],
            "users": [{"name": "x", "user": user or {"tokenFile": "token"}}]}))
        return path

    def follow(self, *options, **config):
        follower = Follower(self.kubeconfig(**config), *options)
        self.addCleanup(follower.close)
        return follower

    def following(self, *options, **config):
        """A follower that has read everything and watches it."""
        follower = self.follow(*options, **config)
        follower.synced()
        self.wait_for_watches(follower)
        return follower

    def watch_again(self, follower):
        """Ends all watches; returns when each has begun anew."""
        before = {plural: len(self.server.asked("watch", plural)) for plural in KINDS}
        self.server.end_watches()
        deadline = time.monotonic() + 20
        while any(len(self.server.asked("watch", plural)) <= count
                  for plural, count in before.items() if plural not in self.server.absent):
            self.assertLess(time.monotonic(), deadline, "not every watch began anew")
            time.sleep(0.01)
        self.wait_for_watches(follower)

    def wait_for_watches(self, follower, count=7):
        def watching():
            return sum(k["phase"] == "watching" for k in follower.ask()["kinds"].values())
        deadline = time.monotonic() + 20
        while watching() < count:
            self.assertLess(time.monotonic(), deadline, f"only {watching()} watches run")
            time.sleep(0.01)
