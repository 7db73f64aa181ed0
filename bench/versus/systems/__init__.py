"""What a system under test is to bench/versus. One file here for each; see ../README.md."""

from dataclasses import dataclass


@dataclass
class Counters:
    """Since the system started: packets that it has forwarded, and what its one core has worked for
    them: either TSC cycles or nanoseconds, whichever the system itself knows."""
    packets: int
    busy_cycles: float = 0
    busy_ns: float = 0


class System:
    """A router with the scene's Services, on one core, with one port towards the generator."""

    name = ""     # in the table and the JSON
    about = ""    # one line: which program, in which way
    # The network namespace in which the generator runs; it exists from start() to stop().
    generator_namespace = None
    receive_queues = 1  # of the generator's device

    def __init__(self, scene, folder, core, other_core, flows):
        """`core` is the measured one; all that is not the packets' way belongs on `other_core`.
        `folder` is its own to use. It must have room for `flows` connections."""
        self.scene, self.folder, self.flows = scene, folder, flows
        self.core, self.other_core = core, other_core

    @classmethod
    def missing(cls):
        """What keeps it from running on this machine, in a few words; None when nothing does."""
        return None

    def start(self):
        """Comes back when packets can be sent. What it started is ended by stop()."""
        raise NotImplementedError

    def device(self):
        """The DPDK device string of the generator's end of the wire."""
        raise NotImplementedError

    def counters(self):
        raise NotImplementedError

    def stop(self):
        """Ends all and removes it: also after a start() that failed half-way, also what an earlier
        run that was killed has left."""
        raise NotImplementedError
