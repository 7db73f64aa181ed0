"""kill -9: the node's and the pods' addresses stay, and traffic goes on after a new start."""
import signal

import smoke
from smoke import netns

with smoke.node() as n:
    n.start()
    a, b = n.pod("a"), n.pod("b")
    assert n.ping("a", b) and n.ping("a", smoke.PEER)
    n.stop(signal.SIGKILL)
    assert a in netns.ip("-n", n.pods["a"], "addr"), "the pod's address is gone"
    assert smoke.NODE in netns.ip("-n", n.namespace, "addr"), "the node's address is gone"
    assert not n.ping("a", b, 1), "somebody else forwards"
    n.start()
    netns.wait_until(lambda: n.ping("a", b, 1) and n.ping("b", smoke.PEER, 1), 10, "traffic again")
    assert n.cni("ADD", "a", n.pods["a"], ("default", "a"))["ips"][0]["address"].startswith(a)
