"""A TCP proxy before a server, which cuts connections where a test says."""

import contextlib
import select
import socket
import struct
import threading

import netns


class Proxy:
    """Listens in a namespace; every connection goes to `target` in the same one."""

    def __init__(self, namespace, port, target):
        self._namespace, self._target = namespace, target
        self._cut_after = None
        self.connections = self.cuts = 0
        self._refuses = False
        self._links = set()
        self._lock = threading.Lock()
        self._listener = netns.open_socket(namespace, socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("0.0.0.0", port))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, count):
        """A connection is reset once the server has said `count` bytes on it; None: never."""
        self._cut_after = count

    @contextlib.contextmanager
    def refusing(self):
        """Every connection is reset, and every new one too, for the length of the block."""
        self._refuses = True
        self.cut_now()
        try:
            yield
        finally:
            self._refuses = False

    def passed(self, size):
        """So much of the server's has gone to a client."""

    def cut_now(self):
        """Resets every connection there is."""
        with self._lock:
            links, self._links = self._links, set()
        for link in links:
            self._reset(*link)

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_now()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                if self._refuses:
                    self._reset(client)
                    client.close()
                    continue
                threading.Thread(target=self._carry, args=[client], daemon=True).start()

    def _carry(self, client):
        server = netns.open_socket(self._namespace, socket.AF_INET, socket.SOCK_STREAM)
        link = (client, server)
        with self._lock:
            self._links.add(link)
        with contextlib.suppress(OSError):
            server.connect(self._target)
            self._pump(client, server)
        with self._lock:
            self._links.discard(link)
        for end in link:
            end.close()

    def _pump(self, client, server):
        said = 0
        while True:
            for source in select.select([client, server], [], [])[0]:
                data = source.recv(65536)
                if not data:
                    return
                if source is client:
                    server.sendall(data)
                    continue
                limit = self._cut_after
                if limit is not None and said + len(data) >= limit:
                    client.sendall(data[:max(0, limit - said)])
                    self.cuts += 1
                    return self._reset(client, server)
                said += len(data)
                client.sendall(data)
                self.passed(len(data))

    @staticmethod
    def _reset(*ends):
        """Closing them now sends RST."""
        for end in ends:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RD)  # wakes whoever waits for it, says nothing
