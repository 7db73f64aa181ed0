"""What befalls the API server and the way to it, under traffic. After each fault podwired has in
force what a freshly started one makes of the objects, and no connection has noticed."""

import contextlib
import datetime
import threading
import time

import checks
import netns
from case import LabCase
from certificates import HOUR, Authority
from client import ApiError
from kube_lab import ACCOUNT, PROXY_PORT, Traffic, Witness, state_of

DELAY = datetime.timedelta(hours=-2)
WEB = checks.SERVICES["web"][4]


class Faults(LabCase):
    """node-a reaches the server through lab.proxy, node-b directly."""

    def setUp(self):
        super().setUp()
        self.settled(self.node)
        self.traffic = Traffic(self.lab, "client-a", WEB)
        self.traffic.__enter__()
        self.addCleanup(self.traffic.__exit__)

    def test_killed_server_comes_back(self):
        self.cluster.apiserver.kill()
        try:
            self.trouble(self.node)  # the proxy takes its connections, and loses them
            self.assertIn("Connection refused", self.trouble(self.lab.nodes["node-b"]))
            self.traffic.goes_on()
        finally:
            self.cluster.start_apiserver()
        self.service("later")
        self.ends_well(service="later")

    def test_changes_behind_a_lost_connection_are_caught_up(self):
        self.service("goes")
        self.in_force("goes")
        with self.lab.proxy.refusing():
            self.trouble(self.node)
            self.change_things()
        self.ends_well(service="comes", gone="goes")
        self.assertEqual(self.errors("expired"), self.expired, "the watch went on where it was")

    def test_history_that_is_compacted_is_listed_again(self):
        """410 Gone: compared, not flushed, so that traffic does not notice."""
        self.service("goes")
        self.in_force("goes")
        with self.lab.proxy.refusing():
            self.change_things()
            self.cluster.compact()
            self.cluster.apiserver.kill()  # its cache remembers what etcd has forgotten
            self.cluster.start_apiserver()
            self.change_nothing_much()
        self.ends_well(service="comes", gone="goes")
        self.assertGreater(self.errors("expired"), self.expired, "nothing was expired")

    def test_compaction_under_a_running_watch_goes_unnoticed(self):
        self.service("before")
        self.in_force("before")
        lists = self.lists()
        self.cluster.compact()
        self.service("after")
        self.ends_well(service="after")
        self.assertEqual(self.lists(), lists)

    def test_a_minute_of_silence_is_noticed_and_gone_through(self):
        """node-a's server is stopped (SIGSTOP), while its kernel answers for it; node-b's packets
        do not come back any more (a half-open connection)."""
        begun = time.monotonic()
        told = dict.fromkeys(self.lab.nodes)
        self.cluster.apiserver.freeze()
        self.addCleanup(self.cluster.apiserver.thaw)
        with self.unanswered(self.lab.nodes["node-b"]):
            while time.monotonic() < begun + 60:
                time.sleep(1)  # what is frozen gives no event to wait for
                self.traffic.goes_on()
                for name, node in self.lab.nodes.items():
                    told[name] = told[name] or node.ctl("status")["sourceTrouble"]
                    self.assertEqual(self.code_of(node, "/readyz"), 200)
        self.cluster.apiserver.thaw()
        self.assertIn("has been silent", told["node-a"] or "nothing was told")
        self.assertIsNotNone(told["node-b"], "nothing was told")
        self.settled(self.lab.nodes["node-b"])
        self.service("later")
        self.ends_well(service="later")

    def test_server_that_starts_refuses_for_a_moment(self):
        """It has not read its own RBAC yet (403), or not set up a kind (429). Neither is a lasting
        trouble, and podwired is ready all the time with what is in force."""
        ends, codes = threading.Event(), set()

        def watch():
            while not ends.wait(0.05):
                codes.add(self.code_of(self.node, "/readyz"))
        watcher = threading.Thread(target=watch)
        self.cluster.apiserver.kill()
        watcher.start()
        try:
            self.cluster.start_apiserver()
            self.eventually(lambda: self.node.ctl("status")["sourceHealthy"], "a healthy source", 5)
        finally:
            ends.set()
            watcher.join()
        self.assertEqual(codes, {200})
        self.service("later")
        self.ends_well(service="later")

    def test_connections_cut_amid_objects(self):
        """After ever other numbers of bytes, in lists and in events, while objects change."""
        self.service("goes")
        cuts = self.lab.proxy.cuts
        for count in (700, 2_500, 5_000, 9_000, 20_000, 40_000):
            self.lab.proxy.cut_after(count)
            self.lab.proxy.cut_now()
            self.addCleanup(self.lab.proxy.cut_after, None)
            wanted = self.lab.proxy.cuts + 2
            for number in range(1_000):
                self.service(f"cut-{count}-{number}", labels={"filler": "x" * 60})
                self.admin.delete("Service", f"cut-{count}-{number}", self.namespace)
                if self.lab.proxy.cuts >= wanted:
                    break
        self.admin.delete("Service", "goes", self.namespace)
        self.service("comes")
        self.lab.proxy.cut_after(None)
        self.assertGreaterEqual(self.lab.proxy.cuts, cuts + 12)
        self.ends_well(service="comes", gone="goes")

    def test_rotated_token_is_taken_from_its_file(self):
        self.new_secret("first")
        old = self.lab.renew_token("first")
        self.lab.proxy.cut_now()
        self.settled(self.node)
        unauthorized = self.errors("unauthorized")
        self.lab.renew_token()  # as kubelet does, while the old one still is good
        self.revoke("first", old)
        self.lab.proxy.cut_now()
        self.service("later")
        self.ends_well(service="later")
        self.assertEqual(self.errors("unauthorized"), unauthorized)

    def test_revoked_token_is_said_and_a_new_one_mends_it(self):
        self.addCleanup(self.lab.renew_token)
        self.new_secret("only")
        token = self.lab.renew_token("only")
        self.revoke("only", token)
        self.lab.proxy.cut_now()
        self.assertIn("401", self.trouble(self.node))
        self.traffic.goes_on()
        self.lab.renew_token()
        self.service("later")
        self.ends_well(service="later")

    def test_missing_permission_is_named_and_the_rest_goes_on(self):
        rules = self.admin.get("ClusterRole", "podwire")["rules"]
        self.addCleanup(self.admin.patch, "ClusterRole", "podwire", {"rules": rules})
        self.admin.patch("ClusterRole", "podwire", {"rules": [
            {**rule, "resources": [r for r in rule["resources"] if r != "networkpolicies"]}
            for rule in rules]})
        self.lab.proxy.cut_now()
        said = self.trouble(self.node)
        self.assertRegex(said, "(list|watch) networkpolicies")
        self.assertIn("system:serviceaccount:kube-system:podwire", said)
        self.service("meanwhile")
        self.in_force("meanwhile")
        self.traffic.goes_on()
        self.admin.patch("ClusterRole", "podwire", {"rules": rules})
        self.ends_well(service="meanwhile")

    def test_certificate_replaced_by_another_of_the_authority(self):
        self.cluster.issue_server_certificate()
        self.lab.proxy.cut_now()
        self.service("later")
        self.ends_well(service="later")

    def test_certificate_that_must_not_be_believed(self):
        """Foreign, expired, not valid yet (the server's clock is ahead): each is said, and the last
        state stays in force until a good one comes."""
        foreign = Authority(self.cluster.folder, "foreign")
        self.addCleanup(self.cluster.issue_server_certificate)
        for words, replace in (
                ("not signed by", lambda: self.cluster.issue_server_certificate(foreign)),
                ("expired", lambda: self.cluster.issue_server_certificate(begins=3 * DELAY,
                                                                          ends=DELAY)),
                ("not valid yet", lambda: self.cluster.issue_server_certificate(begins=HOUR))):
            with self.subTest(certificate=words):
                replace()
                self.eventually(lambda w=words: self.cut_and_trouble(w), words, 30)
                self.traffic.goes_on()
        self.cluster.issue_server_certificate()
        self.eventually(self.cluster.is_ready, "a server with a good certificate", 60)
        self.service("later")
        self.ends_well(service="later")

    # ---- helpers ----

    def settled(self, node):
        """All that there is has been read, and podwired is content."""
        self.eventually(lambda: node.ctl("status")["sourceHealthy"], "a healthy source", 30)
        self.expired = self.errors("expired")

    def trouble(self, node):
        """What podwired says of its source, once that is not healthy."""
        return self.eventually(lambda: node.ctl("status")["sourceTrouble"],
                               "the trouble to be told", 30)

    def cut_and_trouble(self, words):
        self.lab.proxy.cut_now()
        return words in (self.node.ctl("status")["sourceTrouble"] or "")

    def ends_well(self, service, gone=None):
        """podwired is content, has in force what a fresh one has, and traffic noticed nothing."""
        self.eventually(lambda: self.node.ctl("status")["sourceHealthy"], "a healthy source", 60)
        self.in_force(service)
        if gone:
            self.in_force(gone, backends=None)
        with Witness(self.lab) as fresh:
            with contextlib.suppress(TimeoutError):
                self.eventually(lambda: state_of(self.node) == state_of(fresh), "equal states", 5)
            for part, wanted in state_of(fresh).items():
                self.assertEqual(state_of(self.node)[part], wanted, part)
        self.traffic.goes_on()

    @contextlib.contextmanager
    def unanswered(self, node):
        """What the server's machine sends to this node is lost."""
        route = ["-n", self.cluster.namespace, "route"], ["blackhole", f"{node.addresses[4]}/32"]
        netns.ip(*route[0], "add", *route[1])
        try:
            yield
        finally:
            netns.ip(*route[0], "del", *route[1])

    def code_of(self, node, path):
        return int(self.lab.run(node.name, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}",
                                f"http://127.0.0.1:10249{path}").stdout)

    def change_things(self):
        self.admin.delete("Service", "goes", self.namespace)
        self.service("comes")
        self.create("NetworkPolicy", "comes", {
            "podSelector": {"matchLabels": {"pod": "web-a"}}, "policyTypes": ["Egress"]},
            "networking.k8s.io/v1")

    def change_nothing_much(self):
        """So that each kind's newest version is newer than what podwired has seen."""
        self.admin.patch("Namespace", "guarded", {"metadata": {"labels": {"touched": "yes"}}})
        self.admin.patch("Namespace", "guarded", {"metadata": {"labels": {"touched": None}}})

    def service(self, name, labels=None):
        return self.create("Service", name, {
            "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}, labels=labels)

    def errors(self, reason):
        return sum(kind["errors"][reason] for kind in self.node.ctl("status")["kinds"])

    def lists(self):
        return {kind["kind"]: kind["lists"] for kind in self.node.ctl("status")["kinds"]}

    def new_secret(self, name):
        self.admin.create({"apiVersion": "v1", "kind": "Secret",
                           "metadata": {"name": name, "namespace": ACCOUNT[1]}})

    def revoke(self, secret, token):
        """Ends the life of the token's Secret, and waits until the server has noticed."""
        self.admin.delete("Secret", secret, ACCOUNT[1])

        def refused():
            try:
                self.cluster.client(token=token).list("Pod", limit=1)
            except ApiError as error:
                return error.code == 401
            return False
        self.eventually(refused, "the token to be refused", 30)


class FirstContact(LabCase):
    """A podwired that is started while something is wrong: it waits, says why, and is not ready."""

    def test_wrong_authority(self):
        foreign = Authority(self.cluster.folder, "other")
        with Witness(self.lab, authority=foreign.certificate, waits=False) as fresh:
            self.never_ready(fresh, "not signed by")

    def test_nobody_listens(self):
        with Witness(self.lab, port=PROXY_PORT + 1, waits=False) as fresh:
            self.never_ready(fresh, "Connection refused")

    def never_ready(self, fresh, words):
        self.eventually(fresh.answers_ctl, "podwirectl to be answered")
        self.eventually(lambda: words in (fresh.ctl("status")["sourceTrouble"] or ""), words)
        self.assertFalse(fresh.ctl("status")["synced"])
        self.assertEqual(fresh.code_of("/readyz"), 503)
