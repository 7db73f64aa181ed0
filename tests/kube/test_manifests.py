"""conf/kubernetes as an API server takes it, and what of it can be tried without a kubelet."""

import json
import subprocess
import tempfile
from pathlib import Path

import yaml
from case import CONF, Case, LabCase
from client import ApiError
from cluster import ADDRESS, PORT
from kube_lab import ACCOUNT, PROXY_PORT, PodWitness, state_of

STRICT = {"fieldValidation": "Strict", "dryRun": "All"}


def objects():
    """Everything of conf/kubernetes that has a kind."""
    return [one for path in sorted((CONF / "kubernetes").glob("*.yaml"))
            for one in yaml.safe_load_all(path.read_text()) if "kind" in one]


def documents():
    """Those of podwired itself, by kind."""
    return {one["kind"]: one for one in objects() if one["metadata"]["name"] == "podwire"}


class Manifests(Case):
    def test_api_server_takes_every_field(self):
        for one in objects():
            one["metadata"]["name"] += "-strict"  # the cluster has some of them already
            with self.subTest(**one["metadata"]):
                self.assertEqual(self.admin.create(one, **STRICT)["kind"], one["kind"])

    def test_hugepages_patch_applies(self):
        one = documents()["DaemonSet"]
        one["metadata"]["namespace"] = self.namespace
        self.admin.create(one)
        patch = yaml.safe_load((CONF / "kubernetes/hugepages-patch.yaml").read_text())
        made = self.admin.patch("DaemonSet", "podwire", patch, self.namespace,
                                content_type="application/strategic-merge-patch+json")
        podwired, = made["spec"]["template"]["spec"]["containers"]
        self.assertEqual(podwired["resources"]["limits"], {"hugepages-2Mi": "512Mi"})
        self.assertEqual({m["name"] for m in podwired["volumeMounts"]},
                         {"config", "run", "state", "netns", "hugepages"})

    def test_list_is_the_one_of_conf(self):
        self.assertEqual(json.loads(documents()["ConfigMap"]["data"]["10-podwire.conflist"]),
                         json.loads((CONF / "10-podwire.conflist").read_text()))

    def test_init_container_installs_the_plugin_and_then_the_list(self):
        init, = documents()["DaemonSet"]["spec"]["template"]["spec"]["initContainers"]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for one in ("host/bin", "host/net.d", "usr/local/lib/podwire", "etc/podwire"):
                (folder / one).mkdir(parents=True)
            list_file = folder / "etc/podwire/10-podwire.conflist"
            list_file.write_text("the list")
            script, = init["args"]
            for root in (" /usr/", " /etc/", " /host/"):
                script = script.replace(root, f" {folder}{root[1:]}")
            command = [*init["command"], script]
            # Without the plugin there must be no list either.
            self.assertNotEqual(subprocess.run(command, capture_output=True).returncode, 0)
            self.assertEqual(list((folder / "host/net.d").iterdir()), [])
            (folder / "usr/local/lib/podwire/podwire-cni").write_text("the plugin")
            subprocess.run(command, check=True)
            plugin, = (folder / "host/bin").iterdir()
            self.assertEqual((plugin.name, plugin.stat().st_mode & 0o777), ("podwire-cni", 0o755))
            self.assertEqual([p.name for p in (folder / "host/net.d").iterdir()],
                             ["10-podwire.conflist"])


class Container(LabCase):
    def started(self, port=PORT):
        """podwired by the DaemonSet's container, and what that one says."""
        things = documents()
        container, = things["DaemonSet"]["spec"]["template"]["spec"]["containers"]
        settings = things["ConfigMap"]
        settings["data"] |= {"api-server-host": ADDRESS, "api-server-port": str(port)}
        return PodWitness(self.lab, container, settings), container

    def test_podwired_as_its_container_starts_it(self):
        """It finds the API server and its account, and has in force what the lab's nodes have."""
        pod, container = self.started()
        with pod as fresh:
            self.assertIn("service account", fresh.ctl("status")["source"])
            self.eventually(lambda: state_of(fresh) == state_of(self.node), "equal states")
            for probe in ("livenessProbe", "readinessProbe"):
                self.assertEqual(fresh.code_of(**container[probe]["httpGet"]), 200, probe)

    def test_account_that_kubelet_renews(self):
        """The next request has the new token, and the old one may die."""
        self.admin.create({"apiVersion": "v1", "kind": "Secret",
                           "metadata": {"name": "turn", "namespace": ACCOUNT[1]}})
        pod, _ = self.started(PROXY_PORT)
        pod.secret = "turn"
        with pod as fresh:
            fresh.write_account()
            self.admin.delete("Secret", "turn", ACCOUNT[1])
            self.eventually(lambda: self.is_refused(fresh.tokens[0]), "the old token's end", 30)
            self.lab.proxy.cut_now()
            self.create("Service", "later", {"ports": [{"port": 80}]})
            self.eventually(lambda: self.service_in_force("later", fresh), "what is new")
            status = fresh.ctl("status")
            self.assertEqual(sum(k["errors"]["unauthorized"] for k in status["kinds"]), 0)

    def is_refused(self, token):
        try:
            self.cluster.client(token=token).list("Pod", limit=1)
        except ApiError as error:
            return error.code == 401
        return False
