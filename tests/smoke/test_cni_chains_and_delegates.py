"""podwire-cni in lists with Debian's plugins: addresses by host-local and static, tuning and
portmap behind it, another plugin before it; whatever was made is gone after DEL, or after GC."""
import json

import smoke
from cni_list import refused
from smoke import cni_list, netns

RANGE = {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/24", "rangeStart": "10.77.0.10"}]],
         "routes": [{"dst": "10.0.0.0/8"}, {"dst": "0.0.0.0/0"}]}
STATIC = {"type": "static", "addresses": [{"address": "10.78.0.5/24", "gateway": "10.78.0.1"}],
          "routes": [{"dst": "10.0.0.0/8"}], "dns": {"nameservers": ["10.96.0.10"]}}


with smoke.node() as n:
    n.start()
    networks = n.folder / "networks"
    pod = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME="

    # host-local gives, tuning and portmap come after: in 0.4.0 as in 1.0.0.
    for version in ("0.4.0", "1.0.0"):
        chain = cni_list.List("net", [
            n.plugin(ipam={**RANGE, "dataDir": str(networks)}),
            {"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.arp_announce": "2"}},
            {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}], version)
        result = chain.add("a", n.sandbox("a"), arguments=pod + "a")
        assert result["cniVersion"] == version and ("version" in result["ips"][0]) == (
            version == "0.4.0"), result
        address = result["ips"][0]["address"]
        assert address.startswith("10.77.0.1") and address.endswith("/32"), result
        assert [r["dst"] for r in result["routes"]] == ["10.0.0.0/8", "0.0.0.0/0"], result
        assert "10.0.0.0/8 via 169.254.1.1" in netns.ip("-n", n.pods["a"], "route")
        chain.check("a")
        netns.ip("-n", n.pods["a"], "route", "del", "10.0.0.0/8")
        refused(lambda: chain.check("a"), 100,
                f"{netns.path(n.pods['a'])}: eth0: has lost its route to 10.0.0.0/8")
        assert any(p["ips"] == [address.split("/")[0]] for p in n.ctl("pods")), n.ctl("pods")
        if version == "0.4.0":
            chain.remove("a")
            chain.remove("a")
            netns.remove([n.pods["a"]])
    # The pod works with its foreign address: the node's own route leads there by its pools only, so
    # another pod is asked.
    address = address.split("/")[0]
    chain.add("b", n.sandbox("b"), arguments=pod + "b")
    assert n.ping("b", address)

    # What podwired refuses is given back to the plugin; a plugin that fails is heard.
    assert len(list((networks / "net").glob("10.*"))) == 2
    refused(lambda: chain.add("c", n.sandbox("c"), arguments=pod + "nobody"), 11,
            "Pod default/nobody is not known to podwired yet")
    assert len(list((networks / "net").glob("10.*"))) == 2, "the address of a failed ADD is kept"
    bad = cni_list.List("bad", [n.plugin(ipam={"type": "host-local"})])
    try:
        bad.add("c", netns.path(n.pods["c"]))
        raise AssertionError("host-local without a range succeeds")
    except cni_list.Refused as error:
        assert error.sentence.startswith("ipam host-local: "), error
    missing = cni_list.List("bad", [n.plugin(ipam={"type": "nothing"})])
    refused(lambda: missing.add("c", netns.path(n.pods["c"])), 7,
            f'ipam.type: there is no plugin "nothing" in CNI_PATH {missing.path}')

    # GC by 1.1.0: what is not valid goes, the plugin's addresses with it, though host-local of
    # Debian 12 has no GC. So does an ADD's that was killed before podwired knew of it.
    collector = cni_list.List("net", [n.plugin(ipam={**RANGE, "dataDir": str(networks)})], "1.1.0")
    collector.status()
    made = n.folder / "state" / "made-by-plugin"
    killed = json.loads((made / "b-eth0.json").read_text()) | {"containerID": "killed"}
    chain.execute("ADD", RANGE | {"ipam": {**RANGE, "dataDir": str(networks)}}, "killed",
                  netns.path(n.pods["c"]), "eth0")
    (made / "killed-eth0.json").write_text(json.dumps(killed))
    assert len(list((networks / "net").glob("10.*"))) == 3
    collector.collect_garbage([("a", "eth0")])
    assert [f.name for f in (networks / "net").glob("10.*")] == [address]
    assert [p["container"] for p in n.ctl("pods") if p["attached"]] == ["a"]
    # DEL with podwired away: noted, and the plugin's address is free at once.
    n.stop()
    chain.remove("a", netns="")
    assert not list((networks / "net").glob("10.*"))
    n.start()
    netns.wait_until(lambda: not n.left_behind(), 10, "the noted delete to be carried out")
    assert not [p for p in n.ctl("pods") if p["attached"]], n.ctl("pods")

    # A second interface of a pod: an address of its own that answers by itself, no default route.
    extra = cni_list.List("extra", [n.plugin(capabilities={"mac": True})])
    mac = "02:00:00:00:00:09"
    both = [extra.add("b", netns.path(n.pods["b"]), interface, pod + "b", runtime={"mac": mac})
            for interface in ("eth0", "net1")]
    assert [r["interfaces"][0]["mac"] for r in both] == [mac, mac], both
    for result in both:
        n.pods["peer"] = n.peer
        assert n.ping("peer", result["ips"][0]["address"].split("/")[0]), result
    assert netns.ip("-n", n.pods["b"], "route").count("default") == 1
    assert len(netns.ip("-n", n.pods["b"], "rule").splitlines()) == 4
    extra.check("b", "net1")
    extra.remove("b", "net1")
    assert len(netns.ip("-n", n.pods["b"], "rule").splitlines()) == 3
    extra.remove("b")

    # static, its DNS, and a plugin before ours whose result is passed on.
    first = cni_list.List("two", [
        {"type": "ptp", "ipam": {**RANGE, "dataDir": str(networks)}},
        n.plugin(ipam=STATIC)], "1.0.0")
    refused(lambda: first.add("b", netns.path(n.pods["b"])), 7,
            "prevResult: an earlier plugin has made the interface eth0 already")
    first.remove("b")
    second = cni_list.List("two", [n.plugin(ipam=STATIC)], "0.3.1")
    before = {"cniVersion": "0.3.1", "interfaces": [{"name": "lo", "sandbox": "/x"}],
              "ips": [{"version": "4", "address": "127.0.0.1/8", "interface": 0}], "dns": {}}
    result = second.execute("ADD", second.plugins[0], "b", netns.path(n.pods["b"]), "net1",
                            prevResult=before)
    assert [i["name"] for i in result["interfaces"]] == ["lo", "net1"], result
    assert [(i["address"], i["interface"]) for i in result["ips"]] == [
        ("127.0.0.1/8", 0), ("10.78.0.5/32", 1)], result
    assert result["dns"]["nameservers"] == ["10.96.0.10"], result
    second.remove("b", "net1", netns.path(n.pods["b"]))
    assert not n.left_behind(), n.left_behind()
