"""Containers that Debian's containerd and runc run, attached through the conflist as it is
shipped."""
import threading
import time
from pathlib import Path

import case
import lab
import netns


class Containerd(case.RuntimeCase):
    def test_ctr_run_with_cni(self):
        done = self.runtime.ctr_run_with_cni("one", ["/bin/ip", "-o", "-4", "addr", "show", "eth0"])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"inet 10\.244\.[0-3]\.\d+/32")

    def test_pods_reach_each_other_and_the_node(self):
        netns.wait_until(self.cri.network_ready, 10, "containerd says that the network is ready")
        _, _, (first,) = self.run_pod("a")
        sandbox, config, (second,) = self.run_pod("b")
        self.assertEqual(self.attached()["default/b"]["ips"], [second])
        inside = self.program(sandbox, config, "/bin/sleep", "1000")
        for address in (first, "172.18.0.100"):
            code, output = self.cri.execute(inside, ["ping", "-c", "1", "-W", "2", address])
            self.assertEqual(code, 0, output)
        self.assertEqual(netns.run(self.node.namespace, ["ping", "-c", "1", "-W", "2",
                                                         second]).returncode, 0)

    def test_bandwidth_of_the_annotations_that_kubelets_know(self):
        self.run_pod("a", annotations={"kubernetes.io/ingress-bandwidth": "10M",
                                       "kubernetes.io/egress-bandwidth": "2M"})
        self.run_pod("b")
        pods = self.attached()
        burst = 2 ** 32 - 1  # containerd's choice, in bits
        self.assertEqual(pods["default/a"]["bandwidth"], {
            "ingressRate": 10_000_000, "ingressBurst": burst,
            "egressRate": 2_000_000, "egressBurst": burst})
        self.assertNotIn("bandwidth", pods["default/b"])

    def test_host_port(self):
        sandbox, config, _ = self.run_pod("a", port_mappings=[("tcp", 8080, 54321, "127.0.0.1"),
                                                              ("tcp", 8080, 54322, "")])
        self.program(sandbox, config, "/bin/httpd", "-f", "-p", "8080")
        for place in ("127.0.0.1:54321", "127.0.0.1:54322", "172.18.0.11:54322"):
            done = netns.run(self.node.namespace, [
                "curl", "-s", "-m", "3", "--retry", "5", "--retry-connrefused", "-o", "/dev/null",
                "-w", "%{http_code}", f"http://{place}/"], timeout_s=30)
            self.assertEqual(done.stdout, "404", f"{place}: {done}")

    def test_stop_twice_and_restart_of_podwired_between(self):
        sandbox, config, (address,) = self.run_pod("a")
        inside = self.program(sandbox, config, "/bin/sleep", "1000")
        self.node.stop()
        # No ADD without podwired, and nothing of the attempt is left; it is ready again by itself.
        with self.assertRaises(Exception) as refused:
            self.cri.run_sandbox(self.cri.sandbox_config("b"))
        self.assertIn("podwired does not answer", str(refused.exception))
        self.node.start()
        self.assertEqual(self.attached()["default/a"]["ips"], [address])
        code, output = self.cri.execute(inside, ["ping", "-c", "1", "-W", "2", "172.18.0.100"])
        self.assertEqual(code, 0, output)
        self.cri.stop_sandbox(sandbox)
        self.cri.stop_sandbox(sandbox)
        self.assertEqual(self.attached(), {})
        # A sandbox that is stopped while podwired is away: its DEL is made good afterwards.
        other, _, _ = self.run_pod("b")
        self.node.stop()
        self.cri.stop_sandbox(other)
        self.node.start()
        netns.wait_until(lambda: not self.attached(), 5, "the DEL to be made good")

    def test_many_pods_at_once_and_nothing_left(self):
        process = Path("/proc") / str(self.node.process.pid)
        descriptors = len(list((process / "fd").iterdir()))
        held = {t["table"]: t["used"] for t in self.node.ctl("status")["tables"]}
        resident = self.resident_kb(process)
        sandboxes, lock = {}, threading.Lock()

        def run(i):
            sandbox = self.cri.run_sandbox(self.cri.sandbox_config(f"p{i}"))
            with lock:
                sandboxes[i] = sandbox

        began = time.monotonic()
        try:
            lab.in_parallel(run, range(case.PODS))
            took = time.monotonic() - began
            addresses = [self.cri.addresses(s)[0] for s in sandboxes.values()]
            self.assertEqual(len(set(addresses)), case.PODS)
            self.assertEqual(len(self.attached()), case.PODS)
            print(f"{case.PODS} pods by containerd in {took:.1f} s; podwired's memory grew by "
                  f"{(self.resident_kb(process) - resident) / case.PODS:.0f} KiB an idle pod",
                  flush=True)
        finally:
            lab.in_parallel(self.end_pod, sandboxes.values())
        self.assert_nothing_left()
        netns.wait_until(lambda: len(list((process / "fd").iterdir())) <= descriptors + 2, 10,
                         "the ports' descriptors to be closed")
        for table in self.node.ctl("status")["tables"]:
            if "buffers" in table["table"]:
                self.assertLessEqual(table["used"], held[table["table"]], table)

    @staticmethod
    def resident_kb(process):
        line = next(line for line in (process / "status").read_text().splitlines()
                    if line.startswith("VmRSS"))
        return int(line.split()[1])
