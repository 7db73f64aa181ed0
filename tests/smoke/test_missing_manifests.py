"""A manifests folder that is not there yet is waited for; one that goes away changes nothing."""
import shutil

import smoke
from smoke import lab, netns

with smoke.node() as n:
    aside = n.folder / "aside"
    n.manifests.rename(aside)
    n.process = netns.spawn(n.namespace, [lab.program("podwired"), "--config", str(n.config)],
                            n.log, env=lab.clean_environment())
    netns.wait_until(lambda: str(n.manifests) in n.log.read_text(), 10, "the log names the folder")
    netns.wait_until(lambda: (n.run_dir / "podwired.sock").exists(), 10, "its socket")
    assert not n.ctl("status")["sourceHealthy"] and not n.ctl("status")["synced"]
    aside.rename(n.manifests)
    netns.wait_until(lambda: n.ctl("status")["synced"], 10, "synced once the folder is there")
    n.pod("a")
    address = n.pod("b")
    shutil.rmtree(n.manifests)
    netns.wait_until(lambda: not n.ctl("status")["sourceHealthy"], 5, "status tells")
    assert n.ping("a", address), "traffic stopped"
