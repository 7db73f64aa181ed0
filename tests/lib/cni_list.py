"""A network configuration list carried out as libcni does it: each plugin with the result of the
one before it, what the runtime fills in for the capabilities that a plugin declares, and DEL in
reverse.
"""

import json
import subprocess

import lab

PLUGINS = "/usr/lib/cni"  # of Debian's containernetworking-plugins


class Refused(Exception):
    """What a plugin said on standard output when it failed."""

    def __init__(self, plugin, command, output):
        super().__init__(f"{plugin} {command}: {output.strip()}")
        try:
            self.error = json.loads(output)
        except ValueError:
            self.error = {}

    @property
    def code(self):
        return self.error.get("code")

    @property
    def sentence(self):
        return self.error.get("msg")


def refused(call, code, sentence):
    """Exactly so."""
    try:
        call()
    except Refused as error:
        assert (error.code, error.sentence) == (code, sentence), error
    else:
        raise AssertionError(f"not refused: {sentence}")


class List:
    """`plugins` as in a conflist; `path` is CNI_PATH, podwire-cni's own folder is put before it."""

    def __init__(self, name, plugins, version="1.0.0", path=PLUGINS):
        self.name, self.version, self.plugins = name, version, plugins
        self.path = f"{lab.program('podwire-cni').rpartition('/')[0]}:{path}"
        self.results = {}  # libcni's cache: by (container, interface)

    def execute(self, command, plugin, container="", netns="", interface="", arguments="",
                runtime=None, **extra):
        """One plugin; its result, or Refused."""
        configuration = {**{k: v for k, v in plugin.items() if k != "capabilities"},
                         "cniVersion": self.version, "name": self.name, **extra}
        declared = plugin.get("capabilities", {})
        filled = {k: v for k, v in (runtime or {}).items() if declared.get(k)}
        if filled:
            configuration["runtimeConfig"] = filled
        program = next(p for folder in self.path.split(":")
                       if (p := lab.Path(folder) / plugin["type"]).is_file())
        done = subprocess.run(
            [program], input=json.dumps(configuration), text=True, capture_output=True, timeout=30,
            env={**lab.clean_environment(), "CNI_COMMAND": command, "CNI_CONTAINERID": container,
                 "CNI_NETNS": netns, "CNI_IFNAME": interface, "CNI_PATH": self.path,
                 "CNI_ARGS": arguments})
        if done.returncode:
            raise Refused(plugin["type"], command, done.stdout or done.stderr)
        return json.loads(done.stdout) if done.stdout.strip() else None

    def add(self, container, netns, interface="eth0", arguments="", runtime=None):
        result = None
        for plugin in self.plugins:
            previous = {} if result is None else {"prevResult": result}
            result = self.execute("ADD", plugin, container, netns, interface, arguments, runtime,
                                  **previous)
        self.results[container, interface] = (netns, arguments, runtime, result)
        return result

    def check(self, container, interface="eth0"):
        netns, arguments, runtime, result = self.results[container, interface]
        for plugin in self.plugins:
            self.execute("CHECK", plugin, container, netns, interface, arguments, runtime,
                         prevResult=result)

    def remove(self, container, interface="eth0", netns=None):
        kept, arguments, runtime, result = self.results.get((container, interface),
                                                            ("", "", None, None))
        previous = {} if result is None else {"prevResult": result}
        for plugin in reversed(self.plugins):
            self.execute("DEL", plugin, container, kept if netns is None else netns, interface,
                         arguments, runtime, **previous)
        self.results.pop((container, interface), None)

    def collect_garbage(self, valid):
        names = [{"containerID": c, "ifname": i} for c, i in valid]
        for plugin in self.plugins:
            self.execute("GC", plugin, **{"cni.dev/valid-attachments": names})

    def status(self):
        for plugin in self.plugins:
            self.execute("STATUS", plugin)
