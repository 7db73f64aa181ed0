"""One sentence that names the file, the line and the key; exit code not 0."""
import smoke

with smoke.node() as n:
    for overrides, words in (({"workers": "many"}, ["workers", "many"]),
                             ({"no-such-key": 1}, ["no-such-key"]),
                             ({"service-range": "10.96.0.0/99"}, ["service-range", "10.96.0.0/99"]),
                             ({"pod-mtu": 12}, ["pod-mtu"])):
        said = n.refuses_to_start(**overrides)
        assert all(word in said for word in words), said
        assert str(n.config) in said, said
