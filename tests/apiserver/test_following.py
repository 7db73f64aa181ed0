"""Lists, watches, and what follows each failure of them."""

import json
import threading
import time

from case import Case, pod, service
from server import BGP_KINDS, KINDS, answer, reset


def cut_amid_event(thing):
    """A watch that sends half an event and breaks off."""
    def send(handler):
        handler.begin_chunks()
        text = json.dumps({"type": "ADDED", "object": {"kind": "Service", "apiVersion": "v1",
                                                       **thing}})
        handler.chunk(text[:len(text) // 2])
        reset(handler)
    return send


def error_event(code, reason):
    def send(handler):
        handler.begin_chunks()
        handler.event("ERROR", {"kind": "Status", "code": code, "reason": reason,
                                "message": "too old resource version"})
        handler.end_chunks()
    return send


class Listing(Case):
    def test_asks_for_all_kinds_as_kube_proxy_and_calico_do(self):
        self.following()
        asked = {r.plural: r for r in reversed(self.server.requests) if r.verb == "list"}
        self.assertEqual(set(KINDS), set(asked) - {None})
        self.assertEqual(asked["services"].query, {
            "labelSelector": "!service.kubernetes.io/service-proxy-name",
            "fieldSelector": "spec.clusterIP!=None", "limit": "500", "resourceVersion": "0",
            "resourceVersionMatch": "NotOlderThan"})
        self.assertEqual(asked["endpointslices"].query["labelSelector"],
                         "!service.kubernetes.io/headless")
        self.assertEqual(asked["pods"].query["fieldSelector"],
                         "status.phase!=Succeeded,status.phase!=Failed")
        watch = self.server.asked("watch", "services")[0]
        self.assertEqual(watch.query["allowWatchBookmarks"], "true")
        self.assertEqual(watch.query["resourceVersion"], str(self.server.version))
        self.assertTrue(300 <= int(watch.query["timeoutSeconds"]) <= 600)
        self.assertEqual(watch.query["labelSelector"],
                         "!service.kubernetes.io/service-proxy-name")
        self.assertEqual(watch.authorization, "Bearer first")

    def test_asks_for_passwords_and_peers_only_where_it_speaks_bgp(self):
        self.following()
        self.assertFalse([r for r in self.server.requests if r.plural in BGP_KINDS])
        self.server.put("secrets", {"metadata": {"name": "bgp", "namespace": "kube-system"},
                                    "data": {"tor": "cGFzcw=="}})
        follower = self.follow("--bgp")
        follower.synced()
        self.assertEqual(follower.in_force("Secret"), ["kube-system/bgp"])
        asked, = self.server.asked("list", "secrets")
        self.assertEqual(asked.query["fieldSelector"], "type=Opaque")
        self.assertTrue(self.server.asked("list", "bgppeers"))

    def test_goes_through_the_pages(self):
        for i in range(1201):
            self.server.put("pods", pod(f"p{i}"))
        follower = self.following()
        self.assertEqual(len(follower.in_force("Pod")), 1201)
        self.assertEqual(len(self.server.asked("list", "pods")), 3)

    def test_asks_for_all_at_once_when_a_page_is_forgotten(self):
        for i in range(600):
            self.server.put("pods", pod(f"p{i}"))
        first = {}

        def forget(handler):  # of two pages the second
            if not first:
                first["asked"] = True
                return self.server.list(handler, self.server.asked("list", "pods")[-1])
            self.server.heal()
            answer(410, reason="Expired", message="the provided continue parameter is too old")(
                handler)
        self.server.fault("list", "pods", forget, times=None)
        follower = self.following()
        self.assertEqual(len(follower.in_force("Pod")), 600)
        last = self.server.asked("list", "pods")[-1]
        self.assertNotIn("limit", last.query)
        self.assertNotIn("continue", last.query)

    def test_is_not_synced_before_every_kind_is_listed(self):
        self.server.fault("list", "networkpolicies", answer(500, message="etcd is away"),
                          times=None)
        self.server.put("services", service("web"))
        follower = self.follow()
        follower.put("Service default/web")
        self.assertIn("answers 500 to list networkpolicies of API group networking.k8s.io: "
                      "etcd is away", follower.health(False))
        self.assertEqual(follower.since(0, "synced"), [])
        self.server.heal()
        follower.synced()
        follower.health(True)

    def test_a_list_that_breaks_off_removes_nothing(self):
        for name in ("a", "b", "c"):
            self.server.put("services", service(name))
        follower = self.following()
        text = json.dumps(self.server.list_object("services", {}))
        begin = follower.mark()

        def half(handler):
            handler.begin_chunks()
            handler.chunk(text[:len(text) // 2])
            reset(handler)
        self.server.fault("watch", "services", answer(410, reason="Expired"))
        self.server.fault("list", "services", half, times=2)
        self.server.delete("services", "b", quiet=True)
        self.server.end_watches()
        follower.removed("Service default/b", begin)
        self.assertEqual(follower.since(begin, "remove"), ["Service default/b"])
        self.assertEqual(follower.kind("Service")["errors"]["cut"], 2)

    def test_a_server_without_the_field_selector_is_asked_without(self):
        def refuse(handler):
            if "fieldSelector" in handler.path:
                return answer(400, message='field label not supported: spec.clusterIP')(handler)
            request = self.server.asked("list", "services")[-1]
            return self.server.list(handler, request)
        self.server.put("services", service("web"))
        self.server.fault("list", "services", refuse, times=None)
        follower = self.following()
        follower.put("Service default/web")
        self.assertNotIn("fieldSelector", self.server.asked("watch", "services")[0].query)

    def test_a_kind_that_comes_later_is_found_and_one_that_goes_is_removed(self):
        follower = self.following("--absent=1")
        self.server.put("ippools", {"metadata": {"name": "pool"},
                                    "spec": {"cidr": "10.244.0.0/16", "ipipMode": "Always"}})
        self.server.absent.clear()
        follower.put("IPPool pool")
        begin = follower.mark()
        self.server.absent.add("ippools")
        self.server.end_watches()
        follower.removed("IPPool pool", begin)


class Watching(Case):
    def test_follows_every_change(self):
        follower = self.following()
        self.server.put("services", service("web"))
        follower.put("Service default/web")
        begin = follower.mark()
        self.server.put("services", service("web", port=81))
        follower.put("Service default/web", begin)
        self.server.delete("services", "web")
        follower.removed("Service default/web", begin)

    def test_resumes_where_it_was_cut_amid_an_event(self):
        self.server.put("services", service("a"))
        follower = self.following()
        begin = follower.mark()
        self.server.fault("watch", "services", cut_amid_event(service("b")))
        version = self.server.version
        self.server.end_watches()
        self.server.put("services", service("b"))
        follower.put("Service default/b", begin)
        self.assertEqual(follower.since(begin, "put"), ["Service default/b"])
        self.assertEqual(len(self.server.asked("list", "services")), 1)
        self.assertEqual(self.server.asked("watch", "services")[-1].query["resourceVersion"],
                         str(version))

    def test_resumes_from_a_bookmark(self):
        follower = self.following()
        self.server.bookmark("pods")
        version = str(self.server.version)
        while follower.kind("Pod")["version"] != version:
            pass
        self.server.compact()
        self.watch_again(follower)
        self.assertEqual(self.server.asked("watch", "pods")[-1].query["resourceVersion"], version)
        self.assertEqual(len(self.server.asked("list", "pods")), 1)

    def check_gone(self, fault):
        for name in ("a", "b", "c"):
            self.server.put("services", service(name))
        follower = self.following()
        begin = follower.mark()
        self.server.fault("watch", "services", fault)
        self.server.delete("services", "b", quiet=True)
        self.server.put("services", service("c", port=82), quiet=True)
        version = self.server.version - 2
        self.server.end_watches()
        follower.removed("Service default/b", begin)
        self.assertEqual(follower.since(begin, "remove"), ["Service default/b"])
        puts = [one for one in follower.said[begin:] if "put" in one]
        self.assertEqual([(p["put"], p["changed"]) for p in puts],
                         [("Service default/a", False), ("Service default/c", True)])
        again = self.server.asked("list", "services")[-1].query
        self.assertEqual(again["resourceVersion"], str(version))
        self.assertEqual(again["resourceVersionMatch"], "NotOlderThan")
        self.assertNotIn("limit", again)
        self.assertEqual(follower.since(begin, "health"), [])

    def test_410_as_status_is_answered_by_a_list_that_is_compared(self):
        self.check_gone(answer(410, reason="Expired"))

    def test_410_as_event_is_answered_by_a_list_that_is_compared(self):
        self.check_gone(error_event(410, "Expired"))

    def test_what_is_no_event_is_answered_by_a_list(self):
        follower = self.following()

        def nonsense(handler):
            handler.begin_chunks()
            handler.chunk("<html>proxy error</html>\n")
            handler.end_chunks()
        self.server.put("services", service("a"), quiet=True)
        self.server.fault("watch", "services", nonsense)
        self.server.end_watches()
        follower.put("Service default/a")
        self.assertEqual(follower.kind("Service")["errors"], {"malformed": 1})

    def test_an_event_that_is_too_large_is_answered_by_a_list(self):
        follower = self.following()

        def large(handler):
            handler.begin_chunks()
            handler.chunk('{"type":"ADDED","object":{"metadata":{"name":"')
            for _ in range(17):
                handler.chunk("x" * (1 << 20))
        self.server.put("services", service("a"), quiet=True)
        self.server.fault("watch", "services", large)
        self.server.end_watches()
        follower.put("Service default/a")
        self.assertEqual(follower.kind("Service")["errors"], {"malformed": 1})

    def test_events_told_twice_or_late_change_nothing(self):
        follower = self.following()
        self.server.put("services", service("a", port=80))
        old = service("a", port=80, resourceVersion=str(self.server.version))
        self.server.put("services", service("a", port=81))
        new = service("a", port=81, resourceVersion=str(self.server.version))
        self.server.bookmark("services")  # so that the server sends what follows
        self.server.tell("services", "MODIFIED", new)
        self.server.tell("services", "MODIFIED", old)
        self.server.tell("services", "DELETED", old)
        self.server.put("services", service("last"))
        follower.put("Service default/last")
        self.assertEqual([p for p in follower.since(0, "put") if p.endswith("/a")],
                         ["Service default/a"] * 2)
        self.assertEqual(follower.since(0, "remove"), [])

    def test_one_bad_object_keeps_its_last_version_and_stops_no_other(self):
        self.server.put("services", service("bad", port=70000))
        self.server.put("services", service("good"))
        follower = self.following()
        self.assertEqual(follower.in_force("Service"), ["default/good"])
        self.assertEqual(follower.problems(), [
            "Service default/bad: spec.ports[0].port: 70000 is not between 1 and 65535"])
        begin = follower.mark()
        self.server.put("services", service("good", port=0))
        self.assertEqual(len(follower.problems(begin)), 2)
        self.assertEqual(follower.in_force("Service"), ["default/good"])
        begin = follower.mark()
        self.server.put("services", service("bad"))
        self.server.put("services", service("good", port=99))
        follower.wait(lambda one: one.get("problems") == [], "no problems", begin)
        self.assertEqual(follower.in_force("Service"), ["default/bad", "default/good"])


class Failing(Case):
    def requests_for(self, plural):
        return [r for r in self.server.requests if r.plural == plural]

    def test_waits_as_long_as_the_server_asks(self):
        follower = self.following()
        self.server.fault("watch", "pods", answer(429, {"Retry-After": "2"}))
        begin = follower.mark()
        self.server.end_watches()
        while len(self.server.asked("watch", "pods")) < 3:
            time.sleep(0.01)
        refused, again = [r.time for r in self.server.asked("watch", "pods")][-2:]
        self.assertTrue(2 <= again - refused < 5, again - refused)
        self.assertEqual(follower.kind("Pod")["errors"], {"throttled": 1})
        self.assertEqual(follower.since(begin, "health"), [])

    def test_waits_longer_each_time_and_says_so_once(self):
        self.server.put("services", service("a"))
        follower = self.following()
        begin = follower.mark()
        self.server.fault("watch", None, answer(503, message="not now"), times=None)
        self.server.fault("list", None, answer(503, message="not now"), times=None)
        count = len(self.requests_for("pods"))
        self.server.end_watches()
        self.assertIn("answers 503 to watch", follower.health(False, begin))
        # Watches at first, then lists: a server that cannot say what changed may say what is.
        deadline = time.monotonic() + 60
        while len(self.requests_for("pods")) < count + 6:
            self.assertLess(time.monotonic(), deadline, "it has given up")
            time.sleep(0.1)
        times = [r.time for r in self.requests_for("pods")[count:]]
        gaps = [b - a for a, b in zip(times, times[1:])]
        for i, gap in enumerate(gaps):
            self.assertGreater(gap, min(0.25 * 2 ** i, 10) / 2 - 0.05, gaps)
        self.assertEqual(follower.in_force("Service"), ["default/a"])
        self.server.heal()
        follower.health(True, begin)
        self.assertEqual(follower.since(begin, "remove"), [])
        self.assertLessEqual(len(follower.since(begin, "health")), 6)

    def test_who_is_refused_by_a_server_that_was_away_asks_again_soon(self):
        """It may not have read its own RBAC yet: the outage's back-off does not go on over that."""
        follower = self.following()
        for verb in ("watch", "list"):
            self.server.fault(verb, None, answer(503, message="not now"), times=None)
        self.server.end_watches()
        count = len(self.requests_for("pods"))
        self.eventually(lambda: len(self.requests_for("pods")) >= count + 5)  # next: 4 to 8 s
        self.server.heal()
        for verb in ("watch", "list"):
            self.server.fault(verb, "pods", answer(403, reason="Forbidden"))
        begin, count = follower.mark(), len(self.requests_for("pods"))
        self.eventually(lambda: len(self.requests_for("pods")) >= count + 2)
        refused, again = [r.time for r in self.requests_for("pods")[count:count + 2]]
        self.assertLess(again - refused, 1)
        self.server.heal()
        follower.health(True, begin)

    def eventually(self, condition, timeout_s=30):
        deadline = time.monotonic() + timeout_s
        while not condition():
            self.assertLess(time.monotonic(), deadline, "it has given up")
            time.sleep(0.01)

    def test_a_server_that_goes_away_and_comes_back_is_followed_again(self):
        self.server.put("services", service("a"))
        self.server.put("services", service("b"))
        follower = self.following()
        begin = follower.mark()
        port = self.server.port
        self.server.close()
        self.assertIn(f"cannot be reached: 127.0.0.1 port {port}: Connection refused",
                      follower.health(False, begin))
        self.assertEqual(follower.in_force("Service"), ["default/a", "default/b"])
        self.server = self.begin_server(port=port)
        self.server.put("services", service("b"))
        self.server.put("services", service("c"))
        for _ in range(10):
            self.server.put("pods", pod("x"))  # it has gone on elsewhere
        self.server.compact()
        follower.put("Service default/c", begin)
        follower.removed("Service default/a", begin)
        follower.health(True, begin)
        self.assertEqual(follower.since(begin, "remove"), ["Service default/a"])

    def test_a_silent_server_is_given_up(self):
        self.server.put("services", service("a"))
        follower = self.following("--silence=1")
        lists = len(self.server.asked("list", "services"))
        while not follower.kind("Service")["errors"].get("silent"):
            time.sleep(0.05)
        self.server.put("services", service("b"))
        follower.put("Service default/b")
        self.assertEqual(len(self.server.asked("list", "services")), lists)

    def test_a_server_that_stays_silent_is_no_good_health_one_that_answers_again_is(self):
        answering = threading.Event()
        self.addCleanup(answering.set)
        follower = self.following("--silence=2")
        begin = follower.mark()

        def silent(handler):
            answering.wait(60)
            handler.close_connection = True
        self.server.fault("watch", None, silent, times=None)
        self.assertIn("has been silent while asked to watch", follower.health(False, begin))
        self.server.heal()
        begin = follower.mark()
        answering.set()
        follower.health(True, begin)

    def test_a_list_older_than_what_is_in_force_is_not_taken(self):
        self.server.put("services", service("a"))
        follower = self.following()
        stale = self.server.list_object("services", {})
        self.server.put("services", service("b"))
        follower.put("Service default/b")
        begin = follower.mark()

        def behind(handler):
            handler.begin_chunks()
            handler.chunk(json.dumps(stale))
            handler.end_chunks()
        self.server.fault("watch", "services", answer(410, reason="Expired"))
        self.server.fault("list", "services", behind)
        self.server.end_watches()
        while follower.kind("Service")["lists"] < 3:
            pass
        self.wait_for_watches(follower)
        self.assertEqual(follower.since(begin, "remove"), [])
        self.assertEqual(follower.kind("Service")["errors"]["stale"], 1)
        self.assertNotIn("resourceVersion", self.server.asked("list", "services")[-1].query)

    def test_a_store_that_was_restored_is_believed(self):
        self.server.put("services", service("a"))
        self.server.put("services", service("b"))
        follower = self.following()
        begin = follower.mark()
        self.server.delete("services", "b", quiet=True)
        self.server.roll_back(50)
        ahead = answer(504, reason="Timeout", message="Too large resource version",
                       details={"causes": [{"reason": "ResourceVersionTooLarge"}]})

        def unless_newest(handler):
            request = self.server.requests[-1]
            own = [r for r in self.server.requests if r.path == handler.path][-1]
            if "resourceVersion" in own.query and own.query["resourceVersion"] != "50":
                return ahead(handler)
            return self.server.list(handler, own) if own.verb == "list" else \
                self.server.watch(handler, own or request)
        self.server.fault(None, "services", unless_newest, times=None)
        self.server.end_watches()
        follower.removed("Service default/b", begin)
        self.assertEqual(follower.kind("Service")["version"], "50")
        self.assertEqual(follower.in_force("Service"), ["default/a"])
