"""A scripted Kubernetes API server over TLS: lists in pages and watches of a few kinds, with faults
where a test wants them.

    server.put("services", service("web"))
    server.fault("watch", "pods", answer(429, {"Retry-After": "2"}), times=1)
    server.requests  # what was asked
"""

import contextlib
import copy
import json
import socket
import ssl
import struct
import threading
import time
import urllib.parse
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Of Calico's keeping of addresses.
BLOCKS = {"blockaffinities": "BlockAffinity", "ipamblocks": "IPAMBlock",
          "ipamconfigs": "IPAMConfig", "ipreservations": "IPReservation"}
KINDS = {
    "nodes": ("/api/v1/nodes", "v1", "Node"),
    "namespaces": ("/api/v1/namespaces", "v1", "Namespace"),
    "pods": ("/api/v1/pods", "v1", "Pod"),
    "services": ("/api/v1/services", "v1", "Service"),
    "endpointslices": ("/apis/discovery.k8s.io/v1/endpointslices", "discovery.k8s.io/v1",
                       "EndpointSlice"),
    "networkpolicies": ("/apis/networking.k8s.io/v1/networkpolicies", "networking.k8s.io/v1",
                        "NetworkPolicy"),
    "servicecidrs": ("/apis/networking.k8s.io/v1/servicecidrs", "networking.k8s.io/v1",
                     "ServiceCIDR"),
    "ippools": ("/apis/crd.projectcalico.org/v1/ippools", "crd.projectcalico.org/v1", "IPPool"),
    "clusternetworkpolicies": ("/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
                               "policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"),
    **{plural: (f"/apis/crd.projectcalico.org/v1/{plural}", "crd.projectcalico.org/v1", kind)
       for plural, kind in BLOCKS.items()},
}
BGP_KINDS = {  # asked for only with --bgp
    "secrets": ("/api/v1/namespaces/kube-system/secrets", "v1", "Secret"),
    "bgppeers": ("/apis/crd.projectcalico.org/v1/bgppeers", "crd.projectcalico.org/v1", "BGPPeer"),
}
ALL_KINDS = {**KINDS, **BGP_KINDS}
# `ends`: how often watches had been ended when it came. One that comes before such an end is ended
# by it, however late it is answered.
Request = namedtuple("Request", "time verb plural query authorization path ends")


def answer(code, headers=None, **status):
    """A fault: this status code with a Status object."""
    def send(handler):
        body = json.dumps({"kind": "Status", "apiVersion": "v1", "code": code, **status}).encode()
        handler.send_response(code)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
    return send


def reset(handler):
    """Ends the connection without TLS's own goodbye."""
    handler.close_connection = True
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        socket.socket.shutdown(handler.connection, socket.SHUT_RD)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.server.scripted.connections.add(self.connection)

    def finish(self):
        self.server.scripted.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *_):
        pass

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = {k: v[0] for k, v in urllib.parse.parse_qs(url.query).items()}
        plural = next((name for name, kind in ALL_KINDS.items() if kind[0] == url.path), None)
        verb = "watch" if query.get("watch") else "list"
        scripted = self.server.scripted
        scripted.handle(self, Request(time.monotonic(), verb, plural, query,
                                      self.headers.get("Authorization"), self.path,
                                      scripted.ends))

    def begin_chunks(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, text):
        data = text.encode() if isinstance(text, str) else text
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def event(self, kind, thing):
        self.chunk(json.dumps({"type": kind, "object": thing}) + "\n")

    def end_chunks(self):
        self.wfile.write(b"0\r\n\r\n")


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def finish_request(self, request, client_address):
        """In the request's own thread: a client that does not go on holds up none but itself."""
        with contextlib.suppress(OSError):
            request.settimeout(60)
            super().finish_request(self.context.wrap_socket(request, server_side=True),
                                   client_address)

    def handle_error(self, *_):
        pass


class Server:
    def __init__(self, folder, certificate="server", port=0):
        self.requests, self.pages, self.connections = [], True, set()
        self.absent = {"ippools", "clusternetworkpolicies", *BLOCKS}
        self._objects = {plural: {} for plural in ALL_KINDS}
        self._events = []  # (version, plural, type, object)
        self._version, self._oldest, self.ends = 100, 0, 0
        self._faults = []
        self._changed = threading.Condition()
        self._listener = _Listener(("127.0.0.1", port), Handler)
        self._listener.scripted = self
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.use_certificate(folder / certificate)
        self._listener.context = self.context
        self.port = self._listener.server_address[1]
        threading.Thread(target=self._listener.serve_forever, args=[0.02], daemon=True).start()

    def use_certificate(self, path):
        self.context.load_cert_chain(f"{path}.crt", f"{path}.key")

    def close(self):
        self._listener.shutdown()
        self._listener.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    # ---- what is there ----

    def put(self, plural, thing, quiet=False):
        """A new version of an object; `quiet`: no watch tells of it."""
        with self._changed:
            self._version += 1
            thing = copy.deepcopy(thing)
            thing["metadata"]["resourceVersion"] = str(self._version)
            name = thing["metadata"].get("namespace", ""), thing["metadata"]["name"]
            kind = "MODIFIED" if name in self._objects[plural] else "ADDED"
            self._objects[plural][name] = thing
            if not quiet:
                self._tell(plural, kind, thing)

    def delete(self, plural, name, namespace="default", quiet=False):
        with self._changed:
            self._version += 1
            thing = self._objects[plural].pop((namespace, name))
            thing["metadata"]["resourceVersion"] = str(self._version)
            if not quiet:
                self._tell(plural, "DELETED", thing)

    def tell(self, plural, kind, thing):
        """An event that may be at odds with what is there."""
        with self._changed:
            self._tell(plural, kind, thing)

    def bookmark(self, plural):
        with self._changed:
            self._version += 1
            self._tell(plural, "BOOKMARK",
                       {"metadata": {"resourceVersion": str(self._version)}})

    def _tell(self, plural, kind, thing):
        _, version, name = ALL_KINDS[plural]
        self._events.append((self._version, plural, kind,
                             {"kind": name, "apiVersion": version, **thing}))
        self._changed.notify_all()

    @property
    def version(self):
        return self._version

    def roll_back(self, version):
        """As if etcd was restored from a backup."""
        with self._changed:
            self._version = version
            self._events.clear()

    def compact(self):
        with self._changed:
            self._oldest = self._version
            self._events.clear()

    def end_watches(self):
        with self._changed:
            self.ends += 1
            self._changed.notify_all()

    # ---- what is answered ----

    def fault(self, verb, plural, function, times=1):
        """The next answers to this (None: to any kind) are the function's; times None: all."""
        self._faults.append([verb, plural, function, times])

    def heal(self):
        self._faults.clear()

    def asked(self, verb, plural):
        return [r for r in self.requests if (r.verb, r.plural) == (verb, plural)]

    def handle(self, handler, request):
        self.requests.append(request)
        with contextlib.suppress(OSError, ssl.SSLError):
            for fault in self._faults:
                verb, plural, function, times = fault
                if verb not in (None, request.verb) or plural not in (None, request.plural):
                    continue
                if times is not None:
                    fault[3] -= 1
                    if fault[3] == 0:
                        self._faults.remove(fault)
                return function(handler)
            if request.plural is None or request.plural in self.absent:
                return answer(404, message="the server could not find the requested resource")(
                    handler)
            (self.watch if request.verb == "watch" else self.list)(handler, request)

    def list(self, handler, request):
        text = json.dumps(self.list_object(request.plural, request.query)).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text)

    def list_object(self, plural, query):
        with self._changed:
            things = [thing for _, thing in sorted(self._objects[plural].items())]
            version = self._version
        begin, limit = 0, int(query.get("limit", 0)) if self.pages else 0
        if "continue" in query:
            version, begin = map(int, query["continue"].split(":"))
        items = things[begin:begin + limit] if limit else things[begin:]
        meta = {"resourceVersion": str(version)}
        if begin + len(items) < len(things):
            meta["continue"] = f"{version}:{begin + len(items)}"
        return {"kind": ALL_KINDS[plural][2] + "List", "apiVersion": ALL_KINDS[plural][1],
                "metadata": meta, "items": items}

    def watch(self, handler, request):
        seen = int(request.query["resourceVersion"])
        if seen < self._oldest:
            return answer(410, reason="Expired", message="too old resource version")(handler)
        handler.begin_chunks()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: request.ends != self.ends or any(
                    e[0] > seen and e[1] == request.plural for e in self._events), 60)
                events = [e for e in self._events if e[0] > seen and e[1] == request.plural]
                done = request.ends != self.ends
            for version, _, kind, thing in events:
                handler.event(kind, thing)
                seen = version
            if done and not events:
                return handler.end_chunks()
