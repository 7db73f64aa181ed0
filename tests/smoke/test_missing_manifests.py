"""No manifests folder: podwired says so, and a folder that goes away later changes nothing."""
import shutil

import netns
import smoke

with smoke.node() as n:
    said = n.refuses_to_start(manifests=n.folder / "nowhere")
    assert "nowhere" in said, said
    n.write_config(n.manifests)
    n.start()
    n.pod("a"), n.pod("b")
    address = netns.ip("-n", n.pods["b"], "-4", "-br", "addr", "show", "dev", "eth0").split()[2]
    shutil.rmtree(n.manifests)
    netns.wait_until(lambda: not n.ctl("status")["sourceHealthy"], 5, "status tells")
    assert n.ping("a", address.split("/")[0]), "traffic stopped"
