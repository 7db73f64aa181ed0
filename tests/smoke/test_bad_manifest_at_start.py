"""What is good comes into force although a file beside it is broken, and status says where."""
import smoke
from smoke import netns

with smoke.node() as n:
    (n.manifests / "broken.yaml").write_text("kind: Service\nspec: [\n")
    n.start()
    n.pod("a"), n.pod("b")
    address = netns.ip("-n", n.pods["b"], "-4", "-br", "addr", "show", "dev", "eth0").split()[2]
    assert n.ping("a", address.split("/")[0])
    problems = n.problems()
    assert len(problems) == 1 and "broken.yaml:" in problems[0], problems
    (n.manifests / "broken.yaml").unlink()
    netns.wait_until(lambda: not n.problems(), 5, "the correction is seen")
