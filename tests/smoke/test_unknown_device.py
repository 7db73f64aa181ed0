"""An uplink that does not exist: one sentence that names it."""
import smoke

with smoke.node() as n:
    said = n.refuses_to_start(uplink="net_af_packet0,iface=eth7")
    assert "eth7" in said, said
    said = n.refuses_to_start(uplink="net_no_such_driver0")
    assert "net_no_such_driver0" in said, said
