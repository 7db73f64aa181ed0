"""Routers of other makes, in namespaces on the lab's wire."""

import json
import re
import shutil
import subprocess
import time

import lab
import netns


class Router:
    """A namespace with an address on the wire, and the programs in it."""

    def __init__(self, one, name, addresses):
        self.name, self.addresses = name, addresses
        self.namespace, self.folder = f"{lab.PREFIX}-{name}", lab.FOLDER / name
        self.folder.mkdir()
        netns.create(self.namespace)
        one.join_wire(name, self.namespace, addresses)
        self.processes = []

    def spawn(self, *command):
        self.processes.append(netns.spawn(self.namespace, command,
                                          self.folder / f"{command[0].rsplit('/', 1)[-1]}.log"))

    def run(self, *command):
        done = netns.run(self.namespace, command, 20)
        if done.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(command)}: {done.stderr or done.stdout}")
        return done.stdout

    def linux_routes(self, family=4):
        """{prefix: the gateways that this router's Linux spreads it over}"""
        found = {}
        for route in json.loads(self.run("ip", f"-{family}", "-j", "route", "show", "proto",
                                         "bgp") or "[]"):
            hops = route.get("nexthops") or [route]
            found[route["dst"]] = {hop["gateway"] for hop in hops if "gateway" in hop}
        return found


class Frr(Router):
    """zebra, bgpd and bfdd, whose configuration is of lines as in frr.conf."""

    def __init__(self, one, name, addresses, lines):
        super().__init__(one, name, addresses)
        config = self.folder / "frr.conf"
        config.write_text(f"hostname {name}\n" + "\n".join(lines) + "\n")
        shutil.chown(self.folder, "frr", "frr")
        shutil.chown(config, "frr", "frr")
        for folder in (lab.FOLDER, self.folder):
            folder.chmod(0o755)
        for daemon in ("zebra", "bfdd", "bgpd"):
            if daemon != "zebra":  # it is asked for at once, or 10 s later
                netns.wait_until((self.folder / "zserv").exists, 20, "zebra")
            self.spawn(f"/usr/lib/frr/{daemon}", "-f", "/dev/null", "-P", "0", "-i",
                       str(self.folder / f"{daemon}.pid"), "-z", str(self.folder / "zserv"),
                       "--vty_socket", str(self.folder))
        # A bgpd that has sessions before it has met zebra and bfdd never asks for BFD.
        netns.wait_until(self.daemons_have_met, 20, f"FRR in {name}")
        self.run("vtysh", "--vty_socket", str(self.folder), "-f", str(config))

    def daemons_have_met(self):
        done = netns.run(self.namespace, ("vtysh", "--vty_socket", str(self.folder), "-c",
                                          "show zebra client summary", "-c", "show daemons"), 20)
        return all(re.search(rf"^{word}\b", done.stdout, re.M) for word in ("bgp", "bfd"))

    def vtysh(self, *commands):
        words = [word for command in commands for word in ("-c", command)]
        return self.run("vtysh", "--vty_socket", str(self.folder), *words)

    def configure(self, *lines):
        self.vtysh("configure terminal", *lines)

    def rib(self, prefix, family=4):
        """The paths to a prefix, as FRR shows them; none: []."""
        kind = "ipv4" if family == 4 else "ipv6"
        return json.loads(self.vtysh(f"show bgp {kind} unicast {prefix} json") or
                          "{}").get("paths", [])

    def watched_by_bfd(self):
        """Addresses whose BFD session is up: some seconds after BGP's."""
        return {peer["peer"] for peer in json.loads(self.vtysh("show bfd peers json"))
                if peer["status"] == "up"}


class GoBgp(Router):
    """gobgpd, which keeps routes to itself: its Linux has none of them."""

    def __init__(self, one, name, addresses, config):
        super().__init__(one, name, addresses)
        file = self.folder / "gobgpd.toml"
        file.write_text(config)
        self.spawn("gobgpd", "-f", str(file), "--api-hosts", "127.0.0.1:50051", "--pprof-disable")
        self.until_it_answers()

    def gobgp(self, *words):
        return self.run("gobgp", *words)

    def until_it_answers(self):
        deadline = time.monotonic() + 20
        while True:
            try:
                return self.gobgp("neighbor")
            except (RuntimeError, subprocess.TimeoutExpired):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def rib(self):
        """{prefix: its paths}"""
        return {prefix: paths for prefix, paths in
                json.loads(self.gobgp("-j", "global", "rib") or "{}").items()}
