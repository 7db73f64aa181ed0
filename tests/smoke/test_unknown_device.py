"""An uplink that does not exist, or whose buffers hold no frame: one sentence that names it."""
import smoke

with smoke.node() as n:
    said = n.refuses_to_start(uplink="net_af_packet0,iface=eth7")
    assert "eth7" in said, said
    said = n.refuses_to_start(uplink="net_no_such_driver0")
    assert "net_no_such_driver0" in said, said
    said = n.refuses_to_start(uplink="net_memif0,role=server,bsize=512")
    assert ("buffers for frames of 512 bytes are too small, since one has 1514; raise bsize or "
            "framesz, or leave it out") in said, said
