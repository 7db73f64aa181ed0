"""The calls a kubelet makes of a container runtime (k8s.io/cri-api runtime/v1 api.proto), over
gRPC. The few messages that are used are written and read by their field numbers, so that no
compiler of protocol buffers is needed.
"""

import json

import grpc

SERVICE = "/runtime.v1.RuntimeService/"


def _varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def encode(fields):
    """{field number: value} as a message; a value is an int, bool, str, dict (a message), or a list
    of those for a repeated field."""
    out = b""
    for number, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                out += _varint(number << 3) + _varint(int(one))
                continue
            data = encode(one) if isinstance(one, dict) else one.encode()
            out += _varint(number << 3 | 2) + _varint(len(data)) + data
    return out


def mapping(pairs):
    """A map<string, string>: as a repeated message."""
    return [{1: key, 2: value} for key, value in pairs.items()]


def decode(data):
    """A message as {field number: [values]}: ints, and bytes for all else."""
    fields, at = {}, 0

    def varint():
        nonlocal at
        number = shift = 0
        while True:
            byte = data[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(data):
        tag = varint()
        kind = tag & 7
        if kind == 0:
            value = varint()
        else:
            size = {1: 8, 5: 4}.get(kind)
            size = varint() if size is None else size
            value, at = data[at:at + size], at + size
        fields.setdefault(tag >> 3, []).append(value)
    return fields


class Runtime:
    def __init__(self, socket):
        self.channel = grpc.insecure_channel(f"unix://{socket}")

    def close(self):
        self.channel.close()

    def call(self, method, request=None, timeout_s=60):
        """Returns the decoded answer; the runtime's refusal is a grpc.RpcError."""
        return decode(self.channel.unary_unary(SERVICE + method)(encode(request or {}),
                                                                  timeout=timeout_s))

    def network_ready(self):
        status = decode(self.call("Status", timeout_s=5)[1][0])
        conditions = [decode(c) for c in status.get(1, [])]
        return any(c[1][0] == b"NetworkReady" and c.get(2) == [1] for c in conditions)

    def sandbox_config(self, name, namespace="default", annotations=None, port_mappings=()):
        """`port_mappings`: (protocol, container port, host port, host address)."""
        protocols = {"tcp": 0, "udp": 1, "sctp": 2}
        return {1: {1: name, 2: f"uid-{name}", 3: namespace}, 2: name[:63],
                5: [{1: protocols[p], 2: c, 3: h, 4: a} for p, c, h, a in port_mappings],
                7: mapping(annotations or {}), 8: {}}

    def run_sandbox(self, config):
        return self.call("RunPodSandbox", {1: config})[1][0].decode()

    def addresses(self, sandbox):
        status = decode(self.call("PodSandboxStatus", {1: sandbox})[1][0])
        network = decode(status[5][0])
        return [a.decode() for a in network.get(1, [])] + [
            decode(a)[1][0].decode() for a in network.get(2, [])]

    def network_namespace(self, sandbox):
        """The name under which `ip netns` knows it. The runtime tells it in an answer's map for
        people, whose "info" is JSON."""
        said = self.call("PodSandboxStatus", {1: sandbox, 2: True})
        info = {entry[1][0]: entry[2][0] for entry in map(decode, said[2])}[b"info"]
        path = next(n["path"] for n in json.loads(info)["runtimeSpec"]["linux"]["namespaces"]
                    if n["type"] == "network")
        return path.rpartition("/")[2]

    def start_container(self, sandbox, config, image, command):
        made = self.call("CreateContainer", {
            1: sandbox, 2: {1: {1: "main"}, 2: {1: image}, 3: command, 15: {}}, 3: config})
        container = made[1][0].decode()
        self.call("StartContainer", {1: container})
        return container

    def execute(self, container, command, timeout_s=20):
        """(exit code, standard output)"""
        done = self.call("ExecSync", {1: container, 2: command, 3: timeout_s})
        return done.get(3, [0])[0], done.get(1, [b""])[0].decode()

    def stop_sandbox(self, sandbox):
        self.call("StopPodSandbox", {1: sandbox})

    def remove_sandbox(self, sandbox):
        self.call("RemovePodSandbox", {1: sandbox})
