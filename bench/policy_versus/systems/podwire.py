"""podwired with the pods on taps, one polling worker on the measured core."""

import os
import shutil
import signal
import time
from pathlib import Path

import lab
import netns
import objects
import scene as scene_module
from systems import System, run_ns


STEERING = "/sys/class/net/eth0/queues/rx-0/rps_cpus"  # a tap of one worker has one queue


class Podwire(System):
    name = "podwire"
    about = "podwired, one worker that polls, pods on taps"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.worker = None
        self.node = lab.Node(scene_module.NODE)
        self.node.namespace = self.namespace()
        self.node.folder = self.folder / "podwire"
        self.node.run_dir = self.node.folder / "run"
        self.node.log = self.node.folder / "podwired.log"
        self.node.config = self.node.folder / "podwired.conf"

    @classmethod
    def missing(cls):
        try:
            for program in ("podwired", "podwirectl", "podwire-cni"):
                lab.program(program)
        except FileNotFoundError as error:
            return str(error)
        here = os.path.exists(STEERING.replace("eth0", "lo"))
        return None if here else "the kernel has no receive packet steering (CONFIG_RPS)"

    def start(self):
        manifests = self.node.folder / "manifests"
        manifests.mkdir(parents=True)
        objects.write(self.scene, manifests)
        netns.create(self.namespace())
        self.node.write_config(
            manifests, node_address=f"{scene_module.NODE_ADDRESS}/24", workers="1",
            worker_cores=str(self.cores.system), idle_sleep="false", uplink="net_null0,no-rx=1",
            packet_buffers="16384", memory_mb="256", metrics_address="", healthz_address="",
            count_policy_drops=None, flows_v4=str(max(self.flows, 262_144)),
            # What ended makes room, as in the kernel's systems.
            timeout_tcp_close="1", timeout_udp="2")
        began = time.monotonic()
        self.node.start(timeout_s=60)
        seconds = time.monotonic() - began
        for pod in self.scene.local:
            self.add_pod(pod)
        for task in Path(f"/proc/{self.node.process.pid}/task").iterdir():
            if os.sched_getaffinity(int(task.name)) == {self.cores.system}:
                self.worker = int(task.name)
            else:
                os.sched_setaffinity(int(task.name), {self.cores.pods})
        problems = self.node.problems()
        if problems or self.worker is None:
            raise RuntimeError(f"podwired refuses objects: {problems[0]}" if problems else
                               "podwired has no worker on its core")
        return seconds

    def add_pod(self, pod):
        namespace = self.namespace(pod)
        netns.create(namespace)
        result = self.node.cni("ADD", f"pv-{pod.name}", namespace,
                               (scene_module.NAMESPACE, pod.name))
        got = result["ips"][0]["address"].split("/")[0]
        if got != pod.address:
            raise RuntimeError(f"{pod.name} was given {got} instead of {pod.address}")
        # What podwired writes to a tap is the pod's to receive, on the pods' core: without this the
        # writer, podwired's worker, would run the pod's TCP.
        done = netns.run(namespace, ["sh", "-c", f"echo {1 << self.cores.pods:x} > {STEERING}"])
        if done.returncode:
            raise RuntimeError(f"{namespace}: {done.stderr.strip()}")

    def resume(self):
        self.signal(signal.SIGCONT)

    def pause(self):
        self.signal(signal.SIGSTOP)

    def signal(self, number):
        if self.node.process is not None and self.node.process.poll() is None:
            os.kill(self.node.process.pid, number)

    def sample(self):
        sums = self.node.ctl("counters")["sum"]
        return sums["busyCycles"], sums["idleCycles"], run_ns(self.worker)

    def busy_ns(self, before, after):
        """The worker polls: of the time that it had its core, the share of rounds with packets."""
        busy, idle, ran = (b - a for a, b in zip(before, after))
        return ran * busy / (busy + idle)

    def stop(self):
        if self.node.process is not None:
            self.resume()
            self.node.stop()
            self.node.process = None
        netns.remove([name for name in self.namespaces() if netns.exists(name)])
        shutil.rmtree(self.node.folder, ignore_errors=True)
