"""What podwire's account may ask, by the rules of conf/kubernetes/rbac.yaml."""

import ssl

from case import RBAC_BGP, Case, allowed
from certificates import Authority
from client import GROUPS, ApiError, path_of, plural


class Access(Case):
    def setUp(self):
        super().setUp()
        self.podwire = self.cluster.client(token=self.podwires_account())

    def test_lists_and_watches_what_the_role_names_and_nothing_else(self):
        granted = set()
        for kind in GROUPS:
            code = self.code_of(self.podwire, kind)
            connection, response = self.podwire.send("GET", path_of(kind), query={
                "watch": "true", "resourceVersion": "0"})
            connection.close()
            self.assertEqual(response.status, code, kind)
            self.assertIn(code, (200, 403, 404), kind)  # 404: allowed, but there is no such kind
            if code != 403:
                granted.add(plural(kind))
        self.assertEqual(granted, allowed())

    def test_bgp_needs_its_own_rules_and_the_secrets_of_one_namespace_alone(self):
        self.refused(403, self.podwire.list, "Secret", namespace="kube-system")
        self.allow_bgp()
        self.assertEqual(allowed(RBAC_BGP, "Role"), {"secrets"})
        self.podwire.list("Secret", namespace="kube-system")
        self.refused(403, self.podwire.list, "Secret", namespace=self.namespace)

    def test_may_not_read_one_nor_write(self):
        error = self.refused(403, self.podwire.get, "Namespace", "default")
        self.assertIn('User "system:serviceaccount:kube-system:podwire" cannot get resource '
                      '"namespaces"', str(error))
        for method in ("POST", "DELETE"):
            self.refused(403, self.podwire.request, method,
                         path_of("Pod", None, self.namespace), {})
        self.refused(403, self.podwire.patch, "Node", "node-a", {})

    def test_one_missing_rule_is_named(self):
        role = self.admin.get("ClusterRole", "podwire")
        self.addCleanup(self.admin.patch, "ClusterRole", "podwire", {"rules": role["rules"]})
        self.admin.patch("ClusterRole", "podwire", {"rules": [
            rule for rule in role["rules"] if "networkpolicies" not in rule["resources"]]})

        self.eventually(lambda: self.code_of(self.podwire, "NetworkPolicy") == 403, "a refusal")
        self.assertIn('cannot list resource "networkpolicies" in API group "networking.k8s.io"',
                      str(self.refused(403, self.podwire.list, "NetworkPolicy")))

    def test_token_of_a_deleted_account_is_refused(self):
        self.create("ServiceAccount", "short-lived")
        client = self.cluster.client(
            token=self.admin.token_of("short-lived", self.namespace))
        self.refused(403, client.list, "Pod")  # known, and may nothing
        self.admin.delete("ServiceAccount", "short-lived", self.namespace)
        self.eventually(lambda: self.code_of(client) == 401, "the token to be refused")

    def test_foreign_authority_is_not_believed(self):
        foreign = Authority(self.cluster.folder, "foreign")
        client = self.cluster.client(certificate="admin")
        client.context = ssl.create_default_context(cafile=str(foreign.certificate))
        self.assertRaises(ssl.SSLCertVerificationError, client.list, "Pod")

    @staticmethod
    def code_of(client, kind="Pod"):
        try:
            client.list(kind, limit=1)
        except ApiError as error:
            return error.code
        return 200
