"""What runs in a serving pod: pod_program.py NAME [HTTP-PORT...].

HTTP answers with JSON that tells the pod's name and whom it sees as its client; GET /slow keeps the
connection and sends a line every 20 ms; GET /echo?msg=TEXT sends the text back. Port 9000 echoes
UDP and SCTP, the name before the payload for SCTP, in place of its first bytes for UDP so that the
length stays.
"""

import http.server
import json
import socket
import sys
import threading
import time

import sctp

ECHO_PORT = 9000


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/slow":
            return self.stream()
        client, port = self.client_address[:2]
        answer = {"pod": self.server.pod, "client": client.removeprefix("::ffff:"),
                  "client_port": port, "port": self.server.server_port}
        if self.path.startswith("/echo?msg="):
            answer["msg"] = self.path.removeprefix("/echo?msg=")
        body = json.dumps(answer).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self):
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"tick\n")
                time.sleep(0.02)
        except OSError:
            self.close_connection = True

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def echo_udp(family, name):
    with socket.socket(family, socket.SOCK_DGRAM) as server:
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind(("", ECHO_PORT))
        while True:
            data, peer = server.recvfrom(65535)
            mark = name.encode() + b" "
            server.sendto((mark + data[len(mark):])[:max(len(data), len(mark))], peer)


def main():
    name, ports = sys.argv[1], [int(p) for p in sys.argv[2:]] or [8080]
    for port in ports:
        server = Server(("::", port), Handler)
        server.pod = name
        threading.Thread(target=server.serve_forever, daemon=True).start()
    for family in (socket.AF_INET, socket.AF_INET6):
        threading.Thread(target=echo_udp, args=(family, name), daemon=True).start()
    print("serving", flush=True)
    sctp.serve(ECHO_PORT, name)


if __name__ == "__main__":
    main()
