"""A second podwired on the same run folder or uplink is told so, and the first lives."""
import smoke

with smoke.node() as n:
    n.start()
    a, b = n.pod("a"), n.pod("b")
    said = n.refuses_to_start()
    assert any(word in said for word in ("in use", "running", "already", "lock")), said
    said = n.refuses_to_start(run_dir=n.folder / "second", state_dir=n.folder / "second-state",
                              eal_prefix="pw-second", host_tap="podwire1")
    assert any(word in said for word in ("in use", "running", "already")), said
    assert n.ping("a", b) and n.process.poll() is None
