"""The faults that tests of podwired bring about, seen by a plain client."""

import http.client
import ssl

import netns
from case import Case
from cluster import ADDRESS, PORT
from proxy import Proxy


class Ground(Case):
    def proxied(self, port=7443):
        """An administrator's client that goes through a proxy, and the proxy."""
        proxy = Proxy(self.cluster.namespace, port, ("127.0.0.1", PORT))
        self.addCleanup(proxy.close)
        return self.cluster.client(certificate="admin", port=port), proxy

    def test_proxy_cuts_a_list_after_so_many_bytes(self):
        client, proxy = self.proxied()
        whole = client.list("ClusterRole")
        proxy.cut_after(20_000)
        with self.assertRaises((OSError, http.client.IncompleteRead)):
            client.list("ClusterRole")
        self.assertEqual((proxy.connections, proxy.cuts), (2, 1))
        proxy.cut_after(None)
        self.assertEqual(client.list("ClusterRole")["items"], whole["items"])

    def test_proxy_cuts_a_running_watch(self):
        client, proxy = self.proxied()
        watch = client.watch("ClusterRole", sendInitialEvents="true",
                             resourceVersionMatch="NotOlderThan")
        self.assertEqual(next(watch)["type"], "ADDED")
        proxy.cut_now()
        try:
            for _ in watch:
                pass
        except TimeoutError:
            self.fail("the watch goes on")
        except (OSError, http.client.IncompleteRead):
            pass  # or it simply ends: a cut may look like an end

    def test_frozen_server_answers_once_it_is_thawed(self):
        client = self.cluster.client(certificate="admin")
        client.timeout_s = 1
        self.cluster.apiserver.freeze()
        self.addCleanup(self.cluster.apiserver.thaw)
        self.assertRaises(TimeoutError, client.list, "Node")
        self.cluster.apiserver.thaw()
        client.timeout_s = 20
        self.assertEqual(len(client.list("Node")["items"]), 2)

    def test_killed_server_keeps_what_it_was_told(self):
        self.service("kept", {"ports": [{"port": 80}]})
        self.cluster.apiserver.kill()
        self.assertRaises(OSError, self.admin.list, "Service")
        self.cluster.start_apiserver()
        self.assertTrue(self.admin.exists("Service", "kept", self.namespace))

    def test_new_certificate_is_served_without_a_restart(self):
        old = self.served_certificate()
        self.cluster.issue_server_certificate()
        self.eventually(lambda: self.served_certificate() != old, "the new certificate", 90)
        self.assertTrue(self.cluster.is_ready())

    def served_certificate(self):
        with netns.inside(self.cluster.namespace):
            return ssl.get_server_certificate((ADDRESS, PORT))
