"""What a system under test is to bench/policy_versus: a node with the scene's local pods in network
namespaces and the scene's policies in force."""

from dataclasses import dataclass
from pathlib import Path

PREFIX = "pv"  # of every network namespace that is made


def run_ns(thread):
    """How long a thread has had a core, by the scheduler."""
    return int(Path(f"/proc/{thread}/schedstat").read_text().split()[0])


@dataclass
class Cores:
    pods: int    # the pods' own work, and that of who sends
    system: int  # what is measured
    inline: bool = False  # the kernel's own way: a packet is the sender's core's from end to end


class System:
    name = ""   # in the table and the JSON
    about = ""  # one line: which program, in which way

    def __init__(self, scene, folder, cores, flows):
        """`folder` is its own to use. It must have room for `flows` new flows a second or so."""
        self.scene, self.folder, self.cores, self.flows = scene, folder, cores, flows

    @classmethod
    def missing(cls):
        """What keeps it from running on this machine, in a few words; None when nothing does."""
        return None

    def namespace(self, pod=None):
        """That of a pod, or the node's."""
        return f"{PREFIX}-{self.name}-{pod.name if pod else 'node'}"

    def namespaces(self):
        return [self.namespace(), *(self.namespace(pod) for pod in self.scene.local)]

    def start(self):
        """Comes back when the pods are there and the policies in force; what it started is ended by
        stop(). Returns the seconds that programming the policies has taken."""
        raise NotImplementedError

    def sample(self):
        """What busy_ns() needs to know at the beginning and at the end of a measurement."""
        raise NotImplementedError

    def busy_ns(self, before, after):
        """How long the measured core has worked for the system between two samples, without the
        time that it was others'; None: nobody knows."""
        return after - before

    def resume(self):
        """Its turn begins."""

    def pause(self):
        """Its turn has ended: from now on it takes no core's time."""

    def stop(self):
        """Ends and removes all, also after a start() that failed half-way, also what an earlier run
        that was killed has left."""
        raise NotImplementedError
