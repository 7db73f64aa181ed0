"""DEL takes the interface away and frees the address; a second DEL is no error."""
import smoke
from smoke import netns

with smoke.node() as n:
    n.start()
    first = n.pod("a")
    for _ in range(2):
        n.cni("DEL", "a", n.pods["a"], ("default", "a"))
    assert "eth0" not in netns.ip("-n", n.pods["a"], "-br", "link")
    second = n.pod("b")
    netns.remove([n.pods["b"]])
    n.cni("DEL", "b", n.pods["b"], ("default", "b"))
    assert not [p for p in n.ctl("pods") if p["attached"]], n.ctl("pods")
    again = n.cni("ADD", "a", n.pods["a"], ("default", "a"))["ips"][0]["address"]
    assert again.split("/")[0] not in ("", None) and first and second
