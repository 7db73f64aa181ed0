"""A cluster's real control plane in a network namespace of its own: etcd, kube-apiserver and the
controllers that Services, namespaces and accounts need. There are no kubelets: tests create Pods
with a node name and give them their status.

    with Cluster() as cluster:
        cluster.admin.create({...})
        cluster.apiserver.kill(); cluster.start_apiserver()

The namespace has every port to itself, so the ports are the usual ones. Whoever is to reach the
server gets a link into the namespace (ADDRESS is on its loopback and in the certificate), or a
socket opened there.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

import lab  # noqa: E402
import netns  # noqa: E402
from certificates import Authority, write_key_pair  # noqa: E402
from client import ApiError, Client  # noqa: E402

HERE = Path(__file__).resolve().parent
ADDRESS, PORT = "172.18.0.50", 6443
ETCD = "http://127.0.0.1:2379"
PODWIRE = "system:serviceaccount:kube-system:podwire"  # whose requests the audit log holds
SERVICE_RANGES = ["10.96.0.0/16", "fd00:10:96::/112"]
# Nothing here may evict or delete Pods of nodes that no kubelet speaks for.
CONTROLLERS = ["endpoints-controller", "endpointslice-controller",
               "endpointslice-mirroring-controller", "namespace-controller",
               "serviceaccount-controller", "serviceaccount-token-controller",
               "root-ca-certificate-publisher-controller", "garbage-collector-controller",
               "service-cidr-controller"]


class Server:
    """One program of the cluster."""

    def __init__(self, cluster, name):
        self.name, self.log = name, cluster.folder / f"{name}.log"
        self._cluster = cluster
        self.process = None

    def start(self, *arguments):
        self.process = netns.spawn(self._cluster.namespace,
                                   [f"{programs()}/{self.name}", *arguments], self.log,
                                   env={"HOME": str(self._cluster.folder), "PATH": "/usr/bin:/bin"})

    def wait(self, condition, what, timeout_s=60):
        try:
            netns.wait_until(condition, timeout_s, f"{self.name} {what}", self.process)
        except (RuntimeError, TimeoutError) as error:
            raise RuntimeError(f"{error}\n{lab.log_tail(self.log)}") from None

    def kill(self, signal_number=signal.SIGKILL):
        self.process.send_signal(signal_number)
        self.process.wait(30)

    def stop(self):
        self.kill(signal.SIGTERM)

    def freeze(self):
        """It is there and says nothing, until thaw()."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)


def programs():
    """The folder of the built programs; tests/kube/build has said where."""
    return Path(os.environ["KUBE_PROGRAMS"])


class Cluster:
    # Not `pw-...`: a lab that goes up or down takes such names for its own.
    def __init__(self, name=f"{lab.PREFIX}.kube"):
        self.namespace, self.folder = name, Path("/run") / name
        self.audit_log = self.folder / "audit.log"
        self.etcd = Server(self, "etcd")
        self.apiserver = Server(self, "kube-apiserver")
        self.controllers = Server(self, "kube-controller-manager")

    def __enter__(self):
        return self.up()

    def __exit__(self, *_):
        self.down()

    # ---- up and down ----

    def lock(self):
        """One cluster of a name at a time."""
        self._lock = open(f"/run/{self.namespace}.lock", "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RuntimeError("another such cluster is running; wait for it, or end it") from None

    def up(self):
        self.lock()
        self._remove()
        try:
            self.folder.mkdir(parents=True, mode=0o700)
            netns.create(self.namespace)
            netns.ip("-n", self.namespace, "addr", "add", f"{ADDRESS}/32", "dev", "lo")
            self.make_keys()
            self.admin = self.client(certificate="admin")
            self.start_etcd()
            self.start_apiserver()
            self.start_controllers()
        except BaseException:
            self.down()
            raise
        return self

    def down(self):
        self._remove()
        self._lock.close()

    def _remove(self):
        if netns.exists(self.namespace):
            for server in (self.controllers, self.apiserver, self.etcd):
                if server.process is not None and server.process.poll() is None:
                    server.kill()  # nothing of it is kept
            netns.remove([self.namespace])
        shutil.rmtree(self.folder, ignore_errors=True)

    def make_keys(self):
        self.authority = Authority(self.folder)
        self.issue_server_certificate()
        self.authority.issue("admin", "admin", "system:masters")
        write_key_pair(self.folder, "accounts")
        (self.folder / "audit.json").write_text(json.dumps({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata", "users": [PODWIRE]}]}))

    def issue_server_certificate(self, authority=None, **validity):
        """The API server notices a new one by itself."""
        (authority or self.authority).issue("server", "kube-apiserver", names=[
            ADDRESS, "127.0.0.1", "10.96.0.1", "localhost", "kubernetes.default.svc"], **validity)

    def start_etcd(self):
        # What a killed etcd has written is in the page cache; only a lost machine would need fsync.
        self.etcd.start(
            f"--data-dir={self.folder}/etcd", "--log-level=warn", "--unsafe-no-fsync",
            f"--listen-client-urls={ETCD}", f"--advertise-client-urls={ETCD}",
            "--listen-peer-urls=http://127.0.0.1:2380")

    def start_apiserver(self, *more):
        folder = self.folder
        self.apiserver.start(
            f"--etcd-servers={ETCD}", f"--advertise-address={ADDRESS}", f"--secure-port={PORT}",
            f"--service-cluster-ip-range={','.join(SERVICE_RANGES)}", "--authorization-mode=RBAC",
            "--allow-privileged", f"--client-ca-file={folder}/ca.crt",
            f"--tls-cert-file={folder}/server.crt", f"--tls-private-key-file={folder}/server.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder}/accounts.pub",
            f"--service-account-signing-key-file={folder}/accounts.key",
            f"--audit-policy-file={folder}/audit.json", f"--audit-log-path={self.audit_log}", *more)
        self.apiserver.wait(self.is_ready, "ready")
        # Controllers whose server has gone wait up to a minute before they ask again.
        if self.controllers.process is not None:
            self.controllers.stop()
            self.start_controllers()

    def is_ready(self):
        with contextlib.suppress(OSError, ApiError):
            return self.admin.request("GET", "/readyz") == "ok"
        return False

    def start_controllers(self):
        kubeconfig = self.write_kubeconfig("controllers.conf", certificate="admin")
        self.controllers.start(
            f"--kubeconfig={kubeconfig}", f"--controllers={','.join(CONTROLLERS)}",
            "--leader-elect=false", "--bind-address=127.0.0.1", f"--cert-dir={self.folder}",
            f"--root-ca-file={self.folder}/ca.crt", "--kube-api-qps=500", "--kube-api-burst=1000",
            f"--service-account-private-key-file={self.folder}/accounts.key")
        self.controllers.wait(lambda: self.admin.exists("ServiceAccount", "default"),
                              "makes default accounts")

    # ---- users ----

    def client(self, certificate=None, token=None, port=PORT):
        """Speaks to the API server by a client certificate of the folder, or by a token."""
        return Client(self.namespace, ADDRESS, port, self.authority.certificate,
                      certificate and self.folder / certificate, token)

    def write_kubeconfig(self, name, server=f"https://{ADDRESS}:{PORT}", certificate=None,
                         token=None, token_file=None, authority=None):
        """A kubeconfig of the folder, as JSON, which is YAML too; returns its path."""
        user = {"tokenFile": str(token_file)} if token_file else {"token": token} if token else {
            "client-certificate": f"{self.folder}/{certificate}.crt",
            "client-key": f"{self.folder}/{certificate}.key"}
        path = self.folder / name
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "tests",
            "clusters": [{"name": "tests", "cluster": {
                "server": server,
                "certificate-authority": str(authority or self.authority.certificate)}}],
            "users": [{"name": "tests", "user": user}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}]}))
        path.chmod(0o600)
        return path

    def audited(self):
        """podwire's requests: a JSON object each."""
        return [json.loads(line) for line in self.audit_log.read_text().splitlines()]

    # ---- faults ----

    def compact(self):
        """etcd forgets every revision before the present one."""
        revision = self.admin.list("Namespace")["metadata"]["resourceVersion"]
        self.ask_etcd("kv/compaction", {"revision": revision, "physical": True})

    def ask_etcd(self, what, question):
        request = urllib.request.Request(f"{ETCD}/v3/{what}", json.dumps(question).encode())
        with netns.inside(self.namespace), urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)


def build():
    """Builds the programs, or finds them built; returns why this machine cannot, or None."""
    done = subprocess.run([HERE / "build"], stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.PIPE)
    if done.returncode == 77:
        return done.stderr.strip()
    if done.returncode:
        raise RuntimeError(f"tests/kube/build: {done.stderr.strip()[-1000:]}")
    os.environ["KUBE_PROGRAMS"] = done.stdout.strip()
    return None
