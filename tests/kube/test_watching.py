"""Lists and watches as a client meets them: bookmarks, pages, and history that is gone."""

from case import Case


class Watching(Case):
    def make_services(self, names):
        for name in names:
            self.service(name, {"ports": [{"port": 80}]})

    def test_watch_tells_of_every_change(self):
        since = self.admin.list("Service", self.namespace)["metadata"]["resourceVersion"]
        self.make_services(["a"])
        self.admin.patch("Service", "a", {"metadata": {"labels": {"x": "y"}}}, self.namespace)
        self.admin.delete("Service", "a", self.namespace)
        events = self.events("Service", 3, namespace=self.namespace, resourceVersion=since)
        self.assertEqual([e["type"] for e in events], ["ADDED", "MODIFIED", "DELETED"])
        versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in events]
        self.assertEqual(versions, sorted(set(versions)))

    def test_label_that_leaves_the_selector_is_a_deletion(self):
        selector = "!service.kubernetes.io/service-proxy-name"
        since = self.admin.list("Service", self.namespace)["metadata"]["resourceVersion"]
        self.make_services(["a"])
        self.admin.patch("Service", "a", {"metadata": {
            "labels": {"service.kubernetes.io/service-proxy-name": "other"}}}, self.namespace)
        events = self.events("Service", 2, namespace=self.namespace, resourceVersion=since,
                             labelSelector=selector)
        self.assertEqual([e["type"] for e in events], ["ADDED", "DELETED"])

    def test_bookmark_ends_the_initial_events(self):
        self.make_services(["a", "b"])
        events = self.events("Service", 3, namespace=self.namespace, sendInitialEvents="true",
                             resourceVersionMatch="NotOlderThan")
        self.assertEqual([e["type"] for e in events], ["ADDED", "ADDED", "BOOKMARK"])
        self.assertEqual(events[2]["object"]["metadata"]["annotations"],
                         {"k8s.io/initial-events-end": "true"})

    def test_compaction_ends_a_paged_list(self):
        self.make_services(["a", "b", "c"])
        page = self.admin.list("Service", self.namespace, limit=1)
        following = page["metadata"]["continue"]
        self.assertEqual(len(self.admin.list("Service", self.namespace, limit=1,
                                             **{"continue": following})["items"]), 1)
        self.make_services(["d"])
        self.cluster.compact()
        self.restart_apiserver()  # its cache has pages of its own
        error = self.refused(410, self.admin.list, "Service", self.namespace, limit=1,
                             **{"continue": following})
        self.assertEqual(error.reason, "Expired")

    def test_restart_ends_a_watch_from_the_past(self):
        """The API server's cache begins with its start."""
        since = self.admin.list("Service", self.namespace)["metadata"]["resourceVersion"]
        self.make_services(["a", "b"])
        self.restart_apiserver()
        event, = self.events("Service", 1, namespace=self.namespace, resourceVersion=since)
        self.assertEqual((event["type"], event["object"]["code"], event["object"]["reason"]),
                         ("ERROR", 410, "Expired"))

    def restart_apiserver(self):
        self.cluster.apiserver.kill()
        self.cluster.start_apiserver()
