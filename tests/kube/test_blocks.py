"""Addresses out of Calico's blocks, which two podwireds take and give back on one API server."""

import concurrent.futures
import contextlib
import json
import shutil

import case
import kube_lab
import lab
import netns
from client import ApiError, GROUPS
from cluster import ADDRESS, PORT

KINDS = ("IPPool", "BlockAffinity", "IPAMBlock", "IPAMHandle", "IPAMConfig", "IPReservation")
ROUNDS = 100
TUNNEL = "projectcalico.org/IPv4IPIPTunnelAddr"


class BlockNode(lab.Node):
    """podwired in a namespace of its own with a link to the API server and no other."""

    def __init__(self, test, name, number):
        super().__init__(name)
        self.test, self.number = test, number
        self.namespace = f"{lab.PREFIX}.{name}"
        self.folder = test.cluster.folder / f"blocks-{name}"
        self.run_dir, self.log = self.folder / "run", self.folder / "podwired.log"
        self.config = self.folder / "podwired.conf"

    def wire(self, **config):
        far = f"blocks{self.number}"
        ours, theirs = (f"198.51.100.{4 * self.number + end}" for end in (1, 2))
        netns.create(self.namespace)
        netns.ip_batch(self.namespace, [
            f"link add api0 type veth peer name {far} netns {self.test.cluster.namespace}",
            f"addr add {ours}/30 dev api0", "link set api0 up", "link set lo up"])
        netns.ip_batch(self.test.cluster.namespace, [f"addr add {theirs}/30 dev {far}",
                                                     f"link set {far} up"])
        netns.ip_batch(self.namespace, [f"route add {ADDRESS}/32 via {theirs} dev api0"])
        alone = {"uplink": f"net_null{self.number},no-rx=1",
                 "node_address": f"172.18.9.{self.number}/24"}
        self.write_config(
            [], **(config or alone), kubeconfig=self.test.cluster.write_kubeconfig(
                f"{self.name}.conf", f"https://{ADDRESS}:{PORT}",
                token=self.test.podwires_account()))

    def add(self, container, pod=None):
        """The address that a container of this name gets; `pod`: (namespace, name)."""
        result = self.cni("ADD", container, f"{lab.PREFIX}.pod-{container}", pod)
        return result["ips"][0]["address"].removesuffix("/32")

    def delete(self, container):
        self.cni("DEL", container, f"{lab.PREFIX}.pod-{container}")

    def records(self):
        """{handle: address} of the attachments on disk."""
        files = (self.folder / "state/attachments").glob("*.json")
        records = [json.loads(one.read_text()) for one in files]
        return {one["handle"]: one["ips"][0] for one in records}

    def notes(self):
        return list((self.folder / "state/addresses").glob("*.json"))

    def remove(self):
        if self.process is not None and self.process.poll() is None:
            self.stop()
        netns.remove([self.namespace])
        shutil.rmtree(self.folder, ignore_errors=True)


class Blocks(case.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.admin_of_class = case.the_cluster().admin
        for kind in KINDS:
            cls.admin_of_class.create(kube_lab.definition(kind))
            netns.wait_until(lambda: cls.served(kind), 20, f"the API server serves {kind}")

    @classmethod
    def tearDownClass(cls):
        """Other tests want none of these kinds."""
        for kind in KINDS:
            name = kube_lab.definition(kind)["metadata"]["name"]
            cls.admin_of_class.delete("CustomResourceDefinition", name)
            netns.wait_until(lambda: not cls.served(kind), 60, f"{kind} to be gone")

    @classmethod
    def served(cls, kind):
        try:
            cls.admin_of_class.list(kind)
        except ApiError as error:
            if error.code not in (404, 429):
                raise
            return False
        return True

    def setUp(self):
        super().setUp()
        self.nodes = {}
        # Here they are written by podwired; for others they are as the lab's manifests have them.
        for node in self.admin.list("Node")["items"]:
            name = node["metadata"]["name"]
            self.addCleanup(self.say_tunnel_address, name, self.tunnel_address(name))
            self.say_tunnel_address(name, None)
        self.addCleanup(self.clear)

    def clear(self):
        for kind in KINDS:
            for thing in self.admin.list(kind)["items"]:
                self.admin.delete(kind, thing["metadata"]["name"])

    def node(self, name, **config):
        node = self.unstarted(name)
        node.wire(**config)
        node.start()
        return node

    def unstarted(self, name):
        node = BlockNode(self, name, len(self.nodes) + 1)
        self.nodes[name] = node
        self.addCleanup(node.remove)
        return node

    def two_nodes_on_a_wire(self):
        a, b = self.unstarted("node-a"), self.unstarted("node-b")
        for node in a, b:
            node.wire(uplink=lab.UPLINK)
        netns.ip_batch(a.namespace, [
            f"link add eth0 type veth peer name eth0 netns {b.namespace}"])
        for node in a, b:
            netns.ip_batch(node.namespace, [
                "link set eth0 up", f"addr add {node.addresses[4]}/24 dev eth0",
                f"addr add {node.addresses[6]}/64 dev eth0 nodad"])
            node.start()
        return a, b

    def answers(self, address, container):
        """An echo request from the container to the address is answered."""
        self.eventually(lambda: netns.run(f"{lab.PREFIX}.pod-{container}", [
            "ping", "-c", "1", "-W", "1", address]).returncode == 0,
            f"an answer of {address} to {container}")

    def make_pool(self, cidr, block_size, name="pool", **spec):
        self.make("IPPool", name, {"cidr": cidr, "blockSize": block_size, **spec})

    def make(self, kind, name, spec):
        self.admin.create({"apiVersion": GROUPS[kind].removeprefix("/apis/"), "kind": kind,
                           "metadata": {"name": name}, "spec": spec})

    def container(self, name):
        namespace = f"{lab.PREFIX}.pod-{name}"
        netns.create(namespace)
        self.addCleanup(netns.remove, [namespace])
        return name

    def allocations(self):
        """{address: handle} of every block."""
        taken = {}
        for block in self.admin.list("IPAMBlock")["items"]:
            spec = block["spec"]
            base, size = spec["cidr"].split("/")
            front, _, last = base.rpartition(".")
            self.assertEqual(len(spec["allocations"]), 2 ** (32 - int(size)))
            for offset, number in enumerate(spec["allocations"]):
                if number is not None:
                    self.assertNotIn(offset, spec["unallocated"])
                    address = f"{front}.{int(last) + offset}"
                    self.assertNotIn(address, taken)
                    taken[address] = spec["attributes"][number]["handle_id"]
        return taken

    def handles(self):
        return {one["spec"]["handleID"] for one in self.admin.list("IPAMHandle")["items"]}

    # ---- tests

    def test_takes_a_block_as_calico_would(self):
        self.make_pool("10.77.0.0/24", 26)
        node = self.node("node-a")
        address = node.add(self.container("one"))
        block, = self.admin.list("IPAMBlock")["items"]
        affinity, = self.admin.list("BlockAffinity")["items"]
        handle, = self.admin.list("IPAMHandle")["items"]
        cidr = block["spec"]["cidr"]
        name = cidr.replace(".", "-").replace("/", "-")
        self.assertEqual(block["metadata"]["name"], name)
        self.assertEqual(block["spec"]["affinity"], "host:node-a")
        self.assertEqual(affinity["metadata"]["name"], f"node-a-{name}")
        self.assertEqual(affinity["spec"], {"state": "confirmed", "node": "node-a", "type": "host",
                                            "cidr": cidr, "deleted": "false"})
        self.assertEqual(handle["metadata"]["name"], "podwire.one")
        self.assertEqual(handle["spec"]["block"], {cidr: 1})
        self.assertEqual(self.allocations(), {address: "podwire.one"})
        self.assertEqual(set(block["spec"]["attributes"][0]["secondary"]), {"node", "timestamp"})
        node.delete("one")
        self.assertEqual((self.allocations(), self.handles(), node.notes()), ({}, set(), []))

    def test_two_nodes_claiming_at_once_never_share(self):
        """Both begin with the same one of two blocks, in each of a hundred rounds."""
        self.make_pool("10.77.0.0/31", 32)
        nodes = {"a": self.node("node-a"), "c": self.node("node-c")}
        for name in nodes:
            self.container(name)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for _ in range(ROUNDS):
                given = dict(zip(nodes, pool.map(lambda n: nodes[n].add(n), nodes)))
                self.assertEqual(self.allocations(),
                                 {given["a"]: "podwire.a", given["c"]: "podwire.c"})
                list(pool.map(lambda n: nodes[n].delete(n), nodes))
                self.assertEqual((self.allocations(), self.handles()), ({}, set()))
                for kind in ("BlockAffinity", "IPAMBlock"):
                    for thing in self.admin.list(kind)["items"]:
                        self.admin.delete(kind, thing["metadata"]["name"])

    def test_goes_on_with_what_calico_has_written(self):
        """A block with a pod's and a tunnel's address; the pod's is given back by its handle."""
        self.make_pool("10.77.0.0/24", 30, ipipMode="Always")
        self.make("BlockAffinity", "node-a-10-77-0-8-30", {
            "state": "confirmed", "node": "node-a", "cidr": "10.77.0.8/30", "deleted": "false"})
        self.make("IPAMHandle", "podwire.old", {
            "handleID": "podwire.old", "block": {"10.77.0.8/30": 1}, "deleted": False})
        secondary = {"node": "node-a", "type": "ipipTunnelAddress"}
        self.make("IPAMBlock", "10-77-0-8-30", {
            "cidr": "10.77.0.8/30", "affinity": "host:node-a", "strictAffinity": False,
            "deleted": False, "sequenceNumber": 5, "sequenceNumberForAllocation": {"0": 1, "1": 2},
            "allocations": [0, 1, None, None], "unallocated": [3, 2], "unknown": {"kept": True},
            "attributes": [{"handle_id": "ipip-tunnel-addr-node-a", "secondary": secondary},
                           {"handle_id": "podwire.old", "secondary": {
                               "node": "node-a", "namespace": "default", "pod": "old"}}]})
        node = self.node("node-a")
        self.assertEqual(node.add(self.container("new")), "10.77.0.11")
        self.eventually(lambda: self.tunnel_address("node-a") == "10.77.0.8",
                        "the tunnel address of before on the Node")
        self.container("old")
        node.delete("old")
        self.assertEqual(self.allocations(), {"10.77.0.8": "ipip-tunnel-addr-node-a",
                                              "10.77.0.11": "podwire.new"})
        self.assertEqual(self.handles(), {"podwire.new"})
        spec = self.admin.get("IPAMBlock", "10-77-0-8-30")["spec"]
        self.assertEqual((spec["unallocated"], spec["unknown"]), ([2, 1], {"kept": True}))
        self.assertEqual(spec["sequenceNumber"], 7)

    def test_borrows_and_refuses(self):
        """The only block is another node's; strictAffinity; an exhausted pool."""
        self.make_pool("10.77.0.0/31", 31)
        a, c = self.node("node-a"), self.node("node-c")
        first = a.add(self.container("one"))
        second = c.add(self.container("two"))
        self.assertEqual({first, second}, {"10.77.0.0", "10.77.0.1"})
        block, = self.admin.list("IPAMBlock")["items"]
        self.assertEqual(block["spec"]["affinity"], "host:node-a")
        with self.assertRaisesRegex(RuntimeError, "no free address is left for node node-c in "
                                                  "IPPool pool"):
            c.add(self.container("three"))
        self.eventually(lambda: not c.notes(), "what the refused one had to be given back")
        self.assertEqual(self.handles(), {"podwire.one", "podwire.two"})

    def test_a_borrowed_address_is_reached(self):
        """The only block is node-a's; node-b has one of its addresses, which leads there."""
        self.make_pool("10.77.0.0/31", 31)
        a, b = self.two_nodes_on_a_wire()
        first, second = a.add(self.container("one")), b.add(self.container("two"))
        block, = self.admin.list("IPAMBlock")["items"]
        self.assertEqual(block["spec"]["affinity"], "host:node-a")
        self.assertEqual({first, second}, {"10.77.0.0", "10.77.0.1"})
        self.answers(second, "one")
        self.answers(first, "two")
        for node in a, b:
            missing, counters = node.ledger_difference()
            self.assertEqual(missing, 0, counters)

    def tunnel_address(self, node):
        return self.admin.get("Node", node)["metadata"].get("annotations", {}).get(TUNNEL)

    def say_tunnel_address(self, node, address):
        self.admin.patch("Node", node, {"metadata": {"annotations": {TUNNEL: address}}})

    def test_a_node_speaks_from_its_tunnel_address(self):
        """Where the pool encapsulates: out of a block, on the Node, on the host tap; a pod of the
        other node answers it. Given back when the pool does so no longer."""
        self.make_pool("10.77.0.0/24", 28, ipipMode="Always")
        nodes = self.two_nodes_on_a_wire()
        ours = {node.name: self.eventually(lambda: self.tunnel_address(node.name),
                                           f"a tunnel address of {node.name}") for node in nodes}
        handles = {f"ipip-tunnel-addr-{name}": address for name, address in ours.items()}
        self.assertEqual({handle: address for address, handle in self.allocations().items()},
                         handles)
        a, b = nodes
        pod = b.add(self.container("two"))

        def way():
            return netns.run(a.namespace, ["ip", "route", "get", pod]).stdout
        self.eventually(lambda: f"src {ours['node-a']} " in way(), "the source of node-a itself")
        self.eventually(lambda: netns.run(a.namespace, [
            "ping", "-c", "1", "-W", "1", pod]).returncode == 0, f"an answer of {pod}")
        # And the other way: whoever hears of node-a's tunnel address finds it.
        self.answers(ours["node-a"], "two")
        self.admin.patch("IPPool", "pool", {"spec": {"ipipMode": "Never"}})
        self.eventually(lambda: not any(map(self.tunnel_address, ours)), "both to be given back")
        self.assertEqual(set(self.allocations().values()), {"podwire.two"})
        self.assertEqual(self.handles(), {"podwire.two"})
        self.eventually(lambda: f"src {a.addresses[4]} " in way(), "the node's own address again")

    def attach(self, node, name, **annotations):
        """A Pod with these annotations of Calico's, and the address that node gives it."""
        self.admin.create({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": self.namespace, "annotations": {
                f"cni.projectcalico.org/{key}": json.dumps(texts)
                for key, texts in annotations.items()}},
            "spec": {"nodeName": node.name, "containers": [{"name": "main", "image": "none"}]}})
        container = self.container(name)

        def added():
            """None: podwired has not heard of the Pod yet; a runtime would come again, too."""
            try:
                return node.add(container, (self.namespace, name))
            except RuntimeError as error:
                if "is not known to podwired yet" in str(error):
                    return None
                raise

        return self.eventually(added, f"an address for Pod {name}")

    def test_annotations_name_addresses_and_pools(self):
        """What a Pod asks for it gets, or one sentence that says why not, and nothing half."""
        self.make_pool("10.77.0.0/24", 26)
        self.make_pool("10.78.0.0/24", 26, "by-hand", assignmentMode="Manual")
        self.make_pool("10.79.0.0/24", 26, "off", disabled=True)
        node = self.node("node-a")
        self.assertRegex(self.attach(node, "any"), r"^10\.77\.0\.")
        self.assertEqual(self.attach(node, "fixed", ipAddrs=["10.77.0.200"]), "10.77.0.200")
        self.assertRegex(self.attach(node, "picky", ipv4pools=["by-hand"]), r"^10\.78\.0\.")
        self.assertRegex(self.attach(node, "by-range", ipv4pools=["10.78.0.0/24"]),
                         r"^10\.78\.0\.")
        before = self.allocations(), self.handles()
        for number, (wishes, sentence) in enumerate((
                ({"ipAddrs": ["10.77.0.200"]}, "address 10.77.0.200 is taken by podwire.fixed"),
                ({"ipAddrs": ["10.99.0.1"]}, "address 10.99.0.1 is in no IPPool that is enabled"),
                ({"ipAddrsNoIpam": ["10.99.0.1"]}, "annotation cni.projectcalico.org/"
                                                   "ipAddrsNoIpam: addresses outside of every "
                                                   "pool are not given"),
                ({"ipv4pools": ["absent"]}, "annotation cni.projectcalico.org/ipv4pools: IPPool "
                                            "absent does not exist"),
                ({"ipv4pools": ["off"]}, "annotation cni.projectcalico.org/ipv4pools: IPPool "
                                         "off is disabled"))):
            with self.assertRaises(RuntimeError) as caught:
                self.attach(node, f"refused-{number}", **wishes)
            self.assertIn(f"Pod {self.namespace}/refused-{number}: {sentence}",
                          str(caught.exception))
        self.eventually(lambda: not node.notes(), "what was refused to be given back")
        self.assertEqual((self.allocations(), self.handles()), before)

    def test_pools_that_contradict_are_named(self):
        """Overlapping pools and one that is smaller than its blocks; the good one goes on."""
        self.make_pool("10.77.0.0/24", 26, "first")
        self.make_pool("10.77.0.128/25", 26, "overlaps")
        self.make_pool("10.78.0.0/28", 26, "small")
        node = self.node("node-a")
        for words in ("IPPool overlaps: spec.cidr: 10.77.0.128/25 overlaps 10.77.0.0/24",
                      "IPPool small: spec.blockSize: 26 is a larger block than the pool "
                      "10.78.0.0/28"):
            self.eventually(lambda: any(words in one for one in node.problems()), words)
        self.assertRegex(node.add(self.container("one")), r"^10\.77\.0\.")
        self.admin.delete("IPPool", "overlaps")
        self.admin.delete("IPPool", "small")
        self.eventually(lambda: not any("IPPool" in one for one in node.problems()),
                        "the problems' end")

    def test_killed_at_any_moment_loses_nothing(self):
        """kill -9 a little later each time, while a pod is attached and the one before removed."""
        self.make_pool("10.77.0.0/26", 30)
        node = self.node("node-a")
        for step in range(20):
            new = self.container(f"pod{step}")
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                work = [pool.submit(node.add, new)]
                if step > 0:
                    work.append(pool.submit(node.delete, f"pod{step - 1}"))
                concurrent.futures.wait(work, 0.004 * step)
                node.stop(9)
                for one in work:
                    with contextlib.suppress(RuntimeError):
                        one.result()
            node.start()
            self.eventually(lambda: not node.notes(), "all that was under way to be given back")
            self.assertEqual({handle: address for address, handle in self.allocations().items()},
                             node.records())
            self.assertEqual(self.handles(), set(node.records()))
