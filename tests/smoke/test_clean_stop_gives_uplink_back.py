"""SIGTERM: exit code 0, and the uplink's kernel device has its addresses and routes again."""
import smoke
from smoke import netns

with smoke.node() as n:
    before = netns.ip("-n", n.namespace, "route")
    n.start()
    assert smoke.NODE not in netns.ip("-n", n.namespace, "addr", "show", "dev", "eth0")
    assert smoke.NODE in netns.ip("-n", n.namespace, "addr", "show", "dev", "podwire0")
    assert n.stop() == 0, "exit code"
    assert smoke.NODE in netns.ip("-n", n.namespace, "addr", "show", "dev", "eth0")
    assert set(before.split("\n")) <= set(netns.ip("-n", n.namespace, "route").split("\n"))
    done = netns.run(n.peer, ["ping", "-n", "-c", "1", "-W", "2", smoke.NODE])
    assert done.returncode == 0, "the node does not answer without podwired"
