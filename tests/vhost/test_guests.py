"""Virtual machines as pods: addresses, Services, unsegmented TCP, and restarts of either side."""

import atexit
import functools
import json
import subprocess
import time
import unittest

import guest as guests
import netns
from node import POD_IP, wait_until
from vhost_node import VhostNode

NETNS = "pw-vhost-tap"
MAC = {"a": "0a:00:00:00:00:02", "b": "0a:00:00:00:00:03", "c": "0a:00:00:00:00:04"}
SERVICE = "10.96.0.10"  # on pod b
BACK_WITHIN_S = 3.0


class Scene:
    """Guests a (two queues, two processors) and c; pod b, a tap, serves iperf3."""

    def __init__(self):
        netns.remove([NETNS])
        netns.create(NETNS)
        self.guests = {}

    def begin(self):
        self.node = VhostNode("--workers", "2", "--queues", "2", pods="ac",
                              taps={"b": netns.path(NETNS)})
        self.set_up_tap()
        for pod, queues in (("a", 2), ("c", 1)):
            self.guests[pod] = guests.Guest(self.node.folder, pod, self.node.socket[pod],
                                            POD_IP[pod], MAC[pod], queues, queues)
        netns.spawn(NETNS, ["iperf3", "-s"], self.node.folder / "iperf3.log")
        for guest in self.guests.values():
            guest.wait_up()
        self.guests["c"].start_in_background("iperf3 -s")

    def set_up_tap(self):
        netns.ip_batch(NETNS, [f"link set eth0 address {MAC['b']} mtu 1480 up",
                               f"addr add {POD_IP['b']}/32 dev eth0",
                               "route add 169.254.1.1 dev eth0",
                               "route add default via 169.254.1.1"])

    def end(self):
        for guest in self.guests.values():
            guest.kill()
        self.node.stop()
        netns.remove([NETNS])


@functools.cache
def scene():
    """One for all tests, or why there is none."""
    made = Scene()
    atexit.register(made.end)
    try:
        made.begin()
    except (RuntimeError, TimeoutError) as error:
        return error
    return made


class Guests(unittest.TestCase):
    def setUp(self):
        if why := guests.missing():
            self.skipTest(why)
        self.scene = scene()
        if isinstance(self.scene, Exception):
            raise self.scene
        self.node, self.guests = self.scene.node, self.scene.guests

    def ping(self, guest, to, count=1, timeout_s=60):
        code, output = guest.run(f"ping -c {count} -i 0.1 -W 1 {to}", timeout_s)
        return code == 0, output

    def bytes_per_second(self, guest, to, options=""):
        """And how many bytes the frames to and from the guest had, on average."""
        before = self.node.port("a")
        code, output = guest.run(f"iperf3 -c {to} -t 2 -J {options}", 60)
        after = self.node.port("a")
        self.assertEqual(code, 0, output[-400:])
        moved = {key: after[key] - before[key] for key in ("rx", "tx", "rx_bytes", "tx_bytes")}
        sizes = {way: moved[f"{way}_bytes"] / max(moved[way], 1) for way in ("rx", "tx")}
        rate = json.loads(output[output.index("{"):])["end"]["sum_received"]["bits_per_second"]
        print(f"# {to} {options}: {rate / 1e6:.0f} Mbit/s, {sizes['rx']:.0f} bytes a frame from "
              f"guest a, {sizes['tx']:.0f} to it")
        return rate, sizes

    def test_1_guests_and_tap_reach_each_other(self):
        for pod, to in (("a", "b"), ("a", "c"), ("c", "b"), ("c", "a")):
            reached, output = self.ping(self.guests[pod], POD_IP[to])
            self.assertTrue(reached, f"{pod} to {to}: {output}")
        for to in "ac":
            done = netns.run(NETNS, ["ping", "-c", "1", "-W", "5", POD_IP[to]], 20)
            self.assertEqual(done.returncode, 0, done.stdout)

    def test_2_large_segments_to_a_tap_through_a_service(self):
        _, sizes = self.bytes_per_second(self.guests["a"], SERVICE)
        self.assertGreater(sizes["rx"], 4000, "the guest's segments come unsegmented")

    def test_3_large_segments_from_a_tap(self):
        _, sizes = self.bytes_per_second(self.guests["a"], SERVICE, "-R")
        self.assertGreater(sizes["tx"], 4000, "the tap's segments arrive unsegmented")

    def test_4_large_segments_between_guests(self):
        _, sizes = self.bytes_per_second(self.guests["a"], POD_IP["c"])
        self.assertGreater(sizes["rx"], 4000)
        _, sizes = self.bytes_per_second(self.guests["a"], POD_IP["c"], "-R")
        self.assertGreater(sizes["tx"], 4000)

    def test_5_both_queues_carry(self):
        """Two processors of the guest, two queues, two workers."""
        code, output = self.guests["a"].run("cat /sys/class/net/eth0/queues/tx-1/xps_cpus")
        self.assertEqual(code, 0, output)
        self.bytes_per_second(self.guests["a"], SERVICE, "-P 4")

    def back_within(self, action):
        """Seconds from `action` until the guest's network works, without touching the guest."""
        began = time.monotonic()
        action()
        while netns.run(NETNS, ["ping", "-c", "1", "-W", "1", POD_IP["a"]], 20).returncode:
            if time.monotonic() - began > 30:
                self.fail(f"not back after 30 s: {self.node.port('a')}")
        return time.monotonic() - began

    def test_6_podwire_killed_and_restarted(self):
        def restart():
            self.node.kill()
            self.node.start()
        took = self.back_within(restart)
        print(f"# podwire killed and restarted: guest reached after {took:.2f} s")
        self.assertLess(took, BACK_WITHIN_S)
        reached, output = self.ping(self.guests["a"], POD_IP["b"])
        self.assertTrue(reached, output)

    def test_7_guest_killed_and_restarted(self):
        self.guests["a"].kill()
        wait_until(lambda: "hung up" in self.node.port("a")["down_reason"], "the port is down")
        self.guests["a"].start()
        self.guests["a"].wait_up()
        began = time.monotonic()
        self.assertTrue(self.ping(self.guests["a"], POD_IP["b"], 5)[0])
        print(f"# guest killed and restarted: answers {time.monotonic() - began:.2f} s after boot")

    def test_8_guest_reboots_under_traffic(self):
        flood = subprocess.Popen(["ip", "netns", "exec", NETNS, "ping", "-q", "-f", POD_IP["a"]],
                                 stdout=subprocess.DEVNULL)
        try:
            # The driver goes and comes: rings are taken away and given back under traffic.
            for _ in range(3):
                device = "$(basename $(readlink /sys/class/net/eth0/device))"
                code, output = self.guests["a"].run(
                    f"cd /sys/bus/virtio/drivers/virtio_net; d={device}; ip link set eth0 down; "
                    "echo $d >unbind; echo $d >bind; "
                    f"ip link set eth0 mtu 1480 up; ip addr add {POD_IP['a']}/32 dev eth0; "
                    "ip route add 169.254.1.1 dev eth0; ip route add default via 169.254.1.1")
                self.assertEqual(code, 0, output)
                # One at a time until one is answered: what the guest sends before it has noticed
                # that its card is there again never leaves it.
                before = self.node.stats()["drops"]
                code, output = self.guests["a"].run(
                    f"for n in $(seq 10); do ping -c 1 -W 1 {POD_IP['b']} && break; done", 60)
                drops = {reason: count - before.get(reason, 0)
                         for reason, count in self.node.stats()["drops"].items()}
                self.assertEqual(code, 0, f"{output} {self.node.port('a')} {drops}")
        finally:
            flood.kill()
            flood.wait()

    def test_9_ledger_closes(self):
        def balanced():
            now = self.node.stats()
            return now["received"] + now["originated"] == \
                now["sent"] + now["dropped"] + now["holding"]
        wait_until(balanced, "the ledger closes")


if __name__ == "__main__":
    unittest.main()
