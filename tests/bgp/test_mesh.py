"""Three nodes in full mesh, as a cluster without any BGP object has it."""

import re
import signal
import stat

import bgp_lab
import lab
import netns
from bgp_lab import pod_object, thing


class MeshLab(bgp_lab.BgpLab):
    count = 3
    config = {"bgp-mesh-bfd": "true", "bgp-bfd-interval-ms": "100"}

    @staticmethod
    def needs():
        return bgp_lab.missing_program("/usr/sbin/bird")


class Mesh(bgp_lab.Case):
    topology = MeshLab

    def setUp(self):
        super().setUp()
        self.whole()

    def others(self, name):
        return {n: node for n, node in self.lab.nodes.items() if n != name}

    def whole(self):
        """Every node has a session with every other, in both families, and its pod ranges."""
        for name in self.lab.nodes:
            others = self.others(name)
            addresses = {a for node in others.values() for a in node.addresses.values()}
            self.equal_soon(lambda: self.lab.peers(name), addresses, 40)
            for family in (4, 6):
                self.equal_soon(lambda: self.lab.linux_routes(name, family), {
                    self.lab.ranges[n][family]: node.addresses[family]
                    for n, node in others.items()})

    def two_pods(self):
        """w1 on n1, w2 on n2; the same for all tests."""
        if "w1" not in self.lab.pods:
            self.lab.objects("pods", [pod_object("w1", "n1"), pod_object("w2", "n2")])
            self.lab.pod("w1", "n1")
            self.lab.pod("w2", "n2")
        return self.lab.pods["w1"], self.lab.pods["w2"]

    def test_every_node_learns_the_others_ranges(self):
        """And podwire has what Linux has; nothing is wrong; metrics say so."""
        for name, node in self.lab.nodes.items():
            for other in self.others(name):
                for family in (4, 6):
                    self.assertIn(self.lab.ranges[other][family], self.lab.podwire_routes(name))
            self.assertEqual(node.problems(), [])
            seen = node.ctl("bgp")
            self.assertEqual((seen["asNumber"], seen["routerId"]), (64512, node.addresses[4]))
            # podwired asks bird once a second.
            self.equal_soon(lambda: {(p["imported"], p["exported"])
                                     for p in node.ctl("bgp")["peers"]}, {(1, 1)})
        page = netns.run(self.lab.nodes["n1"].namespace,
                         ["curl", "-s", "http://127.0.0.1:10249/metrics"]).stdout
        self.assertIn('podwire_bgp_peer_established{peer="Mesh_172_18_0_12"} 1', page)
        self.assertIn('podwire_bgp_peer_imported_routes{peer="Mesh_172_18_0_12"} 1', page)
        self.assertIn("podwire_bgp_bird_up 1", page)

    def test_text_for_people_names_peers(self):
        peer = r"172\.18\.0\.12 +64512 +n2 +node mesh +Established +1 +1"

        def text():
            return bgp_lab.run(lab.program("podwirectl"), "--run-dir",
                               str(self.lab.nodes["n1"].run_dir), "bgp").stdout
        # podwired asks bird once a second.
        self.equal_soon(lambda: re.search(peer, text()) is not None, True, 5)
        self.assertRegex(text(), r"BIRD 2\.\S+, router 172\.18\.0\.11, AS 64512\n")

    def test_killed_bird_is_said_and_what_it_taught_stays(self):
        node, routes = self.lab.nodes["n1"], self.lab.linux_routes("n1", 4)
        bgp_lab.kill_now(node.bird)
        said = self.problem("n1", "bird does not answer")
        self.assertIn("what it has taught Linux stays in force", said)
        self.assertEqual(self.lab.linux_routes("n1", 4), routes)
        self.assertIn(self.lab.ranges["n2"][4], self.lab.podwire_routes("n1"))
        # The others wait for it to come back: graceful restart.
        self.assertIn(self.lab.ranges["n1"][4], self.lab.linux_routes("n2", 4))
        node.start_bird()
        self.whole()
        self.no_problem("n1")

    def test_refused_configuration_leaves_the_last_one(self):
        """BIRD's hold time is 240 s, and its sentence is its own."""
        node = self.lab.nodes["n1"]
        before = (node.folder / "state/bird.conf").read_text()
        self.lab.objects("bgp", [thing("BGPPeer", "odd", {
            "peerIP": "192.0.2.9", "asNumber": 65001, "keepaliveTime": "300s"})])
        said = self.problem("n1", "bird refuses the configuration")
        self.assertRegex(said, r": Keepalive time must be at most hold time \(line \d+\); the last "
                               r"good one stays in force$")
        self.assertEqual((node.folder / "state/bird.conf").read_text(), before)
        self.lab.objects("bgp", [])
        self.no_problem("n1")

    def test_password_is_used_and_kept_to_itself(self):
        self.lab.objects("bgp", [
            bgp_lab.secret("bgp", mesh="pa55 of the mesh"),
            thing("BGPConfiguration", "default", {"nodeMeshPassword": {
                "secretKeyRef": {"name": "bgp", "key": "mesh"}}})])
        node = self.lab.nodes["n1"]
        conf = node.folder / "state/bird.conf"
        self.eventually(lambda: "pa55" in conf.read_text(), "the password")
        self.assertEqual(stat.S_IMODE(conf.stat().st_mode), 0o600)
        # Sessions begin anew with it.
        self.whole()
        for text in (node.log.read_text(), str(node.ctl("bgp")), str(node.ctl("status"))):
            self.assertNotIn("pa55", text)
        self.lab.objects("bgp", [])
        self.eventually(lambda: "pa55" not in conf.read_text(), "the password to go")
        self.whole()

    def test_restart_of_podwired_leaves_bird_alone(self):
        node = self.lab.nodes["n2"]
        began = node.folder / "bird.log"
        length = len(began.read_text())
        node.stop(signal.SIGKILL)
        node.start()
        self.whole()
        self.assertEqual(node.ctl("bgp")["reloads"], 0)
        self.assertNotIn("Reconfiguring", began.read_text()[length:])

    def test_node_that_loses_power_is_gone_within_bfd_time(self):
        """BFD misses 3 packets of 100 ms; BGP's hold time is 240 s."""
        self.eventually(lambda: self.lab.peers("n1", False) == set(), "sessions")
        one, two = self.two_pods()
        gone = {self.lab.ranges["n3"][family] for family in (4, 6)}
        with self.lab.pinging(one, two.addresses[4]) as unaffected:
            self.lab.kill("n3")
            try:
                took = self.eventually(
                    lambda: not gone & set(self.lab.linux_routes("n1", 4)),
                    "the dead node's route to go", 10)
                self.assertLess(took, 3)
                self.assertIn(self.lab.ranges["n2"][4], self.lab.linux_routes("n1", 4))
                # podwire forgets it, too, though the Node still claims its range.
                self.eventually(lambda: not gone & self.lab.podwire_routes("n1"),
                                "podwire to forget", 5)
                self.assertIn(self.lab.ranges["n2"][4], self.lab.podwire_routes("n1"))
            finally:
                self.lab.revive("n3")
            self.whole()
            self.eventually(lambda: gone < self.lab.podwire_routes("n1"), "podwire to learn again")
        self.assertEqual(unaffected["lost"], 0, unaffected)

    def test_changes_of_routes_lose_no_packet_of_others(self):
        """5,000 changes under traffic; podwire has what Linux has at the end. As another daemon's
        than bird's, who would take away what it does not know."""
        one, two = self.two_pods()
        namespace, by = self.lab.nodes["n1"].namespace, self.lab.nodes["n3"].addresses[4]
        prefixes = [f"198.{18 + n // 250}.{n % 250}.0/24" for n in range(500)]
        with self.lab.pinging(one, two.addresses[4]) as seen:
            for _ in range(4):
                netns.ip_batch(namespace, [f"route add {p} via {by} proto zebra" for p in prefixes])
                netns.ip_batch(namespace, [f"route del {p} via {by} proto zebra" for p in prefixes])
            netns.ip_batch(namespace, [f"route add {p} via {by} proto zebra" for p in prefixes])
            self.eventually(lambda: set(prefixes) < self.lab.podwire_routes("n1"),
                            "podwire to learn")
            netns.ip_batch(namespace, [f"route del {p} via {by} proto zebra" for p in prefixes])
            self.eventually(lambda: not set(prefixes) & self.lab.podwire_routes("n1"),
                            "podwire to forget")
        self.assertEqual(seen["lost"], 0, seen)
